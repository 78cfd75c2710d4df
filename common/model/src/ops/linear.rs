//! Linear layers and matrix products.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use twinmask_codec::LayerId;

use crate::dims::{Shape, broadcast};
use crate::ops::operator::{Cost, Operator, count};

/// Offloaded linear layer, bias included; input x.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// Which layer of the plan.
    pub layer: LayerId,
    /// Output shape, checked against the plan's geometry.
    pub shape: Shape,
}

impl Operator for Linear {
    fn name(&self) -> &'static str {
        "Linear"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, _inputs: &[&[u32]]) -> Result<Shape, String> {
        Ok(self.shape.clone())
    }

    /// The device only adds the bias.
    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: count(output), macs: 0 }
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

/// Fully connected: x `[.., in]`, w `[out, in]`, optional b `[out]` -> `[.., out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dense;

impl Operator for Dense {
    fn name(&self) -> &'static str {
        "Gemm"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, w) = (inputs[0], inputs[1]);
        match (w, x.split_last()) {
            (&[outputs, inner], Some((&last, rows))) if last == inner => {
                check_bias(inputs.get(2).copied(), outputs)?;
                Ok([rows, &[outputs]].concat())
            }
            _ => Err(format!("weights {w:?} do not fit input {x:?}")),
        }
    }

    fn cost(&self, inputs: &[&[u32]], output: &[u32]) -> Cost {
        inner_products(inputs, output)
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

/// Product of two activations, numpy broadcasting of the leading axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatMul;

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (a, b) = (inputs[0], inputs[1]);
        let ([leading_a @ .., m, inner], [leading_b @ .., inner_b, n]) = (a, b) else {
            return Err(format!("{a:?} x {b:?}: both operands need rank 2 or more"));
        };
        if inner != inner_b {
            return Err(format!("{a:?} x {b:?}: inner sizes differ"));
        }
        let mut shape = broadcast(leading_a, leading_b)?;
        shape.extend([m, n]);
        Ok(shape)
    }

    fn cost(&self, inputs: &[&[u32]], output: &[u32]) -> Cost {
        inner_products(inputs, output)
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

/// One inner product of the first operand's last axis per element of the output.
fn inner_products(inputs: &[&[u32]], output: &[u32]) -> Cost {
    Cost::of_macs(count(output) * u64::from(inputs[0].last().copied().unwrap_or(1)))
}

/// Refuses a bias that has not one element per output.
pub(crate) fn check_bias(bias: Option<&[u32]>, outputs: u32) -> Result<(), String> {
    match bias {
        None => Ok(()),
        Some(b) if b == [outputs] => Ok(()),
        Some(b) => Err(format!("bias {b:?} for {outputs} outputs")),
    }
}
