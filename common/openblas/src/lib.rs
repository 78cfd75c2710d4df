//! The OpenBLAS kernel, in a crate of its own because only the edges link the library: im2col and dgemm on centred
//! shares. Exact: every sum that dgemm may form, in whatever order, is an integer below 2^53 in magnitude, because the
//! reduction is cut into blocks in which no channel's `sum |w| * 2^(k-1)` exceeds it; the blocks are added mod 2^32.

use std::ffi::{CStr, c_char, c_int};
use std::ops::Range;
use std::sync::{Arc, Once};

use blas_src as _;
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{ArrayView2, ArrayViewMut1, ArrayViewMut2, s};
use openblas_src as _;

use twinmask_kernels::{Input, Kernel, Linear, Scratch, check};
use twinmask_layer::{Conv, Geometry};

/// Elements of the im2col matrix that are built at a time: 4 MiB of f64.
const COLUMN_ELEMENTS: usize = 1 << 19;

unsafe extern "C" {
    fn openblas_set_num_threads(threads: c_int);
    fn openblas_get_corename() -> *const c_char;
}

/// The CPU type that OpenBLAS chose its code for; `OPENBLAS_CORETYPE` in the environment overrides its choice.
#[must_use]
pub fn corename() -> String {
    // SAFETY: takes nothing and returns a pointer to a static string that ends in zero.
    let name = unsafe { CStr::from_ptr(openblas_get_corename()) };
    name.to_string_lossy().into_owned()
}

/// The OpenBLAS kernel.
pub struct OpenBlas(());

impl OpenBlas {
    /// Also turns off OpenBLAS's own threads: our workers are the threads.
    #[must_use]
    pub fn new() -> Self {
        static ONCE: Once = Once::new();
        // SAFETY: sets a number in the library; any positive value is allowed at any time.
        ONCE.call_once(|| unsafe { openblas_set_num_threads(1) });
        Self(())
    }
}

impl Default for OpenBlas {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel for OpenBlas {
    fn name(&self) -> &'static str {
        "openblas"
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        check(geometry, weights, k);
        Arc::new(Prepared {
            geometry: *geometry,
            k,
            blocks: exact_blocks(weights, geometry.fan_in(), k),
            weights: weights.iter().map(|&w| f64::from(w)).collect(),
        })
    }
}

/// Taps that are never parted: their sum cannot exceed 64 * 2^15 * 2^31 < 2^53.
const CHUNK: usize = 64;

/// Cuts the reduction so that within a block no row's `sum |w| * 2^(k-1)` exceeds 2^53.
fn exact_blocks(weights: &[i16], fan_in: usize, k: u32) -> Vec<Range<usize>> {
    let most = 1u64 << (53 - (k - 1));
    let mut sums = vec![0u64; weights.len() / fan_in];
    let (mut blocks, mut start) = (Vec::new(), 0);
    for at in (0..fan_in).step_by(CHUNK) {
        let chunks = weights
            .chunks_exact(fan_in)
            .map(|row| row[at..fan_in.min(at + CHUNK)].iter().map(|w| u64::from(w.unsigned_abs())).sum::<u64>());
        if sums.iter().zip(chunks.clone()).any(|(sum, chunk)| sum + chunk > most) {
            blocks.push(start..at);
            start = at;
            sums.fill(0);
        }
        sums.iter_mut().zip(chunks).for_each(|(sum, chunk)| *sum += chunk);
    }
    blocks.push(start..fan_in);
    blocks
}

struct Prepared {
    geometry: Geometry,
    k: u32,
    /// Cuts of the reduction.
    blocks: Vec<Range<usize>>,
    /// `[out_channels, fan_in]`.
    weights: Arc<[f64]>,
}

impl Linear for Prepared {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn picked(&self) -> &'static str {
        "openblas"
    }

    fn channel_step(&self) -> usize {
        1
    }

    fn of_rows(&self, part: Conv) -> Arc<dyn Linear> {
        let (blocks, weights) = (self.blocks.clone(), Arc::clone(&self.weights));
        Arc::new(Self { geometry: Geometry::Conv(part), k: self.k, blocks, weights })
    }

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        let (items, per_input) = match self.geometry {
            Geometry::Conv(_) => (1, self.geometry.in_len()),
            Geometry::Fc(fc) => (xs.len() * fc.rows as usize, self.geometry.in_len()),
        };
        assert!(matches!(self.geometry, Geometry::Fc(_)) || xs.len() == 1, "a convolution takes one input at a time");
        assert!(xs.iter().all(|x| x.len() == per_input), "input length of {:?}", self.geometry);
        let centred = input.fill_f64s(items, xs.len() * per_input);
        for (x, centred) in xs.iter().zip(centred.chunks_exact_mut(per_input)) {
            for (f, &v) in centred.iter_mut().zip(*x) {
                *f = f64::from(twinmask_ring::centre(v, self.k));
            }
        }
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        let positions = match self.geometry {
            Geometry::Conv(_) => self.geometry.positions(),
            Geometry::Fc(_) => 1,
        };
        assert_eq!(y.len(), channels.len() * input.items() * positions, "output length of {:?}", self.geometry);
        y.fill(0);
        match &self.geometry {
            Geometry::Fc(_) => self.rows(input, channels, y, scratch),
            Geometry::Conv(conv) => {
                let per_group = (conv.c_out / conv.groups) as usize;
                let mut first = channels.start;
                while first < channels.end {
                    let group = first / per_group;
                    let last = channels.end.min((group + 1) * per_group);
                    let part = &mut y[(first - channels.start) * positions..(last - channels.start) * positions];
                    self.group(conv, group, input.f64s(), first..last, part, scratch);
                    first = last;
                }
            }
        }
    }
}

impl Prepared {
    fn weights(&self, channels: &Range<usize>) -> ArrayView2<'_, f64> {
        let fan_in = self.geometry.fan_in();
        let rows = &self.weights[channels.start * fan_in..channels.end * fan_in];
        ArrayView2::from_shape((channels.len(), fan_in), rows).expect("cut to this shape")
    }

    /// A fully connected layer: `y = W·x^T`, `[channels, items]`.
    fn rows(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        let (items, inputs) = (input.items(), self.geometry.fan_in());
        let x = ArrayView2::from_shape((items, inputs), &input.f64s()[..items * inputs]).expect("cut to this shape");
        let weights = self.weights(&channels);
        let [_, product] = scratch.f64s([0, y.len()]);
        for block in &self.blocks {
            let (w, x) = (weights.slice(s![.., block.clone()]), x.slice(s![.., block.clone()]));
            if items == 1 {
                general_mat_vec_mul(1.0, &w, &x.row(0), 0.0, &mut ArrayViewMut1::from(&mut *product));
            } else {
                let mut product = ArrayViewMut2::from_shape((channels.len(), items), &mut *product).expect("y's shape");
                general_mat_mul(1.0, &w, &x.t(), 0.0, &mut product);
            }
            add(product, y);
        }
    }

    /// One group (or a part of its channels) of a convolution, a block of positions at a time.
    fn group(
        &self,
        conv: &Conv,
        group: usize,
        x: &[f64],
        channels: Range<usize>,
        y: &mut [u32],
        scratch: &mut Scratch,
    ) {
        let (fan_in, positions) = (self.geometry.fan_in(), self.geometry.positions());
        let weights = self.weights(&channels);
        let width = (COLUMN_ELEMENTS / fan_in).clamp(64, positions.max(64));
        for start in (0..positions).step_by(width) {
            let range = start..positions.min(start + width);
            for block in &self.blocks {
                let shape = (block.len(), range.len());
                let [columns, product] = scratch.f64s([shape.0 * shape.1, channels.len() * range.len()]);
                im2col(conv, group, block.clone(), range.clone(), x, columns);
                let columns = ArrayView2::from_shape(shape, &*columns).expect("sized to this shape");
                let mut view = ArrayViewMut2::from_shape((channels.len(), range.len()), &mut *product).expect("sized");
                general_mat_mul(1.0, &weights.slice(s![.., block.clone()]), &columns, 0.0, &mut view);
                for (sums, y) in product.chunks_exact(range.len()).zip(y.chunks_exact_mut(positions)) {
                    add(sums, &mut y[range.clone()]);
                }
            }
        }
    }
}

/// Writes the rows `taps` (weight order) and columns `positions` of the im2col matrix of one group.
fn im2col(conv: &Conv, group: usize, taps: Range<usize>, positions: Range<usize>, x: &[f64], out: &mut [f64]) {
    let (kh, kw, out_w) = (conv.kh as usize, conv.kw as usize, conv.out_w() as usize);
    let (h, w, step) = (conv.h as usize, conv.w as usize, conv.stride[1] as usize);
    let first_channel = group * (conv.c_in / conv.groups) as usize;
    for (tap, row) in taps.zip(out.chunks_exact_mut(positions.len())) {
        let (channel, ky, kx) = (first_channel + tap / (kh * kw), tap / kw % kh, tap % kw);
        let (down, right) = (ky * conv.dilation[0] as usize, kx * conv.dilation[1] as usize);
        let mut row = row;
        let mut at = positions.start;
        while at < positions.end {
            let (oy, ox) = (at / out_w, at % out_w);
            let count = (out_w - ox).min(positions.end - at);
            let (line, rest) = row.split_at_mut(count);
            match (oy * conv.stride[0] as usize + down).checked_sub(conv.pad[0] as usize).filter(|&y| y < h) {
                Some(y) => {
                    gather(&x[(channel * h + y) * w..][..w], ox * step + right, conv.pad[1] as usize, step, line)
                }
                None => line.fill(0.0),
            }
            (row, at) = (rest, at + count);
        }
    }
}

/// `out[i] = line[start + i * step - pad]`, zero outside `line`.
fn gather(line: &[f64], start: usize, pad: usize, step: usize, out: &mut [f64]) {
    // Outputs that lie in the padding before, and in or before the line's end.
    let before = pad.saturating_sub(start).div_ceil(step).min(out.len());
    let inside = (line.len() + pad).saturating_sub(start).div_ceil(step).clamp(before, out.len());
    out[..before].fill(0.0);
    out[inside..].fill(0.0);
    if before == inside {
        return;
    }
    let source = &line[start + before * step - pad..];
    if step == 1 {
        out[before..inside].copy_from_slice(&source[..inside - before]);
    } else {
        out[before..inside].iter_mut().zip(source.iter().step_by(step)).for_each(|(o, &v)| *o = v);
    }
}

/// Adds exact integers to `y` mod 2^32.
fn add(sums: &[f64], y: &mut [u32]) {
    for (y, &v) in y.iter_mut().zip(sums) {
        // SAFETY: `exact_blocks` keeps every sum at most 2^53 in magnitude, so it is finite and fits an i64.
        *y = y.wrapping_add(unsafe { v.to_int_unchecked::<i64>() } as u32);
    }
}

/// The tests that every kernel passes.
#[cfg(test)]
#[path = "../../kernels/src/linear/oracle_tests.rs"]
mod oracle_tests;
#[cfg(test)]
use twinmask_kernels::linear as oracle;
#[cfg(test)]
fn offered() -> twinmask_kernels::Kernels {
    twinmask_kernels::Kernels::native().with(Arc::new(OpenBlas::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_at_the_bound_and_no_sooner() {
        // 2^53 / 2^31 = 2^22: 2048 taps of 2048 fit exactly, one chunk more does not.
        let weights = vec![-2048i16; 2 * 4096];
        assert_eq!(exact_blocks(&weights, 4096, 32), vec![0..2048, 2048..4096]);
        assert_eq!(exact_blocks(&weights, 4096, 31), vec![0..4096]);
        // The heaviest row decides.
        let mut weights = vec![0i16; 2 * 4096];
        weights[4096..].fill(i16::MIN);
        assert_eq!(exact_blocks(&weights, 4096, 32).len(), 32);
    }

    #[test]
    fn the_core_has_a_name() {
        assert!(!corename().is_empty());
    }
}
