//! Elementwise operators. Those of one or two operands work in place: the caller has put the (broadcast) operand into
//! the result.

use std::borrow::Cow;

use twinmask_model::ops::{Binary, Unary};

use crate::strided::{broadcast, broadcast_axes, for_each_run};
use crate::view::View;

fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    x.iter_mut().for_each(|v| *v = f(*v));
}

fn clip(v: f32, min: f32, max: f32) -> f32 {
    let v = if v < min { min } else { v };
    if v > max { max } else { v }
}

/// Replaces every element of `x` by `f` of it. NaN stays NaN.
pub(crate) fn unary(f: Unary, x: &mut [f32]) {
    match f {
        Unary::Relu => map(x, |v| if v < 0.0 { 0.0 } else { v }),
        Unary::Clip { min, max } => map(x, |v| clip(v, min, max)),
        Unary::LeakyRelu { alpha } => map(x, |v| if v < 0.0 { alpha * v } else { v }),
        Unary::Elu { alpha } => map(x, |v| if v < 0.0 { alpha * v.exp_m1() } else { v }),
        Unary::Sigmoid => map(x, |v| 1.0 / (1.0 + (-v).exp())),
        Unary::HardSigmoid { alpha, beta } => map(x, |v| clip(alpha * v + beta, 0.0, 1.0)),
        Unary::HardSwish => map(x, |v| v * clip(v * (1.0 / 6.0) + 0.5, 0.0, 1.0)),
        Unary::Tanh => map(x, f32::tanh),
        Unary::Gelu { tanh: false } => map(x, |v| 0.5 * v * (1.0 + libm::erff(v * std::f32::consts::FRAC_1_SQRT_2))),
        Unary::Gelu { tanh: true } => map(x, gelu_tanh),
        Unary::Erf => map(x, libm::erff),
        Unary::Exp => map(x, f32::exp),
        Unary::Log => map(x, f32::ln),
        Unary::Sqrt => map(x, f32::sqrt),
        Unary::Abs => map(x, f32::abs),
        Unary::Neg => map(x, |v| -v),
        Unary::Reciprocal => map(x, |v| 1.0 / v),
        Unary::Softplus => map(x, |v| v.max(0.0) + (-v.abs()).exp().ln_1p()),
    }
}

fn gelu_tanh(v: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * v * (1.0 + (SQRT_2_OVER_PI * (v + 0.044_715 * v * v * v)).tanh())
}

/// `x = f(x, other)`, or `f(other, x)` when `swapped`; `other` is broadcast to `shape`, the shape of `x`.
pub(crate) fn binary(f: Binary, shape: &[u32], x: &mut [f32], other: View<'_>, swapped: bool) {
    match f {
        Binary::Add => zip(shape, x, other, |a, b| a + b),
        Binary::Mul => zip(shape, x, other, |a, b| a * b),
        Binary::Max => zip(shape, x, other, |a, b| if a < b { b } else { a }),
        Binary::Min => zip(shape, x, other, |a, b| if a > b { b } else { a }),
        Binary::Sub => ordered(swapped, shape, x, other, |a, b| a - b),
        Binary::Div => ordered(swapped, shape, x, other, |a, b| a / b),
        Binary::Pow => ordered(swapped, shape, x, other, power),
        Binary::PRelu => ordered(swapped, shape, x, other, |v, slope| if v < 0.0 { slope * v } else { v }),
    }
}

/// `a` where `condition` is not zero, else `b`, all broadcast to `shape`.
pub(crate) fn choose(condition: View<'_>, a: View<'_>, b: View<'_>, shape: &[u32], out: &mut [f32]) {
    broadcast(b, shape, out);
    let (condition, a) = (whole(condition, shape, out.len()), whole(a, shape, out.len()));
    let chosen = out.iter_mut().zip(condition.iter()).zip(a.iter()).filter(|((_, c), _)| **c != 0.0);
    chosen.for_each(|((o, _), a)| *o = *a);
}

fn whole<'a>(x: View<'a>, shape: &[u32], len: usize) -> Cow<'a, [f32]> {
    if x.shape == shape {
        return Cow::Borrowed(x.data);
    }
    let mut out = vec![0.0; len];
    broadcast(x, shape, &mut out);
    Cow::Owned(out)
}

/// Squares are the usual case, and exact enough without the general power.
fn power(v: f32, exponent: f32) -> f32 {
    if exponent == 2.0 { v * v } else { v.powf(exponent) }
}

fn ordered(swapped: bool, shape: &[u32], x: &mut [f32], other: View<'_>, f: impl Fn(f32, f32) -> f32) {
    if swapped { zip(shape, x, other, |a, b| f(b, a)) } else { zip(shape, x, other, f) }
}

fn zip(shape: &[u32], x: &mut [f32], other: View<'_>, f: impl Fn(f32, f32) -> f32) {
    let axes = broadcast_axes(other.shape, shape);
    let Some(inner) = axes.last().copied() else { return };
    for_each_run(&axes, 0, |to, from| {
        let (row, from) = (&mut x[to..to + inner.n], from as usize);
        if inner.step == 0 {
            let b = other.data[from];
            row.iter_mut().for_each(|a| *a = f(*a, b));
        } else {
            row.iter_mut().zip(&other.data[from..from + inner.n]).for_each(|(a, &b)| *a = f(*a, b));
        }
    });
}
