//! Embeddings (FaceNet and its kin): two pictures show the same person if their embeddings point the same way.

use crate::run::Output;

/// An output that is no embedding.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingError {
    /// Two of different models.
    #[error("embeddings of {a} and {b} elements cannot be compared: use one model")]
    Lengths {
        /// Elements of the first.
        a: usize,
        /// Elements of the second.
        b: usize,
    },
    /// More than one vector.
    #[error(
        "the output '{name}' has the shape {shape:?} and is no embedding, which is one vector: name a model that \
         embeds pictures with --model"
    )]
    NoVector {
        /// Name of the output.
        name: String,
        /// Its dimensions.
        shape: Vec<u32>,
    },
    /// A vector without a direction.
    #[error("the embedding '{name}' has the length {length}, so its direction says nothing")]
    NoDirection {
        /// Name of the output.
        name: String,
        /// Its length.
        length: f64,
    },
}

/// How near two embeddings are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Cosine of the angle between them, -1 to 1.
    pub cosine: f64,
    /// Distance of the two scaled to length 1, 0 to 2; its square is `2 - 2 cosine`.
    pub l2: f64,
}

impl Similarity {
    /// Of two outputs of one network.
    ///
    /// # Errors
    /// Outputs that are not one vector each, of one length, finite and not all zeros.
    pub fn of(a: &Output, b: &Output) -> Result<Self, EmbeddingError> {
        let (a, b) = (normalised(a)?, normalised(b)?);
        if a.len() != b.len() {
            return Err(EmbeddingError::Lengths { a: a.len(), b: b.len() });
        }
        let pairs = || a.iter().zip(&b);
        let cosine = pairs().map(|(x, y)| x * y).sum::<f64>().clamp(-1.0, 1.0);
        let l2 = pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt();
        Ok(Self { cosine, l2 })
    }
}

/// The output's elements, scaled to length 1.
fn normalised(output: &Output) -> Result<Vec<f64>, EmbeddingError> {
    let (name, shape, data) = (output.name.clone(), output.tensor.shape(), output.tensor.to_f32());
    let dimensions = shape.iter().filter(|&&d| d != 1).count();
    if dimensions != 1 {
        return Err(EmbeddingError::NoVector { name, shape: shape.to_vec() });
    }
    let length = data.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(EmbeddingError::NoDirection { name, length });
    }
    Ok(data.iter().map(|&v| f64::from(v) / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Tensor;

    fn output(shape: &[u32], data: &[f32]) -> Output {
        Output { name: "y".into(), tensor: Tensor::new(shape, data.to_vec()).expect("fits") }
    }

    fn similarity(a: &[f32], b: &[f32]) -> Similarity {
        Similarity::of(&output(&[1, 2], a), &output(&[1, 2], b)).expect("two vectors")
    }

    #[test]
    fn only_the_direction_counts() {
        let right = similarity(&[3.0, 0.0], &[0.0, 0.1]);
        assert!(right.cosine.abs() < 1e-15 && (right.l2 - 2f64.sqrt()).abs() < 1e-15, "{right:?}");
        let same = similarity(&[1e-20, 2e-20], &[5.0, 10.0]);
        assert!((same.cosine - 1.0).abs() < 1e-7 && same.l2 < 1e-6, "{same:?}");
        let opposite = similarity(&[1.0, -2.0], &[-1.0, 2.0]);
        assert!((opposite.cosine + 1.0).abs() < 1e-15 && (opposite.l2 - 2.0).abs() < 1e-15, "{opposite:?}");
        let some = similarity(&[1.0, 2.0], &[2.0, 1.0]);
        assert!((some.cosine - 0.8).abs() < 1e-12 && (some.l2 * some.l2 - 0.4).abs() < 1e-12, "{some:?}");
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        let good = output(&[1, 2], &[1.0, 2.0]);
        let tall = output(&[1, 2, 1, 1], &[1.0, 2.0]);
        assert!(Similarity::of(&good, &tall).is_ok());
        let bad = [
            (output(&[1, 2, 2], &[1.0; 4]), "[1, 2, 2]"),
            (output(&[1, 1], &[1.0]), "no embedding"),
            (output(&[1, 3], &[1.0; 3]), "3 elements"),
            (output(&[1, 2], &[0.0, 0.0]), "length 0"),
            (output(&[1, 2], &[f32::INFINITY, 0.0]), "length inf"),
            (output(&[1, 2], &[f32::NAN, 0.0]), "length NaN"),
        ];
        for (bad, words) in bad {
            let error = Similarity::of(&good, &bad).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
