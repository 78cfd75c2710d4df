//! One operator on its operands.

use twinmask_model::graph::elements;
use twinmask_model::ops::Op;
use twinmask_model::shapes::shape_of;

use crate::error::ExecError;
use crate::view::View;
use crate::{conv, elementwise, index, layout, normal, pool, reduce, resize, strided, weighted};

/// Computes `op` on `inputs`: the elements of a tensor of shape `out_shape`.
///
/// # Errors
/// [`ExecError::Index`] for an index outside of what it picks from, [`ExecError::Node`] when the operands do not fit
/// the operator or the shape, and for [`Linear`](twinmask_model::ops::Linear), which only the edges (or the caller) can
/// compute.
pub fn apply(op: &Op, inputs: &[View<'_>], out_shape: &[u32]) -> Result<Vec<f32>, ExecError> {
    let shapes: Vec<&[u32]> = inputs.iter().map(|x| x.shape).collect();
    if inputs.iter().any(|x| x.data.is_empty() || elements(x.shape) != x.data.len()) {
        return Err(ExecError::of(op, "an operand is empty or does not fit its shape"));
    }
    let inferred = shape_of(op, &shapes).map_err(|e| ExecError::of(op, e.reason))?;
    if inferred != out_shape {
        return Err(ExecError::of(op, format!("its result is {inferred:?}, not {out_shape:?}")));
    }
    let mut out = vec![0.0; elements(out_shape)];
    apply_into(op, inputs, out_shape, &mut out)?;
    Ok(out)
}

/// Like [`apply`], into `out`, every element of which is written, also when an index is none. Shapes are those that
/// [`shape_of`] accepts.
pub(crate) fn apply_into(op: &Op, inputs: &[View<'_>], out_shape: &[u32], out: &mut [f32]) -> Result<(), ExecError> {
    let x = inputs[0];
    let bias = inputs.get(2).map(|b| b.data);
    let refused = |reason: String| ExecError::of(op, reason);
    match op {
        Op::Linear(_) => return Err(refused("a linear layer is not computed by the executor".into())),
        Op::Conv(o) => {
            conv::Ready::new(o, x.shape, inputs[1], bias).map_err(refused)?.apply(x.data, out, &mut Vec::new())
        }
        Op::ConvTranspose(o) => conv::conv_transpose(x, inputs[1], bias, o, out).map_err(refused)?,
        Op::Dense(_) => weighted::dense(x.data, inputs[1], bias, out),
        Op::MatMul(_) => weighted::matmul(x, inputs[1], out_shape, out),
        Op::Unary(f) => {
            out.copy_from_slice(x.data);
            elementwise::unary(*f, out);
        }
        Op::Binary(f) => {
            strided::broadcast(x, out_shape, out);
            elementwise::binary(*f, out_shape, out, inputs[1], false);
        }
        Op::Pool(o) => pool::pool(x, o, out).map_err(refused)?,
        Op::Reduce(o) => reduce::reduce(o.kind, x, &o.axes, out),
        Op::ArgMax(o) => reduce::arg_max(x, o.axis as usize, o.last, out),
        Op::Softmax(o) => normal::softmax(x, o.axis as usize, o.log, out),
        Op::Normalize(o) => normal::normalize(x, &o.axes, o.epsilon, out),
        Op::Lrn(o) => normal::lrn(x, o, out).map_err(refused)?,
        Op::Concat(o) => layout::concat(inputs, o.axis as usize, out),
        Op::Reshape(_) => out.copy_from_slice(x.data),
        Op::Transpose(o) => layout::transpose(x, &o.perm, out),
        Op::Pad(o) => layout::pad(x, o, out_shape, out),
        Op::Slice(o) => layout::slice(x, o, out),
        Op::Expand(o) => strided::broadcast(x, &o.shape, out),
        Op::Resize(o) => resize::resize(x, o, out).map_err(refused)?,
        Op::Where(_) => elementwise::choose(x, inputs[1], inputs[2], out_shape, out),
        Op::Gather(o) => index::gather(x, o.axis as usize, inputs[1].data, out)
            .map_err(|(index, len)| ExecError::Index { node: String::new(), index, len })?,
    }
    Ok(())
}
