//! Matrix products.

use std::rc::Rc;

use twinmask_model::graph::ValueId;
use twinmask_model::ops::{Binary, Dense, MatMul, Transpose};

use super::call::Call;
use super::importer::{Form, Importer, Table};
use super::tensor::Data;

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[("Gemm", gemm), ("MatMul", matmul)];

/// Weights `[out, in]` from a constant 2-D operand `[in, out]` (`[out, in]` if `transposed`), times `alpha`. A
/// constant that is in that form already is used as it is.
fn weights(im: &mut Importer, call: &Call, i: usize, transposed: bool, alpha: f32) -> Result<ValueId> {
    if transposed && alpha == 1.0 {
        return im.value(call, i);
    }
    let w = im.required(call, i)?;
    im.made(&w, Form::Weights { transposed, alpha: alpha.to_bits() }, |im| {
        im.budget.charge(w.len() as u64, 4)?;
        let mut t = if transposed { (*w).clone() } else { w.transposed(&[1, 0]) };
        if let Data::F(data) = &mut t.data {
            data.iter_mut().for_each(|v| *v *= alpha);
        }
        t.as_floats()?;
        Ok(im.add_constant(&call.node.inputs[i], Rc::new(t)))
    })
}

fn gemm(im: &mut Importer, call: &Call) -> Result {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (trans_a, trans_b) = (call.flag("transA", false), call.flag("transB", false));
    if im.shape(call, 0)?.len() != 2 || im.shape(call, 1)?.len() != 2 {
        return Err("its operands are not of rank 2".into());
    }
    let swap = |im: &mut Importer, v, yes| {
        if yes { im.emit(call, Transpose { perm: vec![1, 0] }, vec![v]) } else { Ok(v) }
    };
    let a = im.value(call, 0)?;
    let a = swap(im, a, trans_a)?;
    let mut y = if im.is_constant(call, 1) {
        let w = weights(im, call, 1, trans_b, alpha)?;
        let inputs = match bias(im, call, w, beta)? {
            Some(b) => vec![a, w, b],
            None => vec![a, w],
        };
        let fused = inputs.len() == 3 || !call.has_input(2);
        let y = im.emit(call, Dense, inputs)?;
        if fused {
            return im.bind(call, 0, y);
        }
        y
    } else {
        let b = im.value(call, 1)?;
        let b = swap(im, b, trans_b)?;
        let y = im.emit(call, MatMul, vec![a, b])?;
        scaled(im, call, y, alpha, "alpha")?
    };
    if call.has_input(2) {
        let c = im.value(call, 2)?;
        let c = scaled(im, call, c, beta, "beta")?;
        y = im.emit(call, Binary::Add, vec![y, c])?;
    }
    im.bind(call, 0, y)
}

/// The constant `beta * C` as `[out]`, if it is the same for each row.
fn bias(im: &mut Importer, call: &Call, w: ValueId, beta: f32) -> Result<Option<ValueId>> {
    let outputs = im.graph.shape(w)[0];
    if !im.is_constant(call, 2) {
        return Ok(None);
    }
    let c = im.required(call, 2)?;
    if !matches!(c.shape[..], [] | [_] | [1, _]) {
        return Ok(None);
    }
    let flat = c.reshaped(vec![c.len() as u32]).expanded(&[outputs])?;
    if beta == 1.0 && c.shape == [outputs] {
        return im.value(call, 2).map(Some);
    }
    let data = flat.as_floats()?.iter().map(|v| v * beta).collect();
    im.new_constant(call, "bias", vec![outputs], data).map(Some)
}

fn scaled(im: &mut Importer, call: &Call, x: ValueId, by: f32, what: &str) -> Result<ValueId> {
    if by == 1.0 {
        return Ok(x);
    }
    let factor = im.new_constant(call, what, vec![], vec![by])?;
    im.emit(call, Binary::Mul, vec![x, factor])
}

fn matmul(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let dense = im.is_constant(call, 1) && im.shape(call, 1)?.len() == 2;
    let y = if dense {
        let w = weights(im, call, 1, false, 1.0)?;
        im.emit(call, Dense, vec![x, w])?
    } else {
        let b = im.value(call, 1)?;
        im.emit(call, MatMul, vec![x, b])?
    };
    im.bind(call, 0, y)
}
