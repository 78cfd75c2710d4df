//! Convolutions that stay on the device, and how windows read rows.

use twinmask_kernels::FloatConv;
use twinmask_layer::Geometry;
use twinmask_model::dims::image;
use twinmask_model::ops::{Conv, ConvTranspose, Unary, Window};

use crate::view::View;

/// Where a tap of a window reads in rows that [`split_phases`] has sorted: output column `o` takes element
/// `start + o + shift`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    start: i64,
    shift: i64,
    /// The output columns `lo..hi` for which the tap is inside the input.
    pub(crate) lo: usize,
    pub(crate) hi: usize,
}

impl Tap {
    /// What the output columns `lo..hi` (within the tap's own) take of a sorted row.
    pub(crate) fn of<'a>(&self, row: &'a [f32], lo: usize, hi: usize) -> &'a [f32] {
        if lo >= hi {
            return &[];
        }
        let from = (self.start + lo as i64 + self.shift) as usize;
        &row[from..from + (hi - lo)]
    }
}

/// Elements of a row of `width` that are `phase` modulo `stride`.
fn phase_len(width: i64, stride: i64, phase: i64) -> i64 {
    (width - phase).max(0).div_euclid(stride) + i64::from((width - phase).max(0) % stride != 0)
}

/// The taps of a window's row over inputs of `width`, for `columns` outputs.
pub(crate) fn taps(window: &Window, width: usize, columns: usize) -> Vec<Tap> {
    let (w, stride) = (width as i64, i64::from(window.stride[1]));
    let mut starts = vec![0i64];
    for phase in 0..stride {
        starts.push(starts[phase as usize] + phase_len(w, stride, phase));
    }
    (0..i64::from(window.kernel[1]))
        .map(|k| {
            let offset = k * i64::from(window.dilation[1]) - i64::from(window.pad[1]);
            let (phase, shift) = (offset.rem_euclid(stride), offset.div_euclid(stride));
            let hi = (phase_len(w, stride, phase) - shift).clamp(0, columns as i64);
            let lo = (-shift).clamp(0, hi);
            Tap { start: starts[phase as usize], shift, lo: lo as usize, hi: hi as usize }
        })
        .collect()
}

/// Sorts a row by column modulo `stride`, so that a strided tap reads a contiguous run.
pub(crate) fn split_phases(row: &[f32], stride: usize, out: &mut [f32]) {
    if stride == 2 {
        let (even, odd) = out.split_at_mut(row.len().div_ceil(2));
        for ((pair, e), o) in row.chunks_exact(2).zip(even.iter_mut()).zip(odd) {
            (*e, *o) = (pair[0], pair[1]);
        }
        if let ([last], Some(e)) = (row.chunks_exact(2).remainder(), even.last_mut()) {
            *e = *last;
        }
        return;
    }
    let sorted = (0..stride.min(row.len())).flat_map(|phase| row[phase..].iter().step_by(stride));
    out.iter_mut().zip(sorted).for_each(|(o, &v)| *o = v);
}

/// Input row that tap `k` of output row `oy` reads, if it is inside `height`.
pub(crate) fn input_row(window: &Window, height: usize, oy: usize, k: usize) -> Option<usize> {
    let y =
        oy as i64 * i64::from(window.stride[0]) + k as i64 * i64::from(window.dilation[0]) - i64::from(window.pad[0]);
    usize::try_from(y).ok().filter(|&y| y < height)
}

/// Output rows and columns of `out` with `channels` planes; an error if the window gives other sizes.
pub(crate) fn plane(
    rows: Option<u32>,
    columns: Option<u32>,
    channels: usize,
    out: &[f32],
) -> Result<(usize, usize), String> {
    match (rows, columns) {
        (Some(h), Some(w)) if channels * h as usize * w as usize == out.len() && !out.is_empty() => {
            Ok((h as usize, w as usize))
        }
        _ => Err("the window does not fit the output".into()),
    }
}

/// A convolution whose weights are arranged for this processor.
#[derive(Debug)]
pub(crate) struct Ready {
    layer: FloatConv,
    clamp: [f32; 2],
}

impl Ready {
    /// Of weights `[c_out, c / groups, kh, kw]` for inputs of shape `x`.
    ///
    /// # Errors
    /// What makes the layer impossible.
    pub(crate) fn new(op: &Conv, x: &[u32], w: View<'_>, bias: Option<&[f32]>) -> Result<Self, String> {
        let conv = op.layer(x, w.shape).ok_or("its input is no image")?;
        Geometry::Conv(conv).validate().map_err(|e| e.to_string())?;
        Ok(Self { layer: FloatConv::new(&conv, w.data, bias), clamp: [f32::NEG_INFINITY, f32::INFINITY] })
    }

    /// Followed by `f`, if that is something that can be done on the way.
    pub(crate) fn followed_by(&mut self, f: Unary) -> bool {
        self.clamp = match f {
            Unary::Relu => [0.0, f32::INFINITY],
            Unary::Clip { min, max } => [min, max],
            _ => return false,
        };
        true
    }

    /// `x` convolved; `scratch` is overwritten.
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32], scratch: &mut Vec<f32>) {
        self.layer.apply(x, out, self.clamp, scratch);
    }
}

/// Transposed convolution of `[1, c, h, w]` by `[c, c_out / groups, kh, kw]`.
pub(crate) fn conv_transpose(
    x: View<'_>,
    w: View<'_>,
    bias: Option<&[f32]>,
    op: &ConvTranspose,
    out: &mut [f32],
) -> Result<(), String> {
    let (window, groups) = (&op.window, op.groups as usize);
    let [c, h, wd] = image(x.shape)?;
    let size = |n: u32, i: usize| {
        let full = u64::from(window.stride[i]) * u64::from(n - 1)
            + u64::from(window.dilation[i]) * u64::from(window.kernel[i] - 1)
            + 1
            + u64::from(op.output_padding[i]);
        full.checked_sub(u64::from(window.pad[i]) + u64::from(window.pad[i + 2])).and_then(|n| u32::try_from(n).ok())
    };
    let per_out = w.shape[1] as usize;
    let (oh, ow) = plane(size(h, 0), size(wd, 1), per_out * groups, out)?;
    let (h, wd, per_in) = (h as usize, wd as usize, c as usize / groups);
    let (kh, kw) = (window.kernel[0] as usize, window.kernel[1] as usize);
    for (o, out) in out.chunks_exact_mut(oh * ow).enumerate() {
        out.fill(bias.map_or(0.0, |b| b[o]));
        for c in o / per_out * per_in..(o / per_out + 1) * per_in {
            let weights = &w.data[(c * per_out + o % per_out) * kh * kw..][..kh * kw];
            for (y, row) in x.data[c * h * wd..][..h * wd].chunks_exact(wd).enumerate() {
                for (k, weights) in weights.chunks_exact(kw).enumerate() {
                    if let Some(oy) = scattered(window, 0, y, k).filter(|&oy| oy < oh) {
                        scatter(window, row, weights, &mut out[oy * ow..][..ow]);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Output index of input `i` through tap `k` along an axis; `None` before the output's start.
fn scattered(window: &Window, axis: usize, i: usize, k: usize) -> Option<usize> {
    let to = i as i64 * i64::from(window.stride[axis]) + k as i64 * i64::from(window.dilation[axis]);
    usize::try_from(to - i64::from(window.pad[axis])).ok()
}

fn scatter(window: &Window, row: &[f32], weights: &[f32], out: &mut [f32]) {
    for (k, &w) in weights.iter().enumerate() {
        for (x, &v) in row.iter().enumerate() {
            if let Some(o) = scattered(window, 1, x, k).and_then(|ox| out.get_mut(ox)) {
                *o += w * v;
            }
        }
    }
}
