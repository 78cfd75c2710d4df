//! Operators that normalize along axes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, axes_of, axis_of};
use crate::ops::operator::{Cost, Operator, count};

/// Softmax (or its logarithm) along `axis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// Which axis.
    pub axis: u32,
    /// Whether the logarithm is taken.
    pub log: bool,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        axis_of(inputs[0], self.axis).map(|_| inputs[0].to_vec())
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: 4 * count(output), macs: 0 }
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        !self.log
    }
}

/// `(x - mean) / sqrt(variance + epsilon)` over `axes`; scale and shift follow as Mul and Add.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// Which axes share mean and variance.
    pub axes: Vec<u32>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for Normalize {
    fn name(&self) -> &'static str {
        "Normalize"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        axes_of(inputs[0], &self.axes).map(|()| inputs[0].to_vec())
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: 5 * count(output), macs: 0 }
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

/// Local response normalization across channels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lrn {
    /// Channels in the window.
    pub size: u32,
    /// Scale.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Added inside the power.
    pub bias: f32,
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "LRN"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let x = inputs[0];
        if self.size > 0 && x.len() >= 2 {
            Ok(x.to_vec())
        } else {
            Err(format!("a window of {} channels on {x:?}", self.size))
        }
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: count(output) * (2 * u64::from(self.size) + 4), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}
