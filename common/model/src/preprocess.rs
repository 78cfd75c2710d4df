//! How pictures become tensors: `x = (px - mean[c]) / std[c]` for pixels 0..255.

use serde::{Deserialize, Serialize};

use crate::dims::MAX_RANK;

/// Order of a picture's axes in the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[1, channels, height, width]`.
    #[default]
    Nchw,
    /// `[1, height, width, channels]`.
    Nhwc,
}

/// Order of the three colours in the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as OpenCV and Caffe have it.
    Bgr,
}

/// How pictures become tensors. Mean and deviation are kept in f64, and one division rounds to f32 at the end: the
/// result is the f32 nearest to the formula's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Mean per channel of the model's input, in pixel units 0..255; one number stands for all channels.
    pub mean: Vec<f64>,
    /// Standard deviation per channel of the model's input, in pixel units; one number stands for all channels.
    pub std: Vec<f64>,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the colours.
    #[serde(default)]
    pub order: Order,
}

/// A preprocessing that makes no sense, or does not fit the model's input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// No preset of this name.
    #[error("'{name}' is no preprocessing preset; there are {}", PRESETS.join(", "))]
    UnknownPreset {
        /// What was asked for.
        name: String,
    },
    /// Mean or deviation cannot be computed with.
    #[error(
        "{name} of the preprocessing is {values}: give one number or one per channel, finite, and no deviation of 0"
    )]
    Values {
        /// `mean` or `std`.
        name: &'static str,
        /// What it holds, as text.
        values: String,
    },
    /// As many numbers as the model has no channels.
    #[error("the preprocessing has {given} channels, the model's input {channels}; give one number or {channels}")]
    Channels {
        /// Numbers given.
        given: usize,
        /// Channels of the model's input.
        channels: usize,
    },
    /// The model's input is no picture.
    #[error("the model's input {0:?} is no picture of 1 or 3 channels: give a .npy file of that shape")]
    NoPicture(Vec<u32>),
}

/// Names of the presets.
pub const PRESETS: [&str; 5] = ["imagenet", "symmetric", "unit", "unit256", "raw"];

impl Preprocess {
    /// The preset `name`: `imagenet` ((px/255 - mean)/std), `symmetric` ((px - 127.5)/127.5), `unit` (px/255),
    /// `unit256` (px/256) or `raw` (px); RGB, `[1, c, h, w]`.
    ///
    /// # Errors
    /// [`PreprocessError::UnknownPreset`], listing those there are.
    pub fn preset(name: &str) -> Result<Self, PreprocessError> {
        let (mean, std) = match name {
            "imagenet" => {
                ([0.485, 0.456, 0.406].map(|v| v * 255.0).to_vec(), [0.229, 0.224, 0.225].map(|v| v * 255.0).to_vec())
            }
            "symmetric" => (vec![127.5], vec![127.5]),
            "unit" => (vec![0.0], vec![255.0]),
            "unit256" => (vec![0.0], vec![256.0]),
            "raw" => (vec![0.0], vec![1.0]),
            _ => return Err(PreprocessError::UnknownPreset { name: name.into() }),
        };
        Ok(Self { mean, std, layout: Layout::Nchw, order: Order::Rgb })
    }

    /// Channels, height and width of the pictures that a model with input `shape` takes, once this preprocessing is
    /// known to fit it.
    ///
    /// # Errors
    /// [`PreprocessError`] when `shape` is no picture of batch 1 with one or three channels, or when mean or
    /// deviation are not finite, zero (deviation) or not as many as channels.
    pub fn picture(&self, shape: &[u32]) -> Result<[u32; 3], PreprocessError> {
        let size = match (self.layout, shape) {
            (Layout::Nchw, &[1, c, h, w]) | (Layout::Nhwc, &[1, h, w, c]) if (c == 1 || c == 3) && h > 0 && w > 0 => {
                [c, h, w]
            }
            _ => return Err(PreprocessError::NoPicture(shape.iter().copied().take(MAX_RANK).collect())),
        };
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.is_empty() || values.iter().any(|v| !v.is_finite() || (name == "std" && *v == 0.0)) {
                return Err(PreprocessError::Values { name, values: format!("{values:?}") });
            }
            if values.len() != 1 && values.len() != size[0] as usize {
                return Err(PreprocessError::Channels { given: values.len(), channels: size[0] as usize });
            }
        }
        Ok(size)
    }

    /// What each pixel value 0..255 becomes in channel `c` of the model's input.
    #[must_use]
    pub fn table(&self, c: usize) -> [f32; 256] {
        let of = |values: &[f64], default| values.get(c).or(values.first()).copied().unwrap_or(default);
        let (mean, std) = (of(&self.mean, 0.0), of(&self.std, 1.0));
        std::array::from_fn(|px| ((px as f64 - mean) / std) as f32)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn presets_are_the_formulas() {
        type Formula = fn(f64) -> f64;
        let formulas: [(&str, Formula); 4] = [
            ("symmetric", |px| (px - 127.5) / 127.5),
            ("unit", |px| px / 255.0),
            ("unit256", |px| px / 256.0),
            ("raw", |px| px),
        ];
        for (name, formula) in formulas {
            let table = Preprocess::preset(name).unwrap().table(2);
            (0..256).for_each(|px| assert_eq!(table[px], formula(px as f64) as f32, "{name} {px}"));
        }
        let imagenet = Preprocess::preset("imagenet").unwrap();
        for (c, (mean, std)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225f64)].into_iter().enumerate() {
            for (px, x) in imagenet.table(c).into_iter().enumerate() {
                let exact = (px as f64 / 255.0 - mean) / std;
                assert!((f64::from(x) - exact).abs() <= exact.abs() * 6e-8, "{c} {px}: {x} for {exact}");
            }
        }
        assert!(Preprocess::preset("caffe").unwrap_err().to_string().contains("unit256"));
    }

    #[test]
    fn only_pictures_fit() {
        let imagenet = Preprocess::preset("imagenet").unwrap();
        assert_eq!(imagenet.picture(&[1, 3, 20, 30]), Ok([3, 20, 30]));
        assert_eq!(imagenet.picture(&[1, 1, 20, 30]), Err(PreprocessError::Channels { given: 3, channels: 1 }));
        for shape in [&[1, 4, 20, 30][..], &[2, 3, 20, 30], &[1, 20, 30, 3], &[3, 20, 30], &[1, 3, 0, 30], &[]] {
            assert_eq!(imagenet.picture(shape), Err(PreprocessError::NoPicture(shape.to_vec())), "{shape:?}");
        }
        let nhwc = Preprocess { layout: Layout::Nhwc, ..imagenet.clone() };
        assert_eq!(nhwc.picture(&[1, 20, 30, 3]), Ok([3, 20, 30]));
        for std in [vec![], vec![0.0], vec![f64::NAN], vec![1.0, f64::INFINITY, 1.0]] {
            let bad = Preprocess { std, ..imagenet.clone() };
            assert!(matches!(bad.picture(&[1, 3, 8, 8]), Err(PreprocessError::Values { name: "std", .. })));
        }
        let error = Preprocess { std: vec![0.5, 0.0], ..imagenet }.picture(&[1, 3, 8, 8]).unwrap_err();
        assert!(error.to_string().starts_with("std of the preprocessing is [0.5, 0.0]: "), "{error}");
    }
}
