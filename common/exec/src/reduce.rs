//! Reductions.

use twinmask_model::ops::ReduceKind;

use crate::strided::{broadcast_axes, for_each_run};
use crate::view::View;

/// `shape` with `axes` made 1.
pub(crate) fn kept(shape: &[u32], axes: &[u32]) -> Vec<u32> {
    shape.iter().enumerate().map(|(i, &n)| if axes.contains(&(i as u32)) { 1 } else { n }).collect()
}

/// Reduces `x` over `axes`.
pub(crate) fn reduce(kind: ReduceKind, x: View<'_>, axes: &[u32], out: &mut [f32]) {
    match kind {
        ReduceKind::Max => {
            fold(x, axes, out, f32::NEG_INFINITY, |a, v| if a > v { a } else { v }, |a, b| if a > b { a } else { b })
        }
        ReduceKind::Min => {
            fold(x, axes, out, f32::INFINITY, |a, v| if a < v { a } else { v }, |a, b| if a < b { a } else { b })
        }
        ReduceKind::Sum => sum(x, axes, out),
        ReduceKind::Mean => {
            sum(x, axes, out);
            let count = (x.data.len() / out.len()) as f32;
            out.iter_mut().for_each(|v| *v /= count);
        }
        ReduceKind::L2 => {
            sum_of_squares(x, axes, out);
            out.iter_mut().for_each(|v| *v = v.sqrt());
        }
    }
}

fn sum(x: View<'_>, axes: &[u32], out: &mut [f32]) {
    fold(x, axes, out, 0.0, |a, v| a + v, |a, b| a + b);
}

/// Sums of squares over `axes`.
pub(crate) fn sum_of_squares(x: View<'_>, axes: &[u32], out: &mut [f32]) {
    fold(x, axes, out, 0.0, |a, v| a + v * v, |a, b| a + b);
}

/// Takes elements in by `f` and joins partial results by `join`, both from `start`.
fn fold(
    x: View<'_>,
    axes: &[u32],
    out: &mut [f32],
    start: f32,
    f: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) {
    let walk = broadcast_axes(&kept(x.shape, axes), x.shape);
    let Some(inner) = walk.last().copied() else { return };
    out.fill(start);
    for_each_run(&walk, 0, |at, to| {
        let (run, to) = (&x.data[at..at + inner.n], to as usize);
        if inner.step == 0 {
            // Eight partial results: the sum is vectorised, and more exact than one running total.
            let mut lanes = [start; 8];
            let chunks = run.chunks_exact(8);
            let rest = chunks.remainder();
            for chunk in chunks {
                lanes.iter_mut().zip(chunk).for_each(|(a, &v)| *a = f(*a, v));
            }
            lanes.iter_mut().zip(rest).for_each(|(a, &v)| *a = f(*a, v));
            out[to] = lanes.into_iter().fold(out[to], &join);
        } else {
            out[to..to + inner.n].iter_mut().zip(run).for_each(|(a, &v)| *a = f(*a, v));
        }
    });
}

/// Elements before, along and after `axis`.
pub(crate) fn around(shape: &[u32], axis: usize) -> (usize, usize, usize) {
    let product = |s: &[u32]| s.iter().map(|&n| n as usize).product();
    (product(&shape[..axis]), shape[axis] as usize, product(&shape[axis + 1..]))
}

/// Index of the first (or `last`) maximum along `axis`.
pub(crate) fn arg_max(x: View<'_>, axis: usize, last: bool, out: &mut [f32]) {
    let (_, n, inner) = around(x.shape, axis);
    for (x, out) in x.data.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
        for (i, out) in out.iter_mut().enumerate() {
            let mut best = (0, x[i]);
            for (k, v) in x.iter().skip(i).step_by(inner).copied().enumerate() {
                if v > best.1 || (last && v == best.1) {
                    best = (k, v);
                }
            }
            *out = best.0 as f32;
        }
    }
}
