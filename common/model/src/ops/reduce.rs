//! Reductions along axes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, axes_of, axis_of, reduced};
use crate::ops::operator::{Cost, Operator, count};
use crate::tagged::tagged;

tagged! {
    /// How axes are reduced.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum ReduceKind, "kind of reduction" {
        Mean = 1,
        Sum = 2,
        Max = 3,
        Min = 4,
        L2 = 5,
    }
}

/// Reduction over `axes` (sorted, distinct).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduce {
    /// How.
    pub kind: ReduceKind,
    /// Which axes.
    pub axes: Vec<u32>,
    /// Whether reduced axes stay as 1.
    pub keep_dims: bool,
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        "Reduce"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        axes_of(inputs[0], &self.axes).map(|()| reduced(inputs[0], &self.axes, self.keep_dims))
    }

    fn cost(&self, inputs: &[&[u32]], _output: &[u32]) -> Cost {
        Cost { flops: count(inputs[0]), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        match self.kind {
            ReduceKind::L2 => true,
            ReduceKind::Mean | ReduceKind::Sum | ReduceKind::Max | ReduceKind::Min => inputs[0],
        }
    }
}

/// Index of the first (or last) maximum along `axis`, as f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgMax {
    /// Which axis.
    pub axis: u32,
    /// Whether the axis stays as 1.
    pub keep_dims: bool,
    /// Whether the last of equal maxima wins.
    pub last: bool,
}

impl Operator for ArgMax {
    fn name(&self) -> &'static str {
        "ArgMax"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        axis_of(inputs[0], self.axis).map(|_| reduced(inputs[0], &[self.axis], self.keep_dims))
    }

    fn cost(&self, inputs: &[&[u32]], _output: &[u32]) -> Cost {
        Cost { flops: count(inputs[0]), macs: 0 }
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        true
    }
}
