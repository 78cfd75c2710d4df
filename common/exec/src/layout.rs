//! Operators that only move elements.

use twinmask_model::ops::{Pad, PadMode, Slice};

use crate::strided::{Axis, copy, merge, steps};
use crate::view::View;

/// Joins `inputs` along `axis`.
pub(crate) fn concat(inputs: &[View<'_>], axis: usize, out: &mut [f32]) {
    let run = |x: &View<'_>| x.shape[axis..].iter().map(|&n| n as usize).product::<usize>();
    let total: usize = inputs.iter().map(run).sum();
    let mut at = 0;
    for x in inputs {
        let n = run(x);
        for (from, to) in x.data.chunks_exact(n).zip(out.chunks_exact_mut(total)) {
            to[at..at + n].copy_from_slice(from);
        }
        at += n;
    }
}

/// Output axis i is input axis `perm[i]`.
pub(crate) fn transpose(x: View<'_>, perm: &[u32], out: &mut [f32]) {
    let own = steps(x.shape);
    let axes = perm.iter().map(|&p| Axis { n: x.shape[p as usize] as usize, step: own[p as usize] });
    copy(&merge(axes), 0, x.data, out);
}

/// Along axis i, `size[i]` elements from `start[i]` in steps of `step[i]`.
pub(crate) fn slice(x: View<'_>, Slice { start, step, size }: &Slice, out: &mut [f32]) {
    let own = steps(x.shape);
    let base = start.iter().zip(&own).map(|(&s, own)| s as isize * own).sum();
    let axes = (0..size.len()).map(|i| Axis { n: size[i] as usize, step: step[i] as isize * own[i] });
    copy(&merge(axes), base, x.data, out);
}

/// `x` with `before[i]` elements added in front of axis i, and as many behind as `shape` leaves room for.
pub(crate) fn pad(x: View<'_>, op: &Pad, shape: &[u32], out: &mut [f32]) {
    let (before, mode) = (&op.before, op.mode);
    let Some(last) = shape.len().checked_sub(1) else { return out.copy_from_slice(x.data) };
    let constant = if let PadMode::Constant(value) = mode { value } else { 0.0 };
    let sources: Vec<Vec<Option<usize>>> =
        (0..shape.len()).map(|i| (0..shape[i]).map(|o| source(o, before[i], x.shape[i], mode)).collect()).collect();
    let own = steps(x.shape);
    let (columns, n, first) = (shape[last] as usize, x.shape[last] as usize, before[last] as usize);
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        let Some(from) = row_source(row, &sources[..last], &own) else {
            out.fill(constant);
            continue;
        };
        let x = &x.data[from..from + n];
        let value = |at: &Option<usize>| at.map_or(constant, |i| x[i]);
        out[first..first + n].copy_from_slice(x);
        for o in (0..first).chain(first + n..columns) {
            out[o] = value(&sources[last][o]);
        }
    }
}

/// Index along one axis that output index `o` shows; `None` for the constant.
fn source(o: u32, before: u32, n: u32, mode: PadMode) -> Option<usize> {
    let (at, last) = (i64::from(o) - i64::from(before), i64::from(n) - 1);
    match mode {
        PadMode::Constant(_) => (0..=last).contains(&at).then_some(at as usize),
        PadMode::Edge => Some(at.clamp(0, last) as usize),
        PadMode::Reflect => Some((if at > last { 2 * last - at } else { at.abs() }) as usize),
    }
}

/// Where the input row that output row `row` shows begins.
fn row_source(mut row: usize, sources: &[Vec<Option<usize>>], own: &[isize]) -> Option<usize> {
    let mut from = 0;
    for (sources, own) in sources.iter().zip(own).rev() {
        from += sources[row % sources.len()]? * *own as usize;
        row /= sources.len();
    }
    Some(from)
}
