//! Operators that normalize along axes.

use twinmask_model::ops::{Binary, Lrn, ReduceKind};

use crate::elementwise::binary;
use crate::reduce::{around, kept, reduce, sum_of_squares};
use crate::view::View;

/// Softmax (or its logarithm) along `axis`, shifted by the maximum so that nothing overflows.
pub(crate) fn softmax(x: View<'_>, axis: usize, log: bool, out: &mut [f32]) {
    let (_, n, inner) = around(x.shape, axis);
    for (x, out) in x.data.chunks_exact(n * inner).zip(out.chunks_exact_mut(n * inner)) {
        for i in 0..inner {
            let max = x[i..].iter().step_by(inner).fold(f32::NEG_INFINITY, |a, &v| if a > v { a } else { v });
            let mut total = 0f64;
            for (o, &v) in out[i..].iter_mut().zip(&x[i..]).step_by(inner) {
                let e = (v - max).exp();
                total += f64::from(e);
                *o = if log { v - max } else { e };
            }
            let (shift, factor) = if log { (total.ln() as f32, 1.0) } else { (0.0, (1.0 / total) as f32) };
            out[i..].iter_mut().step_by(inner).for_each(|o| *o = (*o - shift) * factor);
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon)` over `axes`.
pub(crate) fn normalize(x: View<'_>, axes: &[u32], epsilon: f32, out: &mut [f32]) {
    let shape = kept(x.shape, axes);
    let mut stat = vec![0.0; shape.iter().map(|&n| n as usize).product()];
    let count = (x.data.len() / stat.len()) as f32;
    reduce(ReduceKind::Mean, x, axes, &mut stat);
    out.copy_from_slice(x.data);
    binary(Binary::Sub, x.shape, out, View::new(&shape, &stat), false);
    sum_of_squares(View::new(x.shape, out), axes, &mut stat);
    stat.iter_mut().for_each(|v| *v = 1.0 / (*v / count + epsilon).sqrt());
    binary(Binary::Mul, x.shape, out, View::new(&shape, &stat), false);
}

/// Local response normalization of `[n, c, ..]`:
/// `x / (bias + alpha / size * sum of squares of the channels c - (size-1)/2 ..= c + size/2)^beta`.
pub(crate) fn lrn(x: View<'_>, op: &Lrn, out: &mut [f32]) -> Result<(), String> {
    let (size, Lrn { alpha, beta, bias, .. }) = (op.size as usize, *op);
    if x.shape.len() < 2 || size == 0 {
        return Err(format!("a window of {size} channels over {:?}", x.shape));
    }
    let (_, c, area) = around(x.shape, 1);
    let scale = alpha / size as f32;
    let mut sums = vec![0f32; area];
    for (x, out) in x.data.chunks_exact(c * area).zip(out.chunks_exact_mut(c * area)) {
        for (i, out) in out.chunks_exact_mut(area).enumerate() {
            sums.fill(0.0);
            let (first, last) = (i.saturating_sub((size - 1) / 2), (i + size / 2).min(c - 1));
            for x in x[first * area..(last + 1) * area].chunks_exact(area) {
                sums.iter_mut().zip(x).for_each(|(s, v)| *s += v * v);
            }
            let planes = out.iter_mut().zip(&x[i * area..]).zip(&sums);
            if beta == 0.75 {
                // The usual exponent, by square roots: they are vectorised, the general power is not.
                planes.for_each(|((o, v), s)| *o = v / three_quarters(bias + scale * s));
            } else {
                planes.for_each(|((o, v), s)| *o = v / (bias + scale * s).powf(beta));
            }
        }
    }
    Ok(())
}

fn three_quarters(v: f32) -> f32 {
    let root = v.sqrt();
    root * root.sqrt()
}
