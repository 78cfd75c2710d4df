//! Tensors as applications give and get them.

use twinmask_exec::exact;
use twinmask_model::graph::Element;

use crate::input::error::InputError;

/// A tensor's elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }
}

impl From<Vec<f32>> for Data {
    fn from(elements: Vec<f32>) -> Self {
        Self::F32(elements)
    }
}

impl From<Vec<i32>> for Data {
    fn from(elements: Vec<i32>) -> Self {
        Self::I32(elements)
    }
}

impl From<Vec<i64>> for Data {
    fn from(elements: Vec<i64>) -> Self {
        Self::I64(elements)
    }
}

/// A dense tensor: an input that is already preprocessed, or an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<u32>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape` with these elements, row-major: `Vec<f32>`, `Vec<i32>` or `Vec<i64>`.
    ///
    /// # Errors
    /// [`InputError::Elements`] when they do not fill the shape.
    pub fn new(shape: impl Into<Vec<u32>>, data: impl Into<Data>) -> Result<Self, InputError> {
        let (shape, data) = (shape.into(), data.into());
        if twinmask_model::graph::elements(&shape) != data.len() {
            return Err(InputError::Elements { found: data.len(), shape });
        }
        Ok(Self { shape, data })
    }

    /// A tensor of the network's own arithmetic, as a model declares it.
    pub(crate) fn of_network(shape: Vec<u32>, element: Element, data: Vec<f32>) -> Self {
        let data = match element {
            Element::F32 => Data::F32(data),
            Element::I32 => Data::I32(data.into_iter().map(|v| v as i32).collect()),
            Element::I64 => Data::I64(data.into_iter().map(|v| v as i64).collect()),
        };
        Self { shape, data }
    }

    /// Dimensions.
    #[must_use]
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// Elements, row-major.
    #[must_use]
    pub const fn data(&self) -> &Data {
        &self.data
    }

    /// Type of the elements.
    #[must_use]
    pub const fn element(&self) -> Element {
        match self.data {
            Data::F32(_) => Element::F32,
            Data::I32(_) => Element::I32,
            Data::I64(_) => Element::I64,
        }
    }

    /// The elements as f32: those of integers beyond 2^24 are rounded.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&v| v as f32).collect(),
            Data::I64(v) => v.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The elements as the network computes with them, each exactly.
    ///
    /// # Errors
    /// Says which element is not finite, or too large to be exact.
    pub(crate) fn into_network(self, name: &str) -> Result<Vec<f32>, InputError> {
        match self.data {
            Data::F32(v) => match v.iter().position(|v| !v.is_finite()) {
                Some(index) => Err(InputError::NotFinite { index }),
                None => Ok(v),
            },
            Data::I32(v) => {
                let wide: Vec<i64> = v.into_iter().map(i64::from).collect();
                Ok(exact(name, Element::I32, &wide)?)
            }
            Data::I64(v) => Ok(exact(name, Element::I64, &v)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_refused() {
        let ids = Tensor::new([1, 3], vec![0i64, -7, 1 << 24]).expect("fits");
        assert_eq!(ids.into_network("ids").expect("exact"), [0.0, -7.0, 16_777_216.0]);
        for beyond in [(1 << 24) + 1, i64::MIN, i64::MAX] {
            let error = Tensor::new([1], vec![beyond]).expect("fits").into_network("ids").expect_err("not exact");
            assert!(error.to_string().contains("'ids'") && error.to_string().contains("16777216"), "{error}");
        }
        assert!(Tensor::new([2, 2], vec![1.0f32; 3]).is_err());
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let tensor = Tensor::new([2], vec![1.0f32, f32::NAN]).expect("fits");
        assert!(matches!(tensor.into_network("x"), Err(InputError::NotFinite { index: 1 })));
    }
}
