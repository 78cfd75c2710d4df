//! Elementwise operators.

use twinmask_model::ops::{Binary, Unary, Where};

use super::call::Call;
use super::importer::{Importer, Table};

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[
    ("Abs", unary),
    ("Add", binary),
    ("Clip", clip),
    ("Div", binary),
    ("Elu", unary),
    ("Erf", unary),
    ("Exp", unary),
    ("Gelu", unary),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("LeakyRelu", unary),
    ("Log", unary),
    ("Max", binary),
    ("Min", binary),
    ("Mul", binary),
    ("Neg", unary),
    ("PRelu", binary),
    ("Pow", pow),
    ("Reciprocal", unary),
    ("Relu", unary),
    ("Sigmoid", unary),
    ("Softplus", unary),
    ("Sqrt", unary),
    ("Sub", binary),
    ("Sum", binary),
    ("Tanh", unary),
    ("Where", choose),
];

fn unary(im: &mut Importer, call: &Call) -> Result {
    let f = match call.op {
        "Abs" => Unary::Abs,
        "Elu" => Unary::Elu { alpha: call.float("alpha", 1.0)? },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Gelu" => match call.text("approximate", "none") {
            "none" => Unary::Gelu { tanh: false },
            "tanh" => Unary::Gelu { tanh: true },
            other => return Err(format!("approximate = {other}")),
        },
        "HardSigmoid" => Unary::HardSigmoid { alpha: call.float("alpha", 0.2)?, beta: call.float("beta", 0.5)? },
        "HardSwish" => Unary::HardSwish,
        "LeakyRelu" => Unary::LeakyRelu { alpha: call.float("alpha", 0.01)? },
        "Log" => Unary::Log,
        "Neg" => Unary::Neg,
        "Reciprocal" => Unary::Reciprocal,
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Softplus" => Unary::Softplus,
        "Sqrt" => Unary::Sqrt,
        "Tanh" => Unary::Tanh,
        other => return Err(format!("{other} has no translation")),
    };
    apply(im, call, f)
}

fn apply(im: &mut Importer, call: &Call, f: Unary) -> Result {
    let x = im.value(call, 0)?;
    let y = im.emit(call, f, vec![x])?;
    im.bind(call, 0, y)
}

/// Bounds are attributes before operator set 11, operands since; infinite ones are none.
fn clip(im: &mut Importer, call: &Call) -> Result {
    let bound = |i: usize, attribute: &'static str, none: f32| match im.constant(call, i)? {
        Some(t) => t.scalar(),
        None if im.opset < 11 => call.float(attribute, none),
        None => Ok(none),
    };
    let (min, max) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
    if min.is_nan() || max.is_nan() {
        return Err(format!("bounds {min} and {max}"));
    }
    apply(im, call, Unary::Clip { min: min.max(f32::MIN), max: max.min(f32::MAX) })
}

fn binary(im: &mut Importer, call: &Call) -> Result {
    let f = match call.op {
        "Add" | "Sum" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        "PRelu" => Binary::PRelu,
        other => return Err(format!("{other} has no translation")),
    };
    let many = matches!(call.op, "Max" | "Min" | "Sum");
    let n = call.node.inputs.len();
    if n == 0 || !many && n != 2 {
        return Err(format!("{n} operands"));
    }
    let mut all = im.value(call, 0)?;
    for i in 1..n {
        let b = im.value(call, i)?;
        all = im.emit(call, f, vec![all, b])?;
    }
    if f == Binary::PRelu && im.graph.shape(all) != im.shape(call, 0)? {
        return Err("its slope is larger than its input".into());
    }
    im.bind(call, 0, all)
}

/// The condition is booleans, which are numbers here.
fn choose(im: &mut Importer, call: &Call) -> Result {
    let inputs = (0..3).map(|i| im.number(call, i)).collect::<Result<Vec<_>>>()?;
    let y = im.emit(call, Where, inputs)?;
    im.bind(call, 0, y)
}

/// The exponent may be integers.
fn pow(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let exponent = if im.is_constant(call, 1) {
        let t = im.required(call, 1)?;
        im.floats(call, "exponent", &t)?
    } else {
        im.value(call, 1)?
    };
    let y = im.emit(call, Binary::Pow, vec![x, exponent])?;
    im.bind(call, 0, y)
}
