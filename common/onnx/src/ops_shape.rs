//! Operators that move elements: reshaping, slicing, joining, padding; aliases.

use twinmask_model::dims::{broadcast, elements};
use twinmask_model::graph::Element;
use twinmask_model::ops::{Concat, Expand, Gather, Pad, PadMode, Slice, Transpose, Where};

use super::call::Call;
use super::importer::{Importer, Table};
use super::tensor::{SlicePlan, axes_of, axis_of};

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[
    ("Cast", cast),
    ("Concat", concat),
    ("Dropout", identity),
    ("Expand", expand),
    ("Flatten", reshape),
    ("Gather", gather),
    ("Identity", identity),
    ("Pad", pad),
    ("Reshape", reshape),
    ("Slice", slice),
    ("Split", split),
    ("Squeeze", reshape),
    ("Transpose", transpose),
    ("Unsqueeze", reshape),
];

fn identity(im: &mut Importer, call: &Call) -> Result {
    check_dropout(im, call)?;
    let x = im.value(call, 0)?;
    im.bind(call, 0, x)
}

/// Refuses a Dropout that drops at inference.
pub(super) fn check_dropout(im: &Importer, call: &Call) -> Result {
    if call.op == "Dropout" {
        call.float("ratio", 0.5)?;
        if im.constant(call, 2)?.is_some_and(|t| t.as_ints().is_ok_and(|v| v.iter().any(|&b| b != 0))) {
            return Err("it is in training mode; export for inference".into());
        }
    }
    Ok(())
}

fn cast(im: &mut Importer, call: &Call) -> Result {
    match call.int("to", 0) {
        1 | 10 | 11 | 16 => identity(im, call),
        9 => to_booleans(im, call),
        6 | 7 if im.element(call, 0) != Element::F32 => identity(im, call),
        to => Err(format!("a cast of an activation to element type {to}; activations are floats")),
    }
}

/// 1 where the operand is not zero, else 0.
fn to_booleans(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let one = im.new_constant(call, "one", vec![], vec![1.0])?;
    let zero = im.new_constant(call, "zero", vec![], vec![0.0])?;
    let y = im.emit(call, Where, vec![x, one, zero])?;
    im.bind(call, 0, y)
}

/// Dimensions from an integer constant.
pub(super) fn to_shape(dims: &[i64]) -> Result<Vec<u32>> {
    dims.iter().map(|&d| u32::try_from(d).map_err(|_| format!("impossible dimensions {dims:?}"))).collect()
}

fn product(dims: &[u32]) -> Result<u32> {
    u32::try_from(elements(dims)).map_err(|_| format!("{dims:?} is too large"))
}

/// New shape of Reshape, Flatten, Squeeze, Unsqueeze.
pub(super) fn new_shape(im: &Importer, call: &Call, x: &[u32]) -> Result<Vec<u32>> {
    let shape = match call.op {
        "Flatten" => {
            let axis = call.int("axis", 1);
            let axis = if axis == x.len() as i64 { x.len() } else { axis_of(axis, x.len())? };
            vec![product(&x[..axis])?, product(&x[axis..])?]
        }
        "Squeeze" => {
            let axes = match im.ints(call, 1, "axes")? {
                Some(a) => axes_of(&a, x.len())?,
                None => (0..x.len()).filter(|&i| x[i] == 1).collect(),
            };
            if let Some(&bad) = axes.iter().find(|&&a| x[a] != 1) {
                return Err(format!("axis {bad} of {x:?} is not 1"));
            }
            (0..x.len()).filter(|i| !axes.contains(i)).map(|i| x[i]).collect()
        }
        "Unsqueeze" => {
            let axes = im.ints(call, 1, "axes")?.ok_or("axes are missing")?;
            let axes = axes_of(&axes, x.len() + axes.len())?;
            let mut rest = x.iter();
            (0..x.len() + axes.len()).map(|i| if axes.contains(&i) { 1 } else { *rest.next().unwrap_or(&1) }).collect()
        }
        _ => {
            let wanted = im.ints(call, 1, "shape")?.ok_or("the shape is missing")?;
            reshaped(x, &wanted, call.flag("allowzero", false))?
        }
    };
    if elements(&shape) == elements(x) { Ok(shape) } else { Err(format!("{x:?} cannot become {shape:?}")) }
}

fn reshaped(x: &[u32], wanted: &[i64], allow_zero: bool) -> Result<Vec<u32>> {
    let fail = || format!("{x:?} cannot become {wanted:?}");
    let mut open = None;
    let mut shape = Vec::with_capacity(wanted.len());
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            0 if !allow_zero => *x.get(i).ok_or_else(fail)?,
            -1 if open.replace(i).is_none() => 1,
            d => u32::try_from(d).map_err(|_| fail())?,
        });
    }
    if let Some(i) = open {
        let rest = elements(&shape);
        if rest == 0 || !elements(x).is_multiple_of(rest) {
            return Err(fail());
        }
        shape[i] = u32::try_from(elements(x) / rest).map_err(|_| fail())?;
    }
    Ok(shape)
}

fn reshape(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let shape = new_shape(im, call, im.graph.shape(x))?;
    let y = im.reshape(call, x, shape)?;
    im.bind(call, 0, y)
}

/// The permutation of a Transpose.
pub(super) fn permutation(call: &Call, rank: usize) -> Result<Vec<usize>> {
    let perm: Vec<usize> = match call.ints("perm") {
        Some(p) => p.iter().map(|&a| axis_of(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let all: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
    if perm.len() == rank && axes_of(&all, rank).is_ok() {
        Ok(perm)
    } else {
        Err(format!("{perm:?} is no permutation of {rank} axes"))
    }
}

fn transpose(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let perm = permutation(call, im.graph.shape(x).len())?;
    let y = im.emit(call, Transpose { perm: perm.iter().map(|&p| p as u32).collect() }, vec![x])?;
    im.bind(call, 0, y)
}

fn concat(im: &mut Importer, call: &Call) -> Result {
    let inputs = (0..call.node.inputs.len()).map(|i| im.value(call, i)).collect::<Result<Vec<_>>>()?;
    let rank = inputs.first().map_or(0, |&x| im.graph.shape(x).len());
    let axis = axis_of(call.int("axis", 1), rank)? as u32;
    let y = if let [only] = inputs[..] { only } else { im.emit(call, Concat { axis }, inputs)? };
    im.bind(call, 0, y)
}

/// The region of a Slice.
pub(super) fn slice_plan(im: &Importer, call: &Call, x: &[u32]) -> Result<SlicePlan> {
    let starts = im.ints(call, 1, "starts")?.ok_or("starts are missing")?;
    let ends = im.ints(call, 2, "ends")?.ok_or("ends are missing")?;
    let (axes, steps) = (im.ints(call, 3, "axes")?, im.ints(call, 4, "steps")?);
    SlicePlan::new(x, &starts, &ends, axes.as_deref(), steps.as_deref())
}

fn emit_slice(im: &mut Importer, call: &Call, x: u32, plan: SlicePlan) -> Result<u32> {
    if plan == SlicePlan::whole(im.graph.shape(x)) {
        return Ok(x);
    }
    im.emit(call, Slice { start: plan.start, step: plan.step, size: plan.size }, vec![x])
}

fn slice(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let plan = slice_plan(im, call, im.graph.shape(x))?;
    let y = emit_slice(im, call, x, plan)?;
    im.bind(call, 0, y)
}

/// The regions of a Split.
pub(super) fn split_plans(im: &Importer, call: &Call, x: &[u32]) -> Result<Vec<SlicePlan>> {
    let axis = axis_of(call.int("axis", 0), x.len())?;
    let parts = call.node.outputs.len();
    if parts == 0 || call.int("num_outputs", parts as i64) != parts as i64 {
        return Err(format!("{parts} outputs for {} parts", call.int("num_outputs", 0)));
    }
    let sizes = match im.ints(call, 1, "split")? {
        Some(s) => to_shape(&s)?,
        None => {
            let chunk = x[axis].div_ceil(parts as u32);
            (0..parts as u32).map(|i| chunk.min(x[axis].saturating_sub(i.saturating_mul(chunk)))).collect()
        }
    };
    if sizes.len() != parts || sizes.iter().map(|&s| u64::from(s)).sum::<u64>() != u64::from(x[axis]) {
        return Err(format!("{x:?} does not split into {sizes:?} along axis {axis}"));
    }
    let mut start = 0;
    Ok(sizes
        .iter()
        .map(|&size| {
            let mut plan = SlicePlan::whole(x);
            (plan.start[axis], plan.size[axis]) = (start, size);
            start += size;
            plan
        })
        .collect())
}

fn split(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    for (i, plan) in split_plans(im, call, im.graph.shape(x))?.into_iter().enumerate() {
        let y = emit_slice(im, call, x, plan)?;
        if let Some(name) = call.node.outputs.get(i) {
            name.clone_into(&mut im.graph.values[y as usize].name);
        }
        im.bind(call, i, y)?;
    }
    Ok(())
}

/// Gather of computed indices, or of constant ones: a slice for each evenly spaced run of them, joined.
fn gather(im: &mut Importer, call: &Call) -> Result {
    let x = im.number(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let axis = axis_of(call.int("axis", 0), shape.len())?;
    if !im.is_constant(call, 1) {
        let indices = im.value(call, 1)?;
        let y = im.emit(call, Gather { axis: axis as u32 }, vec![x, indices])?;
        return im.bind(call, 0, y);
    }
    let indices = im.required(call, 1)?;
    let n = shape[axis] as usize;
    let pick = |&i: &i64| axis_of(i, n).map(|p| p as i64).map_err(|_| format!("index {i} of an axis of {n}"));
    let picks = indices.as_ints()?.iter().map(pick).collect::<Result<Vec<_>>>()?;
    let mut parts = Vec::new();
    let mut rest = picks.as_slice();
    while let [first, after @ ..] = rest {
        let step = after.first().map(|next| next - first).filter(|&s| s != 0);
        let len = step.map_or(1, |s| 1 + rest.windows(2).take_while(|w| w[1] - w[0] == s).count());
        let mut plan = SlicePlan::whole(&shape);
        (plan.start[axis], plan.step[axis], plan.size[axis]) = (*first as u32, step.unwrap_or(1) as i32, len as u32);
        parts.push(emit_slice(im, call, x, plan)?);
        rest = &rest[len..];
    }
    let y = match parts[..] {
        [] => return Err("no indices".into()),
        [only] => only,
        _ => im.emit(call, Concat { axis: axis as u32 }, parts)?,
    };
    let y = im.reshape(call, y, [&shape[..axis], &indices.shape, &shape[axis + 1..]].concat())?;
    im.bind(call, 0, y)
}

/// The shape that an Expand gives.
pub(super) fn expanded_shape(im: &Importer, call: &Call, x: &[u32]) -> Result<Vec<u32>> {
    Ok(broadcast(x, &to_shape(im.required(call, 1)?.as_ints()?)?)?)
}

fn expand(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let shape = expanded_shape(im, call, im.graph.shape(x))?;
    let y = if im.graph.shape(x) == shape { x } else { im.emit(call, Expand { shape }, vec![x])? };
    im.bind(call, 0, y)
}

fn pad(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let rank = im.graph.shape(x).len();
    let pads = im.ints(call, 1, "pads")?.ok_or("pads are missing")?;
    let value = match im.constant(call, 2)? {
        Some(t) => t.scalar()?,
        None => call.float("value", 0.0)?,
    };
    let axes = match im.constant(call, 3)? {
        Some(t) => t.as_ints()?.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    // Negative padding cuts off.
    let mut cut = SlicePlan::whole(im.graph.shape(x));
    for (i, &axis) in axes.iter().enumerate() {
        let size = |p: i64| u32::try_from(p.unsigned_abs()).map_err(|_| format!("padding {p}"));
        let (b, a) = (pads[i], pads[i + axes.len()]);
        (before[axis], after[axis]) = (size(b.max(0))?, size(a.max(0))?);
        let (front, back) = (size(b.min(0))?, size(a.min(0))?);
        let left = cut.size[axis].checked_sub(front).and_then(|n| n.checked_sub(back)).filter(|&n| n > 0);
        (cut.start[axis], cut.size[axis]) = (front, left.ok_or_else(|| format!("padding {pads:?} leaves nothing"))?);
    }
    let mode = match call.text("mode", "constant") {
        "constant" if value.is_finite() => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        other => return Err(format!("mode {other} with value {value}")),
    };
    if cut != SlicePlan::whole(im.graph.shape(x)) && !matches!(mode, PadMode::Constant(_)) {
        return Err("negative padding is supported with mode constant only".into());
    }
    let x = emit_slice(im, call, x, cut)?;
    let none = before.iter().chain(&after).all(|&p| p == 0);
    let y = if none { x } else { im.emit(call, Pad { before, after, mode }, vec![x])? };
    im.bind(call, 0, y)
}
