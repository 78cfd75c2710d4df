//! Operators that the IR has no word for and that others of it make up.

use twinmask_model::graph::{Element, ValueId};
use twinmask_model::ops::{Binary, Expand, Normalize, ReduceKind, Transpose, Unary};

use super::call::Call;
use super::importer::{Importer, Table};
use super::ops_normalize::{affine, arg_max_of, reduce_by};
use super::tensor::Tensor;

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[
    ("ArgMin", arg_min),
    ("CastLike", cast_like),
    ("Celu", celu),
    ("DepthToSpace", depth_to_space),
    ("GroupNormalization", group_normalization),
    ("Mean", mean),
    ("Mish", mish),
    ("ReduceL1", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce_log_sum_exp),
    ("ReduceSumSquare", reduce),
    ("Selu", selu),
    ("Softsign", softsign),
    ("SpaceToDepth", space_to_depth),
    ("Tile", tile),
];

fn unary(im: &mut Importer, call: &Call, f: Unary, x: ValueId) -> Result<ValueId> {
    im.emit(call, f, vec![x])
}

fn binary(im: &mut Importer, call: &Call, f: Binary, a: ValueId, b: ValueId) -> Result<ValueId> {
    im.emit(call, f, vec![a, b])
}

/// `x * by`.
fn times(im: &mut Importer, call: &Call, x: ValueId, what: &str, by: f32) -> Result<ValueId> {
    let factor = im.new_constant(call, what, vec![], vec![by])?;
    binary(im, call, Binary::Mul, x, factor)
}

fn arg_min(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let x = unary(im, call, Unary::Neg, x)?;
    arg_max_of(im, call, x)
}

/// Activations are floats already, whatever their element type outside; constants become them.
fn cast_like(im: &mut Importer, call: &Call) -> Result {
    if im.element(call, 0) == Element::F32 && im.element(call, 1) != Element::F32 {
        return Err("a cast of an activation to integers; activations are floats".into());
    }
    let x = if im.is_constant(call, 0) {
        let t = im.required(call, 0)?;
        im.floats(call, "float", &t)?
    } else {
        im.value(call, 0)?
    };
    im.bind(call, 0, x)
}

/// `alpha * elu(x / alpha)`.
fn celu(im: &mut Importer, call: &Call) -> Result {
    let alpha = call.float("alpha", 1.0)?;
    let x = im.value(call, 0)?;
    let x = times(im, call, x, "1/alpha", 1.0 / alpha)?;
    let y = unary(im, call, Unary::Elu { alpha: 1.0 }, x)?;
    let y = times(im, call, y, "alpha", alpha)?;
    im.bind(call, 0, y)
}

/// `gamma * elu(x)`.
fn selu(im: &mut Importer, call: &Call) -> Result {
    let (alpha, gamma) = (call.float("alpha", 1.673_263_2)?, call.float("gamma", 1.050_701)?);
    let x = im.value(call, 0)?;
    let y = unary(im, call, Unary::Elu { alpha }, x)?;
    let y = times(im, call, y, "gamma", gamma)?;
    im.bind(call, 0, y)
}

/// `x * tanh(softplus(x))`.
fn mish(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let y = unary(im, call, Unary::Softplus, x)?;
    let y = unary(im, call, Unary::Tanh, y)?;
    let y = binary(im, call, Binary::Mul, x, y)?;
    im.bind(call, 0, y)
}

/// `x / (1 + |x|)`.
fn softsign(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let one = im.new_constant(call, "one", vec![], vec![1.0])?;
    let y = unary(im, call, Unary::Abs, x)?;
    let y = binary(im, call, Binary::Add, y, one)?;
    let y = binary(im, call, Binary::Div, x, y)?;
    im.bind(call, 0, y)
}

fn mean(im: &mut Importer, call: &Call) -> Result {
    let mut sum = im.value(call, 0)?;
    let n = call.node.inputs.len();
    for i in 1..n {
        let b = im.value(call, i)?;
        sum = binary(im, call, Binary::Add, sum, b)?;
    }
    let y = if n == 1 { sum } else { times(im, call, sum, "1/n", 1.0 / n as f32)? };
    im.bind(call, 0, y)
}

/// A sum of a function of the elements, or a function of the sum.
fn reduce(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let terms = match call.op {
        "ReduceL1" => unary(im, call, Unary::Abs, x)?,
        "ReduceSumSquare" => binary(im, call, Binary::Mul, x, x)?,
        _ => x,
    };
    let sum = reduce_by(im, call, ReduceKind::Sum, terms, call.flag("keepdims", true))?;
    let y = if call.op == "ReduceLogSum" { unary(im, call, Unary::Log, sum)? } else { sum };
    im.bind(call, 0, y)
}

/// `max + log(sum(exp(x - max)))`, which cannot overflow.
fn reduce_log_sum_exp(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let max = reduce_by(im, call, ReduceKind::Max, x, true)?;
    let y = binary(im, call, Binary::Sub, x, max)?;
    let y = unary(im, call, Unary::Exp, y)?;
    let y = reduce_by(im, call, ReduceKind::Sum, y, call.flag("keepdims", true))?;
    let y = unary(im, call, Unary::Log, y)?;
    let max = im.reshape(call, max, im.graph.shape(y).to_vec())?;
    let y = binary(im, call, Binary::Add, y, max)?;
    im.bind(call, 0, y)
}

/// Scale and bias are per group before operator set 21, per channel since.
fn group_normalization(im: &mut Importer, call: &Call) -> Result {
    let epsilon = call.float("epsilon", 1e-5)?;
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let channels = *shape.get(1).ok_or("its input has no channels")?;
    let groups = u32::try_from(call.int("num_groups", 0)).ok().filter(|&g| g > 0 && channels.is_multiple_of(g));
    let groups = groups.ok_or_else(|| format!("num_groups {} for {channels} channels", call.int("num_groups", 0)))?;
    let mut grouped = vec![shape[0], groups, channels / groups];
    grouped.extend(&shape[2..]);
    let axes = (2..grouped.len() as u32).collect();
    let y = im.reshape(call, x, grouped)?;
    let y = im.emit(call, Normalize { axes, epsilon }, vec![y])?;
    let y = im.reshape(call, y, shape)?;
    let repeat = if im.opset < 21 { channels / groups } else { 1 } as usize;
    let per_channel = |im: &Importer, i: usize| -> Result<Vec<f32>> {
        let t = im.required(call, i)?;
        Ok(t.as_floats()?.iter().flat_map(|&v| std::iter::repeat_n(v, repeat)).collect())
    };
    let (scale, shift) = (per_channel(im, 1)?, per_channel(im, 2)?);
    let y = affine(im, call, y, scale, shift)?;
    im.bind(call, 0, y)
}

/// Channels, height, width and block size, once the block is known to divide what it is taken from.
fn blocks(im: &mut Importer, call: &Call, x: ValueId, to_space: bool) -> Result<[u32; 4]> {
    let shape = im.graph.shape(x);
    let block = u32::try_from(call.int("blocksize", 0)).ok().filter(|b| (1..1 << 15).contains(b));
    match (shape, block) {
        (&[1, c, h, w], Some(b)) if to_space && c.is_multiple_of(b * b) => Ok([c, h, w, b]),
        (&[1, c, h, w], Some(b)) if !to_space && h.is_multiple_of(b) && w.is_multiple_of(b) => Ok([c, h, w, b]),
        _ => Err(format!("blocksize {} does not divide {shape:?}", call.int("blocksize", 0))),
    }
}

fn shuffled(im: &mut Importer, call: &Call, x: ValueId, split: [u32; 6], perm: [u32; 6], to: [u32; 4]) -> Result {
    let y = im.reshape(call, x, split.to_vec())?;
    let y = im.emit(call, Transpose { perm: perm.to_vec() }, vec![y])?;
    let y = im.reshape(call, y, to.to_vec())?;
    im.bind(call, 0, y)
}

fn depth_to_space(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let [c, h, w, b] = blocks(im, call, x, true)?;
    let (rest, to) = (c / (b * b), [1, c / (b * b), h * b, w * b]);
    match call.text("mode", "DCR") {
        "DCR" => shuffled(im, call, x, [1, b, b, rest, h, w], [0, 3, 4, 1, 5, 2], to),
        "CRD" => shuffled(im, call, x, [1, rest, b, b, h, w], [0, 1, 4, 2, 5, 3], to),
        other => Err(format!("mode {other}")),
    }
}

fn space_to_depth(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let [c, h, w, b] = blocks(im, call, x, false)?;
    let to = [1, c.checked_mul(b * b).ok_or("too many channels")?, h / b, w / b];
    shuffled(im, call, x, [1, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], to)
}

/// Shapes that repeat a tensor: an axis of 1 before each repeated one, that axis expanded, both joined.
pub(super) fn tiling(x: &[u32], repeats: &Tensor) -> Result<[Vec<u32>; 3]> {
    let repeats = super::ops_shape::to_shape(repeats.as_ints()?)?;
    if repeats.len() != x.len() {
        return Err(format!("{} repeats for {x:?}", repeats.len()));
    }
    let [mut split, mut expanded, mut joined] = [vec![], vec![], vec![]];
    for (&d, &r) in x.iter().zip(&repeats) {
        if r != 1 {
            split.push(1);
            expanded.push(r);
        }
        split.push(d);
        expanded.push(d);
        joined.push(d.checked_mul(r).ok_or("the repeated tensor is too large")?);
    }
    Ok([split, expanded, joined])
}

fn tile(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let [split, expanded, joined] = tiling(im.graph.shape(x), &*im.required(call, 1)?)?;
    let y = im.reshape(call, x, split)?;
    let y = if im.graph.shape(y) == expanded { y } else { im.emit(call, Expand { shape: expanded }, vec![y])? };
    let y = im.reshape(call, y, joined)?;
    im.bind(call, 0, y)
}
