//! Normalizations, softmax, reductions.

use twinmask_model::graph::{ValueId, elements};
use twinmask_model::ops::{ArgMax, Binary, Lrn, Normalize, Reduce, ReduceKind, Softmax, Unary};

use super::call::Call;
use super::importer::{Importer, Table};
use super::tensor::{axes_of, axis_of};

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[
    ("ArgMax", arg_max),
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("LRN", lrn),
    ("LayerNormalization", layer),
    ("LogSoftmax", softmax),
    ("LpNormalization", lp),
    ("ReduceL2", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceSum", reduce),
    ("Softmax", softmax),
];

/// `x * scale + shift` per channel (axis 1).
pub(super) fn affine(im: &mut Importer, call: &Call, x: ValueId, scale: Vec<f32>, shift: Vec<f32>) -> Result<ValueId> {
    let shape = im.graph.shape(x).to_vec();
    let channels = *shape.get(1).ok_or("its input has no channels")?;
    if scale.len() != channels as usize || shift.len() != channels as usize {
        return Err(format!("{} scales and {} shifts for {channels} channels", scale.len(), shift.len()));
    }
    let mut per_channel = vec![1; shape.len()];
    per_channel[1] = channels;
    let scale = im.new_constant(call, "scale", per_channel.clone(), scale)?;
    let shift = im.new_constant(call, "shift", per_channel, shift)?;
    let y = im.emit(call, Binary::Mul, vec![x, scale])?;
    im.emit(call, Binary::Add, vec![y, shift])
}

/// As a multiplication and an addition, which [`passes::fuse`](super::passes::fuse) folds into a layer before it.
fn batch(im: &mut Importer, call: &Call) -> Result {
    let epsilon = f64::from(call.float("epsilon", 1e-5)?);
    if call.flag("training_mode", false) || !call.flag("spatial", true) {
        return Err("only the inference form with statistics per channel is supported".into());
    }
    let x = im.value(call, 0)?;
    let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|i| im.required(call, i));
    let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
    let (gamma, beta, mean, variance) =
        (gamma.as_floats()?, beta.as_floats()?, mean.as_floats()?, variance.as_floats()?);
    if [beta.len(), mean.len(), variance.len()] != [gamma.len(); 3] {
        return Err("scale, bias, mean and variance differ in length".into());
    }
    let factor = |c: usize| f64::from(gamma[c]) / (f64::from(variance[c]) + epsilon).sqrt();
    let scale = (0..gamma.len()).map(|c| factor(c) as f32).collect();
    let shift = (0..gamma.len()).map(|c| (f64::from(beta[c]) - f64::from(mean[c]) * factor(c)) as f32).collect();
    let y = affine(im, call, x, scale, shift)?;
    im.bind(call, 0, y)
}

fn instance(im: &mut Importer, call: &Call) -> Result {
    let epsilon = call.float("epsilon", 1e-5)?;
    let x = im.value(call, 0)?;
    let axes = (2..im.graph.shape(x).len() as u32).collect();
    let (scale, shift) = (im.required(call, 1)?, im.required(call, 2)?);
    let y = im.emit(call, Normalize { axes, epsilon }, vec![x])?;
    let y = affine(im, call, y, scale.as_floats()?.to_vec(), shift.as_floats()?.to_vec())?;
    im.bind(call, 0, y)
}

fn layer(im: &mut Importer, call: &Call) -> Result {
    let epsilon = call.float("epsilon", 1e-5)?;
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let axis = axis_of(call.int("axis", -1), shape.len())? as u32;
    let mut y = im.emit(call, Normalize { axes: (axis..shape.len() as u32).collect(), epsilon }, vec![x])?;
    for (i, f) in [(1, Binary::Mul), (2, Binary::Add)] {
        if call.has_input(i) {
            let operand = im.value(call, i)?;
            y = im.emit(call, f, vec![y, operand])?;
        }
    }
    if im.graph.shape(y) == shape { im.bind(call, 0, y) } else { Err("scale or bias is larger than the input".into()) }
}

fn lrn(im: &mut Importer, call: &Call) -> Result {
    let size = u32::try_from(call.int("size", 0)).ok().filter(|&s| s > 0).ok_or("size is missing")?;
    let op = Lrn {
        size,
        alpha: call.float("alpha", 1e-4)?,
        beta: call.float("beta", 0.75)?,
        bias: call.float("bias", 1.0)?,
    };
    let x = im.value(call, 0)?;
    let y = im.emit(call, op, vec![x])?;
    im.bind(call, 0, y)
}

/// Before operator set 13 all axes from `axis` on are one.
fn softmax(im: &mut Importer, call: &Call) -> Result {
    let log = call.op == "LogSoftmax";
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let axis = axis_of(call.int("axis", if im.opset < 13 { 1 } else { -1 }), shape.len())?;
    let flatten = im.opset < 13 && shape[axis + 1..].iter().any(|&d| d != 1);
    let y = if flatten {
        let flat = [elements(&shape[..axis]) as u32, elements(&shape[axis..]) as u32];
        let y = im.reshape(call, x, flat.to_vec())?;
        let y = im.emit(call, Softmax { axis: 1, log }, vec![y])?;
        im.reshape(call, y, shape)?
    } else {
        im.emit(call, Softmax { axis: axis as u32, log }, vec![x])?
    };
    im.bind(call, 0, y)
}

fn lp(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let axis = axis_of(call.int("axis", -1), im.graph.shape(x).len())? as u32;
    let norm = match call.int("p", 2) {
        2 => im.emit(call, Reduce { kind: ReduceKind::L2, axes: vec![axis], keep_dims: true }, vec![x])?,
        1 => {
            let abs = im.emit(call, Unary::Abs, vec![x])?;
            im.emit(call, Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep_dims: true }, vec![abs])?
        }
        p => return Err(format!("p = {p}")),
    };
    let y = im.emit(call, Binary::Div, vec![x, norm])?;
    im.bind(call, 0, y)
}

fn reduce(im: &mut Importer, call: &Call) -> Result {
    let kind = match call.op {
        "ReduceMean" => ReduceKind::Mean,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        _ => ReduceKind::L2,
    };
    let x = im.value(call, 0)?;
    let y = reduce_by(im, call, kind, x, call.flag("keepdims", true))?;
    im.bind(call, 0, y)
}

/// `x` reduced over the axes that the node names.
pub(super) fn reduce_by(
    im: &mut Importer,
    call: &Call,
    kind: ReduceKind,
    x: ValueId,
    keep_dims: bool,
) -> Result<ValueId> {
    let rank = im.graph.shape(x).len();
    let noop = call.flag("noop_with_empty_axes", false);
    let axes = match im.ints(call, 1, "axes")? {
        Some(a) if !a.is_empty() => axes_of(&a, rank)?,
        _ if noop => vec![],
        _ => (0..rank).collect(),
    };
    let axes: Vec<u32> = axes.into_iter().map(|a| a as u32).collect();
    if axes.is_empty() && noop { Ok(x) } else { im.emit(call, Reduce { kind, axes, keep_dims }, vec![x]) }
}

fn arg_max(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    arg_max_of(im, call, x)
}

/// The index of the maximum of `x`, as the node's result.
pub(super) fn arg_max_of(im: &mut Importer, call: &Call, x: ValueId) -> Result {
    let axis = axis_of(call.int("axis", 0), im.graph.shape(x).len())? as u32;
    let op = ArgMax { axis, keep_dims: call.flag("keepdims", true), last: call.flag("select_last_index", false) };
    let y = im.emit(call, op, vec![x])?;
    im.bind(call, 0, y)
}
