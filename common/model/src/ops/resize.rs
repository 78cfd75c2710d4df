//! Resampling.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::Shape;
use crate::ops::operator::{Cost, Operator, count};
use crate::tagged::tagged;

tagged! {
    /// Rounding of nearest-neighbour coordinates.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum NearestRounding, "rounding of coordinates" {
        RoundPreferFloor = 1,
        RoundPreferCeil = 2,
        Floor = 3,
        Ceil = 4,
    }
}

tagged! {
    /// Interpolation of [`Resize`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum ResizeMode, "interpolation" {
        Linear = 1,
        Nearest(rounding: NearestRounding) = 2,
    }
}

tagged! {
    /// How an output coordinate is mapped into the input.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum Coordinates, "mapping of coordinates" {
        HalfPixel = 1,
        PytorchHalfPixel = 2,
        AlignCorners = 3,
        Asymmetric = 4,
    }
}

/// Resampling to `shape`; `scale[i]` is the factor of axis i as the file gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinate mapping.
    pub coordinates: Coordinates,
    /// Scale per axis.
    pub scale: Vec<f32>,
    /// Output shape.
    pub shape: Shape,
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, Self { scale, shape, .. }) = (inputs[0], self);
        let positive = scale.iter().all(|s| s.is_finite() && *s > 0.0);
        if shape.len() == x.len() && scale.len() == x.len() && positive {
            Ok(shape.clone())
        } else {
            Err(format!("{x:?} cannot be resized to {shape:?} by {scale:?}"))
        }
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: 4 * count(output), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}
