//! Weighted sums: dense layers, matrix products, and the row kernel of the convolutions.

use crate::strided::{broadcast_axes, for_each_run};
use crate::view::View;

/// `out[i] += w[0] * x[0][i] + .. + w[N-1] * x[N-1][i]`.
fn add_scaled<const N: usize>(out: &mut [f32], w: &[f32], x: &[&[f32]]) {
    let n = out.len();
    let w: [f32; N] = std::array::from_fn(|k| w[k]);
    let x: [&[f32]; N] = std::array::from_fn(|k| &x[k][..n]);
    for i in 0..n {
        let mut sum = w[0] * x[0][i];
        for k in 1..N {
            sum += w[k] * x[k][i];
        }
        out[i] += sum;
    }
}

/// Adds the rows `x`, each at least as long as `out`, times their weights: several at once, to spare loads and stores.
pub(crate) fn add_rows(out: &mut [f32], w: &[f32], x: &[&[f32]]) {
    if x.len() == 9 {
        return add_scaled::<9>(out, w, x);
    }
    let mut done = 0;
    while x.len() - done >= 8 {
        add_scaled::<8>(out, &w[done..], &x[done..]);
        done += 8;
    }
    while x.len() - done >= 3 {
        add_scaled::<3>(out, &w[done..], &x[done..]);
        done += 3;
    }
    while done < x.len() {
        add_scaled::<1>(out, &w[done..], &x[done..]);
        done += 1;
    }
}

/// The inner product of two vectors of one length, in 16 partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a16.remainder().iter().zip(b16.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a16.zip(b16) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Fully connected layer: x `[.., in]`, w `[out, in]`, bias `[out]` -> `[.., out]`.
pub(crate) fn dense(x: &[f32], w: View<'_>, bias: Option<&[f32]>, out: &mut [f32]) {
    let (outputs, inputs) = (w.shape[0] as usize, w.shape[1] as usize);
    for (x, y) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs)) {
        for (o, (y, row)) in y.iter_mut().zip(w.data.chunks_exact(inputs)).enumerate() {
            *y = dot(x, row) + bias.map_or(0.0, |b| b[o]);
        }
    }
}

/// Matrix product `[.., m, k] x [.., k, n]` with broadcast leading axes; `shape` is `[.., m, n]`.
pub(crate) fn matmul(a: View<'_>, b: View<'_>, shape: &[u32], out: &mut [f32]) {
    let (ra, rb, r) = (a.shape.len() - 2, b.shape.len() - 2, shape.len() - 2);
    let (m, k, n) = (a.shape[ra] as usize, a.shape[ra + 1] as usize, b.shape[rb + 1] as usize);
    let (at, bt) = (offsets(&a.shape[..ra], &shape[..r]), offsets(&b.shape[..rb], &shape[..r]));
    for ((out, at), bt) in out.chunks_exact_mut(m * n).zip(at).zip(bt) {
        let rows: Vec<&[f32]> = b.data[bt * k * n..(bt + 1) * k * n].chunks_exact(n).collect();
        for (i, out) in out.chunks_exact_mut(n).enumerate() {
            out.fill(0.0);
            add_rows(out, &a.data[(at * m + i) * k..][..k], &rows);
        }
    }
}

/// For each matrix of a product with leading axes `to`, which matrix of an operand with leading axes `from` it takes.
fn offsets(from: &[u32], to: &[u32]) -> Vec<usize> {
    let axes = broadcast_axes(from, to);
    let mut all = Vec::new();
    if let Some(&inner) = axes.last() {
        for_each_run(&axes, 0, |_, at| all.extend((0..inner.n).map(|i| (at + i as isize * inner.step) as usize)));
    }
    all
}
