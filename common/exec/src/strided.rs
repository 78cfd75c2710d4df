//! Walking tensors by strides: axes that can be walked as one are merged first, so that the innermost run is long.

use crate::view::View;

/// One axis of a walk over a row-major output: its length and the step in an operand (0 for a broadcast axis).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) n: usize,
    pub(crate) step: isize,
}

/// Row-major steps of `shape`.
pub(crate) fn steps(shape: &[u32]) -> Vec<isize> {
    let mut steps = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i] * shape[i] as isize;
    }
    steps
}

/// The walk over an operand of shape `from` broadcast to `to`.
pub(crate) fn broadcast_axes(from: &[u32], to: &[u32]) -> Vec<Axis> {
    let missing = to.len() - from.len();
    let own = steps(from);
    let step = |i: usize| if i < missing || from[i - missing] == 1 { 0 } else { own[i - missing] };
    merge(to.iter().enumerate().map(|(i, &n)| Axis { n: n as usize, step: step(i) }))
}

/// Drops axes of length 1 and joins neighbours that are one run; never empty.
pub(crate) fn merge(axes: impl IntoIterator<Item = Axis>) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::new();
    for axis in axes.into_iter().filter(|a| a.n != 1) {
        match merged.last_mut() {
            Some(outer) if outer.step == axis.n as isize * axis.step => {
                *outer = Axis { n: outer.n * axis.n, step: axis.step }
            }
            _ => merged.push(axis),
        }
    }
    if merged.is_empty() {
        merged.push(Axis { n: 1, step: 1 });
    }
    merged
}

/// Calls `run(output offset, operand offset)` for each innermost run of the walk that begins at `base`.
pub(crate) fn for_each_run(axes: &[Axis], base: isize, mut run: impl FnMut(usize, isize)) {
    let Some((inner, outer)) = axes.split_last() else { return };
    let mut index = vec![0usize; outer.len()];
    let (mut to, mut from) = (0, base);
    loop {
        run(to, from);
        to += inner.n;
        let mut i = outer.len();
        loop {
            if i == 0 {
                return;
            }
            i -= 1;
            index[i] += 1;
            from += outer[i].step;
            if index[i] < outer[i].n {
                break;
            }
            from -= outer[i].step * outer[i].n as isize;
            index[i] = 0;
        }
    }
}

/// Copies the walk over `src` that begins at `base` into `out`.
pub(crate) fn copy(axes: &[Axis], base: isize, src: &[f32], out: &mut [f32]) {
    let Some(&Axis { n, step }) = axes.last() else { return };
    for_each_run(axes, base, |to, from| {
        let row = &mut out[to..to + n];
        match step {
            1 => row.copy_from_slice(&src[from as usize..from as usize + n]),
            0 => row.fill(src[from as usize]),
            _ => row.iter_mut().enumerate().for_each(|(i, o)| *o = src[(from + i as isize * step) as usize]),
        }
    });
}

/// `x` broadcast to `shape`.
pub(crate) fn broadcast(x: View<'_>, shape: &[u32], out: &mut [f32]) {
    copy(&broadcast_axes(x.shape, shape), 0, x.data, out);
}
