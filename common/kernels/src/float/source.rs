//! Where tiles read a convolution's input: as it is, or laid out so that whatever a step reads of neighbouring outputs
//! is side by side.

use twinmask_layer::Conv;

/// Outputs in a row below which the windows of all rows are gathered: tiles would be too small.
const SHORT: u32 = 8;
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

    /// From one group's inputs to the next one's.
    pub(crate) fn group(self, conv: &Conv) -> usize {
        let channels = (conv.c_in / conv.groups) as usize;
        match self {
            Self::Gathered { .. } => channels * (conv.kh * conv.kw * conv.out_h() * conv.out_w()) as usize,
            _ => channels * self.plane(conv),
        }
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

    /// The input `x` so; in `scratch`, if not as it is.
    pub(crate) fn lay<'a>(self, conv: &Conv, x: &'a [f32], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Self::Flat | Self::Rows => x,
            Self::Padded { slack } => {
                zeros(scratch, conv.c_in as usize * self.plane(conv) + slack);
                self.pad(conv, x, scratch);
                scratch
            }
            Self::Gathered { slack } => {
                zeros(scratch, conv.groups as usize * self.group(conv) + slack);
                gather(conv, x, scratch);
                scratch
            }
        }
    }

    fn pad(self, conv: &Conv, x: &[f32], out: &mut [f32]) {
        let (w, row, plane) = (conv.w as usize, self.row(conv), self.plane(conv));
        let (stride, left, phase) = (conv.stride[1] as usize, conv.pad[1] as usize, phase(conv) as usize);
        for (x, out) in x.chunks_exact(w * conv.h as usize).zip(out.chunks_exact_mut(plane)) {
            let rows = out.chunks_exact_mut(row).skip(conv.pad[0] as usize);
            for (x, out) in x.chunks_exact(w).zip(rows) {
                match stride {
                    1 => out[left..][..w].copy_from_slice(x),
                    _ => (0..stride.min(w)).for_each(|first| {
                        let column = left + first;
                        let out = &mut out[column % stride * phase + column / stride..];
                        x[first..].iter().step_by(stride).zip(out).for_each(|(&x, out)| *out = x);
                    }),
                }
            }
        }
    }
}

/// Whether the outputs' inputs are all inputs, in their order.
fn is_flat(conv: &Conv) -> bool {
    conv.kh == 1 && conv.kw == 1 && conv.stride == [1; 2] && conv.pad == [0; 4]
}

fn gathers(conv: &Conv) -> bool {
    let single = conv.kh * conv.kw == 1 && conv.stride != [1; 2];
    !is_flat(conv) && conv.c_in / conv.groups >= MANY && (single || conv.out_w() < SHORT)
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

/// `len` zeros.
fn zeros(out: &mut Vec<f32>, len: usize) {
    out.clear();
    out.resize(len, 0.0);
}

fn gather(conv: &Conv, x: &[f32], out: &mut [f32]) {
    let (h, w) = (i64::from(conv.h), i64::from(conv.w));
    let (width, area) = (conv.out_w() as usize, (conv.out_h() * conv.out_w()) as usize);
    for ((c, ky, kx), out) in taps(conv, conv.c_in).zip(out.chunks_exact_mut(area)) {
        let x = &x[c as usize * (h * w) as usize..][..(h * w) as usize];
        for (oy, out) in out.chunks_exact_mut(width).enumerate() {
            let y = oy as i64 * i64::from(conv.stride[0]) + i64::from(ky * conv.dilation[0]) - i64::from(conv.pad[0]);
            if (0..h).contains(&y) {
                let row = &x[(y * w) as usize..][..w as usize];
                let first = i64::from(kx * conv.dilation[1]) - i64::from(conv.pad[1]);
                for (ox, out) in out.iter_mut().enumerate() {
                    let at = ox as i64 * i64::from(conv.stride[1]) + first;
                    *out = usize::try_from(at).ok().and_then(|at| row.get(at)).copied().unwrap_or(0.0);
                }
            }
        }
    }
}
