//! Pooling: first down the columns of a window, then along its rows.

use twinmask_model::dims::image;
use twinmask_model::ops::{Pool, PoolKind, Window, pool_size};

use crate::conv::{Tap, input_row, plane, split_phases, taps};
use crate::view::View;

/// Pooling of `[1, c, h, w]` or `[1, c, l]`.
pub(crate) fn pool(x: View<'_>, op: &Pool, out: &mut [f32]) -> Result<(), String> {
    let &Pool { ref window, kind, ceil } = op;
    let [c, h, w] = image(x.shape)?;
    let (oh, ow) = plane(pool_size(h, window, 0, ceil), pool_size(w, window, 1, ceil), c as usize, out)?;
    let job = Job {
        window,
        height: h as usize,
        width: w as usize,
        rows: oh,
        columns: ow,
        taps: taps(window, w as usize, ow),
    };
    match kind {
        PoolKind::Max => job.fold(x.data, f32::NEG_INFINITY, |a, b| if a > b { a } else { b }, out),
        PoolKind::Average { count_include_pad } => {
            job.fold(x.data, 0.0, |a, b| a + b, out);
            job.divide(count_include_pad, out);
        }
    }
    Ok(())
}

struct Job<'a> {
    window: &'a Window,
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
    taps: Vec<Tap>,
}

impl Job<'_> {
    /// Combines what each window holds inside the input by `f`, from `start`.
    fn fold(&self, x: &[f32], start: f32, f: impl Fn(f32, f32) -> f32 + Copy, out: &mut [f32]) {
        let stride = self.window.stride[1] as usize;
        let (mut column, mut sorted) = (vec![start; self.width], vec![start; self.width]);
        let planes = x.chunks_exact(self.height * self.width).zip(out.chunks_exact_mut(self.rows * self.columns));
        for (x, out) in planes {
            for (oy, out) in out.chunks_exact_mut(self.columns).enumerate() {
                self.fold_column(x, oy, start, f, &mut column);
                let row = if stride == 1 {
                    &column
                } else {
                    split_phases(&column, stride, &mut sorted);
                    &sorted
                };
                self.fold_row(row, start, f, out);
            }
        }
    }

    fn fold_column(&self, x: &[f32], oy: usize, start: f32, f: impl Fn(f32, f32) -> f32, column: &mut [f32]) {
        let mut rows = (0..self.window.kernel[0] as usize)
            .filter_map(|k| input_row(self.window, self.height, oy, k))
            .map(|y| &x[y * self.width..][..self.width]);
        match (rows.next(), rows.next()) {
            (Some(a), Some(b)) => column.iter_mut().zip(a).zip(b).for_each(|((o, &a), &b)| *o = f(a, b)),
            (Some(a), None) => column.copy_from_slice(a),
            _ => column.fill(start),
        }
        for row in rows {
            column.iter_mut().zip(row).for_each(|(o, &v)| *o = f(*o, v));
        }
    }

    fn fold_row(&self, row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32, out: &mut [f32]) {
        out.fill(start);
        for tap in &self.taps {
            let (lo, hi) = (tap.lo, tap.hi);
            out[lo..hi].iter_mut().zip(tap.of(row, lo, hi)).for_each(|(o, &v)| *o = f(*o, v));
        }
    }

    /// Turns sums into means.
    fn divide(&self, count_include_pad: bool, out: &mut [f32]) {
        let count = |axis: usize, n: usize, o: usize| counted(self.window, axis, n, o, count_include_pad);
        let columns: Vec<f32> = (0..self.columns).map(|ox| count(1, self.width, ox)).collect();
        let rows: Vec<f32> = (0..self.rows).map(|oy| count(0, self.height, oy)).collect();
        for out in out.chunks_exact_mut(self.rows * self.columns) {
            for (out, rows) in out.chunks_exact_mut(self.columns).zip(&rows) {
                out.iter_mut().zip(&columns).for_each(|(o, columns)| *o /= (rows * columns).max(1.0));
            }
        }
    }
}

/// Taps of output `o` along an axis of length `n` that count in the mean: those inside the input or, with
/// `include_pad`, inside the padded input (a last window reaching beyond it, by `ceil`, is cut).
fn counted(window: &Window, axis: usize, n: usize, o: usize, include_pad: bool) -> f32 {
    let (before, after) = if include_pad { (window.pad[axis], window.pad[axis + 2]) } else { (0, 0) };
    let first = o as i64 * i64::from(window.stride[axis]) - i64::from(window.pad[axis]);
    let inside = -i64::from(before)..n as i64 + i64::from(after);
    let taps = (0..i64::from(window.kernel[axis])).map(|k| first + k * i64::from(window.dilation[axis]));
    taps.filter(|at| inside.contains(at)).count() as f32
}
