//! Evaluates nodes whose operands are all constant: shape arithmetic, and float constants that exporters leave
//! unfolded.

use std::rc::Rc;

use twinmask_model::dims::{broadcast, elements};

use super::call::Call;
use super::importer::Importer;
use super::ops_shape;
use super::tensor::{Data, Tensor, axes_of, axis_of, check_shape, strides};

/// Operators that exist only here.
pub(super) const FOLDED_ONLY: [&str; 19] = [
    "Shape",
    "Size",
    "ConstantOfShape",
    "Range",
    "ReduceProd",
    "Equal",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "Not",
    "And",
    "Or",
    "Mod",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Constant",
];

type Folded = Result<Option<Vec<Rc<Tensor>>>, String>;

/// The node's results if all its operands are constant (or only their shapes matter) and it is one that folds.
pub(super) fn fold(im: &mut Importer, call: &Call) -> Folded {
    if let "Shape" | "Size" = call.op {
        return shape_of(&im.shape(call, 0)?, call).map(|t| Some(vec![Rc::new(t)]));
    }
    let given: Vec<usize> = (0..call.node.inputs.len()).filter(|&i| call.has_input(i)).collect();
    if given.is_empty() || !given.iter().all(|&i| im.is_constant(call, i)) {
        return Ok(None);
    }
    let inputs = (0..call.node.inputs.len()).map(|i| im.constant(call, i)).collect::<Result<Vec<_>, _>>()?;
    let Some(Some(x)) = inputs.first().cloned() else { return Ok(None) };
    let one = |t: Tensor| Ok(Some(vec![Rc::new(t)]));
    let room = |im: &mut Importer, shape: &[u32]| {
        check_shape(shape)?;
        im.budget.charge(elements(shape) as u64, 8)
    };
    let arg = |i: usize| inputs.get(i).cloned().flatten();
    let need = |i: usize| arg(i).ok_or_else(|| format!("operand {i} is missing"));
    match call.op {
        "Identity" | "Dropout" => {
            ops_shape::check_dropout(im, call)?;
            Ok(Some(vec![x]))
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let shape = ops_shape::new_shape(im, call, &x.shape)?;
            room(im, &shape)?;
            one(x.reshaped(shape))
        }
        "Transpose" => {
            let perm = ops_shape::permutation(call, x.shape.len())?;
            room(im, &x.shape)?;
            one(x.transposed(&perm))
        }
        "Slice" => {
            let plan = ops_shape::slice_plan(im, call, &x.shape)?;
            room(im, &plan.size)?;
            one(x.sliced(&plan))
        }
        "Split" => {
            let plans = ops_shape::split_plans(im, call, &x.shape)?;
            room(im, &x.shape)?;
            Ok(Some(plans.iter().map(|p| Rc::new(x.sliced(p))).collect()))
        }
        "Expand" => {
            let shape = ops_shape::expanded_shape(im, call, &x.shape)?;
            room(im, &shape)?;
            x.expanded(&shape).and_then(one)
        }
        "Concat" => {
            let parts: Vec<Rc<Tensor>> = inputs.iter().flatten().cloned().collect();
            concat(im, &parts, call.int("axis", 1), room).and_then(one)
        }
        "Gather" => gather(im, &x, &*need(1)?, call.int("axis", 0), room).and_then(one),
        "ConstantOfShape" => {
            let shape = ops_shape::to_shape(x.as_ints()?)?;
            room(im, &shape)?;
            let value = match call.tensor("value") {
                Some(t) => super::data::decode(t, std::path::Path::new(""), &mut im.budget)?,
                None => Tensor::floats(vec![1], vec![0.0]),
            };
            if value.len() != 1 {
                Err("its value is not one number".into())
            } else {
                value.reshaped(vec![]).expanded(&shape).and_then(one)
            }
        }
        "Range" => range(im, [&*x, &*need(1)?, &*need(2)?], room).and_then(one),
        "CastLike" => {
            let like = need(1)?;
            match (&x.data, &like.data) {
                (_, Data::F(_)) => one(Tensor::floats(x.shape.clone(), x.to_floats())),
                _ => cast(&x, 7).and_then(one),
            }
        }
        "Tile" => {
            let [split, expanded, joined] = super::ops_composed::tiling(&x.shape, &*need(1)?)?;
            room(im, &joined)?;
            x.reshaped(split).expanded(&expanded).map(|t| t.reshaped(joined)).and_then(one)
        }
        "Cast" => cast(&x, call.int("to", 0)).and_then(one),
        "Where" => {
            let (a, b) = (need(1)?, need(2)?);
            let shape = broadcast(&broadcast(&x.shape, &a.shape)?, &b.shape)?;
            room(im, &shape)?;
            choose(&x.expanded(&shape)?, &a.expanded(&shape)?, &b.expanded(&shape)?).and_then(one)
        }
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => {
            reduce(im, call, &x).map(|t| t.map(|t| vec![Rc::new(t)]))
        }
        _ if call.node.inputs.len() == 1 => Ok(unary(call, &x)?.map(|t| vec![Rc::new(t)])),
        "Max" | "Min" | "Sum" | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Equal" | "Less" | "LessOrEqual"
        | "Greater" | "GreaterOrEqual" | "And" | "Or" => {
            let mut all = x;
            for i in 1..inputs.len() {
                let b = need(i)?;
                let shape = broadcast(&all.shape, &b.shape)?;
                room(im, &shape)?;
                all = Rc::new(binary(call.op, &all.expanded(&shape)?, &b.expanded(&shape)?)?);
            }
            Ok(Some(vec![all]))
        }
        _ => Ok(None),
    }
}

type Room = fn(&mut Importer, &[u32]) -> Result<(), String>;

fn shape_of(shape: &[u32], call: &Call) -> Result<Tensor, String> {
    if call.op == "Size" {
        return Ok(Tensor::ints(vec![], vec![elements(shape) as i64]));
    }
    let rank = shape.len() as i64;
    let wrap = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let (start, end) = (wrap(call.int("start", 0)), wrap(call.int("end", rank)));
    let dims: Vec<i64> = shape[start..end.max(start)].iter().map(|&d| i64::from(d)).collect();
    Ok(Tensor::ints(vec![dims.len() as u32], dims))
}

fn concat(im: &mut Importer, parts: &[Rc<Tensor>], axis: i64, room: Room) -> Result<Tensor, String> {
    let axis = axis_of(axis, parts[0].shape.len())?;
    let mut shape = parts[0].shape.clone();
    shape[axis] = 0;
    for p in parts {
        let fits = p.shape.len() == shape.len() && (0..shape.len()).all(|i| i == axis || p.shape[i] == shape[i]);
        shape[axis] = shape[axis]
            .checked_add(*p.shape.get(axis).unwrap_or(&0))
            .filter(|_| fits)
            .ok_or("the parts do not join")?;
    }
    room(im, &shape)?;
    let outer = elements(&shape[..axis]);
    fn join<T: Copy>(parts: &[(&[T], usize)], outer: usize) -> Vec<T> {
        (0..outer).flat_map(|o| parts.iter().flat_map(move |&(d, n)| d[o * n..(o + 1) * n].iter().copied())).collect()
    }
    let inner = |p: &Tensor| elements(&p.shape[axis..]);
    let data = if let Data::F(_) = parts[0].data {
        let all = parts.iter().map(|p| p.as_floats().map(|d| (d, inner(p)))).collect::<Result<Vec<_>, _>>()?;
        Data::F(join(&all, outer))
    } else {
        let all = parts.iter().map(|p| p.as_ints().map(|d| (d, inner(p)))).collect::<Result<Vec<_>, _>>()?;
        Data::I(join(&all, outer))
    };
    Ok(Tensor { shape, data })
}

fn gather(im: &mut Importer, x: &Tensor, indices: &Tensor, axis: i64, room: Room) -> Result<Tensor, String> {
    let axis = axis_of(axis, x.shape.len())?;
    let n = x.shape[axis] as usize;
    let picks = indices
        .as_ints()?
        .iter()
        .map(|&i| axis_of(i, n).map_err(|_| format!("index {i} of {n}")))
        .collect::<Result<Vec<_>, _>>()?;
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    room(im, &shape)?;
    let inner = strides(&x.shape)[axis];
    let outer = elements(&x.shape[..axis]);
    let all =
        (0..outer).flat_map(|o| picks.iter().flat_map(move |&p| (0..inner).map(move |i| (o * n + p) * inner + i)));
    Ok(x.pick(shape, all))
}

fn range(im: &mut Importer, [start, limit, delta]: [&Tensor; 3], room: Room) -> Result<Tensor, String> {
    let count = |n: f64| {
        if n.is_finite() { Ok(n.max(0.0).min(f64::from(u32::MAX)) as u32) } else { Err("an endless range".to_owned()) }
    };
    if let (Ok(&[s]), Ok(&[l]), Ok(&[d])) = (start.as_ints(), limit.as_ints(), delta.as_ints()) {
        let n = count(((l as f64 - s as f64) / d as f64).ceil())?;
        room(im, &[n])?;
        return Ok(Tensor::ints(vec![n], (0..i64::from(n)).map(|i| s.wrapping_add(i.wrapping_mul(d))).collect()));
    }
    let (s, l, d) = (start.scalar()?, limit.scalar()?, delta.scalar()?);
    let n = count(((f64::from(l) - f64::from(s)) / f64::from(d)).ceil())?;
    room(im, &[n])?;
    Ok(Tensor::floats(vec![n], (0..n).map(|i| s + i as f32 * d).collect()))
}

fn cast(x: &Tensor, to: i64) -> Result<Tensor, String> {
    let data = match (to, &x.data) {
        (1 | 10 | 11 | 16, _) => Data::F(x.to_floats()),
        (9, Data::F(d)) => Data::I(d.iter().map(|&v| i64::from(v != 0.0)).collect()),
        (9, Data::I(d)) => Data::I(d.iter().map(|&v| i64::from(v != 0)).collect()),
        (7, Data::I(d)) => Data::I(d.clone()),
        (6 | 7, Data::F(d)) => Data::I(d.iter().map(|&v| v as i64).collect()),
        (6, Data::I(d)) => Data::I(d.iter().map(|&v| i64::from(v as i32)).collect()),
        _ => return Err(format!("a cast of a constant to element type {to}")),
    };
    Ok(Tensor { shape: x.shape.clone(), data })
}

fn choose(c: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    let c = c.as_ints()?;
    let data = match (&a.data, &b.data) {
        (Data::F(a), Data::F(b)) => Data::F((0..c.len()).map(|i| if c[i] != 0 { a[i] } else { b[i] }).collect()),
        (Data::I(a), Data::I(b)) => Data::I((0..c.len()).map(|i| if c[i] != 0 { a[i] } else { b[i] }).collect()),
        _ => return Err("operands of different types".into()),
    };
    Ok(Tensor { shape: a.shape.clone(), data })
}

fn reduce(im: &mut Importer, call: &Call, x: &Tensor) -> Result<Option<Tensor>, String> {
    let rank = x.shape.len();
    let noop = call.flag("noop_with_empty_axes", false);
    let axes = match im.ints(call, 1, "axes")? {
        Some(a) if !a.is_empty() => axes_of(&a, rank)?,
        _ if noop => vec![],
        _ => (0..rank).collect(),
    };
    let keep = call.flag("keepdims", true);
    let kept: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
    let moved = x.transposed(&[kept.clone(), axes.clone()].concat());
    let n = axes.iter().map(|&a| x.shape[a] as usize).product::<usize>();
    if n == 0 {
        return Err("a reduction over nothing".into());
    }
    let shape = (0..rank)
        .filter(|i| keep || kept.contains(i))
        .map(|i| if axes.contains(&i) { 1 } else { x.shape[i] })
        .collect();
    let data = match &moved.data {
        Data::F(d) => {
            let f = |c: &[f32]| match call.op {
                "ReduceProd" => c.iter().product(),
                "ReduceSum" => c.iter().sum(),
                "ReduceMax" => c.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                "ReduceMin" => c.iter().copied().fold(f32::INFINITY, f32::min),
                _ => c.iter().sum::<f32>() / n as f32,
            };
            Data::F(d.chunks(n).map(f).collect())
        }
        Data::I(d) => {
            let f = |c: &[i64]| match call.op {
                "ReduceProd" => c.iter().try_fold(1i64, |a, &b| a.checked_mul(b)),
                "ReduceSum" => c.iter().try_fold(0i64, |a, &b| a.checked_add(b)),
                "ReduceMax" => c.iter().max().copied(),
                "ReduceMin" => c.iter().min().copied(),
                _ => None,
            };
            Data::I(d.chunks(n).map(f).collect::<Option<_>>().ok_or("the integers overflow")?)
        }
    };
    Ok(Some(Tensor { shape, data }))
}

fn unary(call: &Call, x: &Tensor) -> Result<Option<Tensor>, String> {
    let data = match &x.data {
        Data::F(d) => {
            let f: fn(f32) -> f32 = match call.op {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Sqrt" => f32::sqrt,
                "Exp" => f32::exp,
                "Log" => f32::ln,
                "Reciprocal" => |v| 1.0 / v,
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                "Sign" => |v| if v == 0.0 { v } else { v.signum() },
                "Relu" => |v| v.max(0.0),
                "Tanh" => f32::tanh,
                "Sigmoid" => |v| 1.0 / (1.0 + (-v).exp()),
                _ => return Ok(None),
            };
            Data::F(d.iter().map(|&v| f(v)).collect())
        }
        Data::I(d) => {
            let f: fn(i64) -> i64 = match call.op {
                "Neg" => i64::wrapping_neg,
                "Abs" => i64::wrapping_abs,
                "Sign" => i64::signum,
                "Not" => |v| i64::from(v == 0),
                "Floor" | "Ceil" | "Round" => |v| v,
                _ => return Ok(None),
            };
            Data::I(d.iter().map(|&v| f(v)).collect())
        }
    };
    Ok(Some(Tensor { shape: x.shape.clone(), data }))
}

/// `op` on operands of one shape.
fn binary(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    let data = match (&a.data, &b.data) {
        (Data::I(x), Data::I(y)) => {
            Data::I(x.iter().zip(y).map(|(&x, &y)| integers(op, x, y)).collect::<Result<_, _>>()?)
        }
        (Data::F(x), Data::F(y)) => {
            let compare =
                |f: fn(f32, f32) -> bool| Data::I(x.iter().zip(y).map(|(&x, &y)| i64::from(f(x, y))).collect());
            match op {
                "Equal" => compare(|x, y| x == y),
                "Less" => compare(|x, y| x < y),
                "LessOrEqual" => compare(|x, y| x <= y),
                "Greater" => compare(|x, y| x > y),
                "GreaterOrEqual" => compare(|x, y| x >= y),
                _ => Data::F(x.iter().zip(y).map(|(&x, &y)| floats(op, x, y)).collect::<Result<_, _>>()?),
            }
        }
        _ if op == "Pow" => Data::F(a.to_floats().iter().zip(b.to_floats()).map(|(x, y)| x.powf(y)).collect()),
        _ => return Err("operands of different types".into()),
    };
    Ok(Tensor { shape: a.shape.clone(), data })
}

fn floats(op: &str, x: f32, y: f32) -> Result<f32, String> {
    Ok(match op {
        "Add" | "Sum" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Pow" => x.powf(y),
        "Max" => x.max(y),
        "Min" => x.min(y),
        _ => return Err("this is not defined on floats".into()),
    })
}

fn integers(op: &str, x: i64, y: i64) -> Result<i64, String> {
    let value = match op {
        "Add" | "Sum" => x.checked_add(y),
        "Sub" => x.checked_sub(y),
        "Mul" => x.checked_mul(y),
        "Div" => x.checked_div(y),
        "Mod" => x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r }),
        "Pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        "Max" => Some(x.max(y)),
        "Min" => Some(x.min(y)),
        "Equal" => Some(i64::from(x == y)),
        "Less" => Some(i64::from(x < y)),
        "LessOrEqual" => Some(i64::from(x <= y)),
        "Greater" => Some(i64::from(x > y)),
        "GreaterOrEqual" => Some(i64::from(x >= y)),
        "And" => Some(i64::from(x != 0 && y != 0)),
        _ => Some(i64::from(x != 0 || y != 0)),
    };
    value.ok_or_else(|| format!("{op} of {x} and {y} is no 64-bit integer"))
}
