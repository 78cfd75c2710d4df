//! Operators that stay on the device.

use anyhow::Result;
use twinmask_benches::dudect::{Places, interleaved, timed};
use twinmask_benches::input;
use twinmask_device::exec::{View, apply};
use twinmask_model::ops::{Lrn, Normalize, Op, Pool, PoolKind, Softmax, Unary, Window};

use crate::row::Row;

/// Of the operand.
pub(crate) const CLASSES: [&str; 5] = ["zeros", "normal", "saturated", "subnormal", "far apart"];

const SHAPE: [u32; 4] = [1, 64, 27, 27];

fn operand(class: usize) -> Vec<f32> {
    let normal = input(SHAPE.iter().product::<u32>() as usize);
    match CLASSES[class] {
        "zeros" => vec![0.0; normal.len()],
        "normal" => normal,
        "saturated" => vec![2.0; normal.len()],
        "subnormal" => normal.iter().map(|v| v * 5e-39).collect(),
        // Exponentials of their differences are subnormal or zero.
        _ => normal.iter().map(|v| v * 50.0).collect(),
    }
}

fn operators() -> Vec<(&'static str, Op)> {
    let window = Window { kernel: [3, 3], stride: [2, 2], pad: [0; 4], dilation: [1, 1] };
    let pool = |kind| Op::Pool(Pool { window, kind, ceil: false });
    vec![
        ("Relu", Op::Unary(Unary::Relu)),
        ("Sigmoid", Op::Unary(Unary::Sigmoid)),
        ("Tanh", Op::Unary(Unary::Tanh)),
        ("Exp", Op::Unary(Unary::Exp)),
        ("Gelu", Op::Unary(Unary::Gelu { tanh: false })),
        ("HardSwish", Op::Unary(Unary::HardSwish)),
        ("MaxPool", pool(PoolKind::Max)),
        ("AveragePool", pool(PoolKind::Average { count_include_pad: false })),
        ("Softmax", Op::Softmax(Softmax { axis: 1, log: false })),
        ("LRN", Op::Lrn(Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 2.0 })),
        ("Normalize", Op::Normalize(Normalize { axes: vec![1, 2, 3], epsilon: 1e-5 })),
    ]
}

/// Each operator with `n` samples of a class.
pub(crate) fn measure(n: usize) -> Result<Vec<Row>> {
    let operands: Vec<Vec<f32>> = (0..CLASSES.len()).map(operand).collect();
    let (mut x, mut places) = (operands[0].clone(), Places::new(operands));
    let mut rows = Vec::new();
    for (name, op) in operators() {
        let out_shape = twinmask_model::shapes::shape_of(&op, &[&SHAPE])?;
        apply(&op, &[View::new(&SHAPE, &x)], &out_shape)?;
        let times = interleaved(CLASSES.len(), n, |class| {
            places.copy(class, &mut x);
            Ok(timed(|| apply(&op, &[View::new(&SHAPE, &x)], &out_shape)))
        })?;
        rows.push(Row::of(name, &times));
    }
    Ok(rows)
}
