//! Executor of the device's local operators on f32 tensors.
//!
//! [`Program`] sorts a graph's nodes into the rounds of PROTOCOL.md, [`Values`] holds the tensors of one inference,
//! and [`apply`] computes one operator. Every operator adds in an order fixed by its shapes, so that the same input
//! gives the same bits.

mod conv;
mod elementwise;
mod layout;
mod normal;
mod pool;
mod program;
mod reduce;
mod resize;
mod strided;
mod values;
mod weighted;

use twinmask_model::graph::{Op, elements};
use twinmask_model::infer::infer;

pub use program::{Program, Segment};
pub use values::Values;

/// A tensor to read: `data` holds the elements of `shape`, row-major.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Dimensions.
    pub shape: &'a [u32],
    /// Elements.
    pub data: &'a [f32],
}

impl<'a> View<'a> {
    /// The tensor of this shape and these elements.
    #[must_use]
    pub fn new(shape: &'a [u32], data: &'a [f32]) -> Self {
        Self { shape, data }
    }
}

/// Why a graph or an operator cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// An operator refuses its operands.
    #[error("node '{node}' ({op}): {reason}; import the model again with this version's owner-keygen")]
    Node {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is read before it is there: a round was skipped, or its answer not put in.
    #[error("tensor '{value}' is not computed yet: run the segments in order and set the answers of each round")]
    Missing {
        /// The tensor's name.
        value: String,
    },
    /// A tensor put in from outside has the wrong size.
    #[error("tensor '{value}' of shape {shape:?} cannot hold {found} elements")]
    Length {
        /// The tensor's name.
        value: String,
        /// Its shape.
        shape: Vec<u32>,
        /// Elements given.
        found: usize,
    },
}

impl ExecError {
    fn of(op: &Op, reason: impl Into<String>) -> Self {
        Self::Node { node: String::new(), op: op.name(), reason: reason.into() }
    }

    /// The same error, said of the node `name`.
    fn at(mut self, name: &str) -> Self {
        if let Self::Node { node, .. } = &mut self {
            name.clone_into(node);
        }
        self
    }
}

/// Computes `op` on `inputs`: the elements of a tensor of shape `out_shape`.
///
/// # Errors
/// [`ExecError::Node`] when the operands do not fit the operator or the shape, and for [`Op::Linear`], which only
/// the edges (or the caller) can compute.
pub fn apply(op: &Op, inputs: &[View<'_>], out_shape: &[u32]) -> Result<Vec<f32>, ExecError> {
    let shapes: Vec<&[u32]> = inputs.iter().map(|x| x.shape).collect();
    if inputs.iter().any(|x| x.data.is_empty() || elements(x.shape) != x.data.len()) {
        return Err(ExecError::of(op, "an operand is empty or does not fit its shape"));
    }
    let inferred = infer(op, &shapes).map_err(|e| ExecError::of(op, e.reason))?;
    if inferred != out_shape {
        return Err(ExecError::of(op, format!("its result is {inferred:?}, not {out_shape:?}")));
    }
    let mut out = vec![0.0; elements(out_shape)];
    apply_into(op, inputs, out_shape, &mut out)?;
    Ok(out)
}

/// Like [`apply`], into `out`, every element of which is written. Shapes are those that `infer` accepts.
fn apply_into(op: &Op, inputs: &[View<'_>], out_shape: &[u32], out: &mut [f32]) -> Result<(), ExecError> {
    let x = inputs[0];
    let bias = inputs.get(2).map(|b| b.data);
    let refused = |reason: String| ExecError::of(op, reason);
    match op {
        Op::Linear { .. } => return Err(refused("a linear layer is not computed by the executor".into())),
        Op::Conv { window, groups } => {
            conv::conv(x, inputs[1], bias, window, *groups as usize, out).map_err(refused)?
        }
        Op::ConvTranspose { window, output_padding, groups } => {
            conv::conv_transpose(x, inputs[1], bias, window, *output_padding, *groups as usize, out)
                .map_err(refused)?;
        }
        Op::Dense => weighted::dense(x.data, inputs[1], bias, out),
        Op::MatMul => weighted::matmul(x, inputs[1], out_shape, out),
        Op::Unary(f) => {
            out.copy_from_slice(x.data);
            elementwise::unary(*f, out);
        }
        Op::Binary(f) => {
            strided::broadcast(x, out_shape, out);
            elementwise::binary(*f, out_shape, out, inputs[1], false);
        }
        Op::Pool { window, kind, ceil } => pool::pool(x, window, *kind, *ceil, out).map_err(refused)?,
        Op::Reduce { kind, axes, .. } => reduce::reduce(*kind, x, axes, out),
        Op::ArgMax { axis, last, .. } => reduce::arg_max(x, *axis as usize, *last, out),
        Op::Softmax { axis, log } => normal::softmax(x, *axis as usize, *log, out),
        Op::Normalize { axes, epsilon } => normal::normalize(x, axes, *epsilon, out),
        Op::Lrn { size, alpha, beta, bias } => {
            normal::lrn(x, *size as usize, *alpha, *beta, *bias, out).map_err(refused)?;
        }
        Op::Concat { axis } => layout::concat(inputs, *axis as usize, out),
        Op::Reshape { .. } => out.copy_from_slice(x.data),
        Op::Transpose { perm } => layout::transpose(x, perm, out),
        Op::Pad { before, mode, .. } => layout::pad(x, before, out_shape, *mode, out),
        Op::Slice { start, step, size } => layout::slice(x, start, step, size, out),
        Op::Expand { shape } => strided::broadcast(x, shape, out),
        Op::Resize { mode, coordinates, scale, shape } => {
            resize::resize(x, *mode, *coordinates, scale, shape, out).map_err(refused)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
