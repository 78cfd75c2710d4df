//! What must be known of every operator.

use std::ops::RangeInclusive;

use crate::dims::Shape;

/// What one application of an operator costs the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Additions, multiplications, comparisons and function evaluations.
    pub(crate) flops: u64,
    /// Multiply-accumulates of convolutions and matrix products.
    pub(crate) macs: u64,
}

impl Cost {
    /// Of a weighted sum: two FLOPs per multiply-accumulate.
    pub(crate) fn of_macs(macs: u64) -> Self {
        Self { flops: 2 * macs, macs }
    }
}

/// The questions that an operator answers about itself. None has a default: an operator without an answer does not
/// compile.
pub(crate) trait Operator {
    /// Its name, for messages and reports.
    fn name(&self) -> &'static str;

    /// How many operands it takes.
    fn arity(&self) -> RangeInclusive<usize>;

    /// Its output's shape, given those of its operands: as many as [`arity`](Self::arity) says, none of them empty.
    /// Refuses operands that do not fit, with the reason. The device relies on it when it loads a bundle.
    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String>;

    /// What it costs on operands and output of these shapes.
    fn cost(&self, inputs: &[&[u32]], output: &[u32]) -> Cost;

    /// Whether its output can never be negative, given which of its operands cannot.
    fn non_negative(&self, inputs: &[bool]) -> bool;
}

/// Product of dimensions, for costs.
pub(crate) fn count(shape: &[u32]) -> u64 {
    shape.iter().map(|&d| u64::from(d)).product()
}
