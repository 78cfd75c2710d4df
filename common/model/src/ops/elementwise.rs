//! Elementwise functions.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, broadcast};
use crate::ops::operator::{Cost, Operator, count};
use crate::tagged::tagged;

tagged! {
    /// Elementwise functions of one operand.
    #[derive(Debug, Clone, Copy, PartialEq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum Unary, "function of one operand" {
        Relu = 1,
        Clip { min: f32, max: f32 } = 2,
        LeakyRelu { alpha: f32 } = 3,
        Elu { alpha: f32 } = 4,
        Sigmoid = 5,
        HardSigmoid { alpha: f32, beta: f32 } = 6,
        HardSwish = 7,
        Tanh = 8,
        Gelu { tanh: bool } = 9,
        Erf = 10,
        Exp = 11,
        Log = 12,
        Sqrt = 13,
        Abs = 14,
        Neg = 15,
        Reciprocal = 16,
        Softplus = 17,
    }
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        "Unary"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        Ok(inputs[0].to_vec())
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        let each = match self {
            Self::Relu | Self::Abs | Self::Neg => 1,
            Self::Clip { .. } | Self::LeakyRelu { .. } => 2,
            Self::Elu { .. } | Self::Sigmoid | Self::HardSigmoid { .. } | Self::HardSwish | Self::Tanh => 4,
            Self::Gelu { .. } | Self::Erf | Self::Exp | Self::Log | Self::Sqrt => 4,
            Self::Reciprocal | Self::Softplus => 4,
        };
        Cost { flops: each * count(output), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        match self {
            Self::Relu | Self::Sigmoid | Self::HardSigmoid { .. } | Self::Exp => true,
            Self::Sqrt | Self::Abs | Self::Softplus => true,
            Self::Clip { min, .. } => *min >= 0.0,
            Self::LeakyRelu { .. } | Self::Elu { .. } | Self::HardSwish | Self::Tanh => inputs[0],
            Self::Gelu { .. } | Self::Erf | Self::Reciprocal => inputs[0],
            Self::Log | Self::Neg => false,
        }
    }
}

tagged! {
    /// Elementwise functions of two operands with numpy broadcasting.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
    pub enum Binary, "function of two operands" {
        Add = 1,
        Sub = 2,
        Mul = 3,
        Div = 4,
        Max = 5,
        Min = 6,
        Pow = 7,
        /// `x` if positive, else `slope * x`.
        PRelu = 8,
    }
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        "Binary"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        Ok(broadcast(inputs[0], inputs[1])?)
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: count(output), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        match self {
            Self::Add | Self::Mul | Self::Div | Self::Min | Self::Pow | Self::PRelu => inputs[0] && inputs[1],
            Self::Max => inputs[0] || inputs[1],
            Self::Sub => false,
        }
    }
}

/// Inputs condition, a and b with numpy broadcasting: a where the condition is not zero, else b.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where;

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        Ok(broadcast(&broadcast(inputs[0], inputs[1])?, inputs[2])?)
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: count(output), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[1] && inputs[2]
    }
}
