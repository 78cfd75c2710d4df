//! Where tiles read a convolution's input: as it is, or laid out so that whatever a step reads of neighbouring outputs
//! is side by side.

use twinmask_layer::{Conv, MAX_ELEMENTS};

/// Outputs in a row below which the windows of all rows are gathered: tiles would be too small.
const SHORT: u32 = 8;
/// Rows of outputs from which gathering takes too much memory.
const FEW: u32 = 32;
/// Channels of a group from which gathering pays.
const MANY: u32 = 8;

/// How the input lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// As it is; all outputs are one line.
    Flat,
    /// As it is.
    Rows,
    /// With its zeros around, each row sorted by column modulo the stride; so many numbers may be read beyond the end.
    Padded { slack: usize },
    /// For each step what all outputs take; so many numbers may be read beyond the end.
    Gathered { slack: usize },
}

impl Source {
    /// Of `conv`; if `across`, tiles read up to `width` numbers at once, also beyond a line's end.
    pub(crate) fn new(conv: &Conv, across: bool, width: usize) -> Self {
        let slack = if across { width } else { 0 };
        let plain = conv.pad == [0; 4] && conv.stride[1] == 1 && (!across || Self::run(conv) >= width);
        match () {
            () if gathers(conv) => Self::Gathered { slack },
            () if plain && is_flat(conv) => Self::Flat,
            () if plain => Self::Rows,
            () => Self::Padded { slack },
        }
    }

    /// Outputs that lie in one line.
    pub(crate) fn run(conv: &Conv) -> usize {
        let rows = if is_flat(conv) || gathers(conv) { conv.out_h() } else { 1 };
        (rows * conv.out_w()) as usize
    }

    /// Lines of outputs.
    pub(crate) fn lines(self, conv: &Conv) -> usize {
        (conv.out_h() * conv.out_w()) as usize / self.own_run(conv)
    }

    fn own_run(self, conv: &Conv) -> usize {
        match self {
            Self::Flat | Self::Gathered { .. } => (conv.out_h() * conv.out_w()) as usize,
            Self::Rows | Self::Padded { .. } => conv.out_w() as usize,
        }
    }

    /// Where the inputs of a line of outputs begin in a group's.
    pub(crate) fn line(self, conv: &Conv, line: usize) -> usize {
        line * conv.stride[0] as usize * self.row(conv)
    }

    fn row(self, conv: &Conv) -> usize {
        match self {
            Self::Padded { .. } => (phase(conv) * conv.stride[1]) as usize,
            _ => conv.w as usize,
        }
    }

    fn plane(self, conv: &Conv) -> usize {
        match self {
            Self::Padded { .. } => (conv.h + conv.pad[0] + conv.pad[2]) as usize * self.row(conv),
            _ => (conv.h * conv.w) as usize,
        }
    }

    /// Where the inputs of each step lie, for the first output.
    pub(crate) fn places(self, conv: &Conv) -> Vec<u32> {
        let area = conv.out_h() * conv.out_w();
        let (row, plane) = (self.row(conv) as u32, self.plane(conv) as u32);
        let of = |(k, (c, ky, kx)): (usize, (u32, u32, u32))| {
            let column = kx * conv.dilation[1];
            match self {
                Self::Gathered { .. } => k as u32 * area,
                _ => {
                    let column = column % conv.stride[1] * phase(conv) + column / conv.stride[1];
                    c * plane + ky * conv.dilation[0] * row + column
                }
            }
        };
        taps(conv, conv.c_in / conv.groups).enumerate().map(of).collect()
    }

    /// Makes `scratch` ready for [`lay`](Self::lay), which leaves its zeros.
    pub(crate) fn clear(self, conv: &Conv, scratch: &mut Vec<f32>) {
        let channels = (conv.c_in / conv.groups) as usize;
        let len = match self {
            Self::Flat | Self::Rows => return,
            Self::Padded { slack } => channels * self.plane(conv) + slack,
            Self::Gathered { slack } => channels * (conv.kh * conv.kw * conv.out_h() * conv.out_w()) as usize + slack,
        };
        scratch.clear();
        scratch.resize(len, 0.0);
    }

    /// A group's input `x` so; in `scratch`, if not as it is.
    pub(crate) fn lay<'a>(self, conv: &Conv, x: &'a [f32], scratch: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::Flat | Self::Rows => return x,
            Self::Padded { .. } => self.pad(conv, x, scratch),
            Self::Gathered { .. } => gather(conv, x, scratch),
        }
        scratch
    }

    fn pad(self, conv: &Conv, x: &[f32], out: &mut [f32]) {
        let (w, row, plane) = (conv.w as usize, self.row(conv), self.plane(conv));
        let (stride, left, phase) = (conv.stride[1] as usize, conv.pad[1] as usize, phase(conv) as usize);
        for (x, out) in x.chunks_exact(w * conv.h as usize).zip(out.chunks_exact_mut(plane)) {
            let rows = out.chunks_exact_mut(row).skip(conv.pad[0] as usize);
            for (x, out) in x.chunks_exact(w).zip(rows) {
                match stride {
                    1 => out[left..][..w].copy_from_slice(x),
                    2 => halves(x, left, out.split_at_mut(phase)),
                    _ => (0..stride.min(w)).for_each(|first| {
                        let column = left + first;
                        every(stride, &x[first..], &mut out[column % stride * phase + column / stride..]);
                    }),
                }
            }
        }
    }
}

/// Sorts the row `x`, whose first column is `left`, by even and odd columns.
fn halves(x: &[f32], left: usize, (even, odd): (&mut [f32], &mut [f32])) {
    let (here, next) = if left.is_multiple_of(2) { (even, odd) } else { (odd, even) };
    let (here, next) = (&mut here[left / 2..], &mut next[left.div_ceil(2)..]);
    let (pairs, last) = x.as_chunks::<2>();
    for ((&[a, b], here), next) in pairs.iter().zip(here.iter_mut()).zip(next) {
        (*here, *next) = (a, b);
    }
    if let ([v], Some(here)) = (last, here.get_mut(pairs.len())) {
        *here = *v;
    }
}

/// `out[i] = x[stride * i]`.
fn every(stride: usize, x: &[f32], out: &mut [f32]) {
    if stride == 2 {
        x.chunks(2).zip(out).for_each(|(x, out)| *out = x[0]);
    } else {
        x.iter().step_by(stride).zip(out).for_each(|(&x, out)| *out = x);
    }
}

/// Whether the outputs' inputs are all inputs, in their order.
fn is_flat(conv: &Conv) -> bool {
    conv.kh == 1 && conv.kw == 1 && conv.stride == [1; 2] && conv.pad == [0; 4]
}

fn gathers(conv: &Conv) -> bool {
    let single = conv.kh == 1 && conv.kw == 1 && conv.stride != [1; 2];
    let short = conv.out_w() < SHORT && conv.out_h() < FEW;
    let channels = conv.c_in / conv.groups;
    let len = [channels, conv.kh, conv.kw, conv.out_h(), conv.out_w()].into_iter().map(u64::from).product::<u64>();
    !is_flat(conv) && channels >= MANY && len <= MAX_ELEMENTS && (single || short)
}

/// Columns of a padded row that are the same modulo the stride.
fn phase(conv: &Conv) -> u32 {
    (conv.w + conv.pad[1] + conv.pad[3]).div_ceil(conv.stride[1])
}

/// Channel, row and column of each step of `channels` channels.
fn taps(conv: &Conv, channels: u32) -> impl Iterator<Item = (u32, u32, u32)> + use<> {
    let (kh, kw) = (conv.kh, conv.kw);
    (0..channels).flat_map(move |c| (0..kh).flat_map(move |ky| (0..kw).map(move |kx| (c, ky, kx))))
}

/// What each step of a group takes of `x` for all outputs.
fn gather(conv: &Conv, x: &[f32], out: &mut [f32]) {
    let (h, w, width) = (conv.h as usize, conv.w as usize, conv.out_w() as usize);
    let [down, right] = conv.stride.map(|s| s as usize);
    let area = width * conv.out_h() as usize;
    for ((c, ky, kx), out) in taps(conv, conv.c_in / conv.groups).zip(out.chunks_exact_mut(area)) {
        let x = &x[c as usize * h * w..][..h * w];
        // Columns of the window are outside for the first outputs and for the last ones.
        let (column, left) = ((kx * conv.dilation[1]) as usize, conv.pad[1] as usize);
        let before = left.saturating_sub(column).div_ceil(right).min(width);
        let inside = (w + left).saturating_sub(column).div_ceil(right).clamp(before, width) - before;
        for (oy, out) in out.chunks_exact_mut(width).enumerate().filter(|_| inside > 0) {
            let y = (oy * down + (ky * conv.dilation[0]) as usize).wrapping_sub(conv.pad[0] as usize);
            if y < h {
                let row = &x[y * w + before * right + column - left..(y + 1) * w];
                every(right, row, &mut out[before..][..inside]);
            }
        }
    }
}
