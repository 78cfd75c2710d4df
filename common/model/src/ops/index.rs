//! Operators that pick elements by computed indices.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, axis_of};
use crate::ops::operator::{Cost, Operator};

/// Inputs data and indices; the slices of data along `axis` at the indices, which are integers of -n to n - 1 for an
/// axis of n: negative ones count from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// Which axis.
    pub axis: u32,
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (data, indices) = (inputs[0], inputs[1]);
        let axis = axis_of(data, self.axis)?;
        Ok([&data[..axis], indices, &data[axis + 1..]].concat())
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        Cost { flops: 0, macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}
