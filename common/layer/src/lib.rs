//! Shapes of linear layers. One type serves planning, kernels, integrity checks and the wire's length limits.

mod order;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use order::Order;

/// Most elements that a layer's input, output or weights may have (2^28: 1 GiB of u32).
pub const MAX_ELEMENTS: u64 = 1 << 28;

/// The geometry is impossible or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("impossible layer geometry: {0}")]
pub struct GeometryError(pub String);

/// A 2-D convolution of one image; 1-D convolutions have `h = kh = 1`.
///
/// Input `[c_in, h, w]`, weights `[c_out, c_in / groups, kh, kw]`, output `[c_out, out_h, out_w]`, all row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Input channels.
    pub c_in: u32,
    /// Input height.
    pub h: u32,
    /// Input width.
    pub w: u32,
    /// Output channels.
    pub c_out: u32,
    /// Kernel height.
    pub kh: u32,
    /// Kernel width.
    pub kw: u32,
    /// Steps down and right.
    pub stride: [u32; 2],
    /// Zeros at top, left, bottom, right.
    pub pad: [u32; 4],
    /// Distance of kernel taps down and right.
    pub dilation: [u32; 2],
    /// Channel groups; divides `c_in` and `c_out`.
    pub groups: u32,
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { c_in, h, w, c_out, kh, kw, stride: [sh, sw], pad, dilation: [dh, dw], groups } = self;
        write!(f, "a convolution of {c_in}x{h}x{w} by {c_out} kernels of {kh}x{kw} ")?;
        write!(f, "(strides {sh}x{sw}, pads {pad:?}, dilations {dh}x{dw}, {groups} groups)")
    }
}

impl Conv {
    /// A dense convolution that is square in all: `channels` in and out, a picture of `size`, a `kernel`, steps of
    /// `stride`, `pad` zeros on all sides.
    #[must_use]
    pub const fn square(channels: [u32; 2], size: u32, kernel: u32, stride: u32, pad: u32) -> Self {
        let ([c_in, c_out], h, w, kh, kw) = (channels, size, size, kernel, kernel);
        Self { c_in, h, w, c_out, kh, kw, stride: [stride; 2], pad: [pad; 4], dilation: [1; 2], groups: 1 }
    }

    /// Output height; 0 when the kernel is larger than the padded input.
    #[must_use]
    pub const fn out_h(&self) -> u32 {
        out_size(self.h, self.pad[0], self.pad[2], self.kh, self.dilation[0], self.stride[0])
    }

    /// Output width; 0 when the kernel is larger than the padded input.
    #[must_use]
    pub const fn out_w(&self) -> u32 {
        out_size(self.w, self.pad[1], self.pad[3], self.kw, self.dilation[1], self.stride[1])
    }

    /// What computes output `rows` alone: the input rows that they read, and the convolution of these. `None` if they
    /// read nothing but padding.
    ///
    /// # Panics
    /// If there are no such rows.
    #[must_use]
    pub fn rows(&self, rows: Range<u32>) -> Option<(Range<u32>, Self)> {
        assert!(!rows.is_empty() && rows.end <= self.out_h(), "output rows {rows:?} of {self}");
        // In the padded input.
        let (top, bottom) =
            (rows.start * self.stride[0], (rows.end - 1) * self.stride[0] + (self.kh - 1) * self.dilation[0] + 1);
        let (from, to) = (top.max(self.pad[0]), bottom.min(self.pad[0] + self.h));
        let part = || Self { h: to - from, pad: [from - top, self.pad[1], bottom - to, self.pad[3]], ..*self };
        (from < to).then(|| (from - self.pad[0]..to - self.pad[0], part()))
    }

    /// Whether every input channel is convolved on its own.
    #[must_use]
    pub const fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c_in
    }
}

const fn out_size(n: u32, before: u32, after: u32, kernel: u32, dilation: u32, stride: u32) -> u32 {
    let span = dilation as u64 * (kernel as u64 - 1) + 1;
    let padded = n as u64 + before as u64 + after as u64;
    if padded < span { 0 } else { ((padded - span) / stride as u64 + 1) as u32 }
}

/// A fully connected layer applied to each of `rows` rows.
///
/// Input `[rows, inputs]`, weights `[outputs, inputs]`, output `[rows, outputs]`, all row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fc {
    /// Rows that the same weights are applied to; 1 for a classifier head.
    pub rows: u32,
    /// Input features.
    pub inputs: u32,
    /// Output features.
    pub outputs: u32,
}

impl fmt::Display for Fc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fully connected layer of {} rows, {} -> {}", self.rows, self.inputs, self.outputs)
    }
}

/// The shape of one linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Geometry {
    /// Convolution.
    Conv(Conv),
    /// Fully connected.
    Fc(Fc),
}

impl Geometry {
    /// Checks that every size is positive, groups divide the channels, the kernel fits the padded input, and
    /// no tensor (the padded input among them) exceeds [`MAX_ELEMENTS`]. All other methods may be relied on afterwards.
    ///
    /// # Errors
    /// [`GeometryError`] naming what is wrong.
    pub fn validate(&self) -> Result<(), GeometryError> {
        let bad = |text: String| Err(GeometryError(text));
        match self {
            Self::Conv(c) => {
                let sizes = [
                    c.c_in,
                    c.h,
                    c.w,
                    c.c_out,
                    c.kh,
                    c.kw,
                    c.stride[0],
                    c.stride[1],
                    c.dilation[0],
                    c.dilation[1],
                    c.groups,
                ];
                if sizes.contains(&0) {
                    return bad(format!("a size of zero in {c}"));
                }
                if sizes.iter().chain(&c.pad).any(|&s| s > 1 << 24) {
                    return bad(format!("a size above 2^24 in {c}"));
                }
                if c.c_in % c.groups != 0 || c.c_out % c.groups != 0 {
                    return bad(format!("{} groups do not divide {} and {} channels", c.groups, c.c_in, c.c_out));
                }
                if c.out_h() == 0 || c.out_w() == 0 {
                    return bad(format!("the {}x{} kernel does not fit the padded {}x{} input", c.kh, c.kw, c.h, c.w));
                }
                let (padded_h, padded_w) = (c.h + c.pad[0] + c.pad[2], c.w + c.pad[1] + c.pad[3]);
                if [c.c_in, padded_h, padded_w].iter().map(|&s| u128::from(s)).product::<u128>()
                    > u128::from(MAX_ELEMENTS)
                {
                    return bad(format!("more than {MAX_ELEMENTS} elements after padding in {c}"));
                }
            }
            Self::Fc(f) => {
                if f.rows == 0 || f.inputs == 0 || f.outputs == 0 {
                    return bad(format!("a size of zero in {f}"));
                }
            }
        }
        let (input, output, weights) = self.sizes();
        if [input, output, weights].iter().any(|&n| n > u128::from(MAX_ELEMENTS)) {
            return bad(format!("{input} inputs, {output} outputs, {weights} weights: more than {MAX_ELEMENTS}"));
        }
        Ok(())
    }

    fn sizes(&self) -> (u128, u128, u128) {
        let p = |xs: &[u32]| xs.iter().map(|&x| u128::from(x)).product::<u128>();
        match self {
            Self::Conv(c) => (
                p(&[c.c_in, c.h, c.w]),
                p(&[c.c_out, c.out_h(), c.out_w()]),
                p(&[c.c_out, c.c_in / c.groups, c.kh, c.kw]),
            ),
            Self::Fc(f) => (p(&[f.rows, f.inputs]), p(&[f.rows, f.outputs]), p(&[f.outputs, f.inputs])),
        }
    }

    /// Elements of the input.
    #[must_use]
    pub fn in_len(&self) -> usize {
        self.sizes().0 as usize
    }

    /// Elements of the output.
    #[must_use]
    pub fn out_len(&self) -> usize {
        self.sizes().1 as usize
    }

    /// Elements of the weights: [`out_channels`](Self::out_channels) x [`fan_in`](Self::fan_in).
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.sizes().2 as usize
    }

    /// Rows of the weight matrix: output channels or features.
    #[must_use]
    pub const fn out_channels(&self) -> usize {
        match self {
            Self::Conv(c) => c.c_out as usize,
            Self::Fc(f) => f.outputs as usize,
        }
    }

    /// Weights per output channel, in `[c_in / groups, kh, kw]` or `[inputs]` order.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.weight_len() / self.out_channels()
    }

    /// Channel groups; 1 for a fully connected layer.
    #[must_use]
    pub const fn groups(&self) -> usize {
        match self {
            Self::Conv(c) => c.groups as usize,
            Self::Fc(_) => 1,
        }
    }

    /// Output positions per channel: `out_h * out_w`, or rows.
    #[must_use]
    pub const fn positions(&self) -> usize {
        match self {
            Self::Conv(c) => c.out_h() as usize * c.out_w() as usize,
            Self::Fc(f) => f.rows as usize,
        }
    }

    /// Index into the output of `channel` at `position`.
    #[must_use]
    pub const fn output_index(&self, channel: usize, position: usize) -> usize {
        match self {
            Self::Conv(_) => channel * self.positions() + position,
            Self::Fc(f) => position * f.outputs as usize + channel,
        }
    }

    /// The channel of output element `index`, the inverse of [`output_index`](Self::output_index).
    #[must_use]
    pub const fn channel_of(&self, index: usize) -> usize {
        match self {
            Self::Conv(_) => index / self.positions(),
            Self::Fc(f) => index % f.outputs as usize,
        }
    }

    /// Multiply-accumulates of one application, padding counted as the kernel sees it.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.out_len() as u64 * self.fan_in() as u64
    }

    /// Calls `tap(weight index within the row, input index)` for every input element that output
    /// (`channel`, `position`) reads; taps in the zero padding are skipped.
    pub fn taps(&self, channel: usize, position: usize, mut tap: impl FnMut(usize, usize)) {
        self.runs(channel, position, |w, i, n| (0..n).for_each(|j| tap(w + j, i + j)));
    }

    /// As [`taps`](Self::taps), consecutive taps at once: `run(first weight index, first input index, taps)`.
    pub fn runs(&self, channel: usize, position: usize, mut run: impl FnMut(usize, usize, usize)) {
        match self {
            Self::Fc(f) => run(0, position * f.inputs as usize, f.inputs as usize),
            Self::Conv(c) => {
                let (per_group, h, w) = ((c.c_in / c.groups) as usize, i64::from(c.h), i64::from(c.w));
                let first = channel / (c.c_out / c.groups) as usize * per_group;
                let (oy, ox) = (position / c.out_w() as usize, position % c.out_w() as usize);
                let top = oy as i64 * i64::from(c.stride[0]) - i64::from(c.pad[0]);
                let left = ox as i64 * i64::from(c.stride[1]) - i64::from(c.pad[1]);
                let (kw, step) = (i64::from(c.kw), i64::from(c.dilation[1]));
                // Taps kx in from..to lie inside the row.
                let from = (-left).max(0).div_euclid(step) + i64::from((-left).max(0) % step != 0);
                let to = ((w - left).max(0) + step - 1).div_euclid(step).min(kw);
                if from >= to {
                    return;
                }
                for ch in first..first + per_group {
                    for ky in 0..i64::from(c.kh) {
                        let y = top + ky * i64::from(c.dilation[0]);
                        if !(0..h).contains(&y) {
                            continue;
                        }
                        let weight = ((ch - first) as i64 * i64::from(c.kh) + ky) * kw;
                        let input = ch as i64 * h * w + y * w + left;
                        if step == 1 {
                            run((weight + from) as usize, (input + from) as usize, (to - from) as usize);
                        } else {
                            (from..to).for_each(|kx| run((weight + kx) as usize, (input + kx * step) as usize, 1));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn conv() -> Conv {
        Conv::square([3, 64], 224, 11, 4, 2)
    }

    #[test]
    fn alexnet_conv1() {
        let g = Geometry::Conv(conv());
        g.validate().expect("valid");
        assert_eq!((g.in_len(), g.out_len(), g.fan_in()), (150_528, 64 * 55 * 55, 363));
        assert_eq!(g.macs(), 70_276_800);
    }

    #[test]
    fn output_index_and_channel_are_inverse() {
        for g in [Geometry::Conv(Conv { h: 20, w: 17, ..conv() }), Geometry::Fc(Fc { rows: 3, inputs: 5, outputs: 7 })]
        {
            let mut seen = vec![false; g.out_len()];
            for ch in 0..g.out_channels() {
                for p in 0..g.positions() {
                    let i = g.output_index(ch, p);
                    assert_eq!(g.channel_of(i), ch);
                    assert!(!std::mem::replace(&mut seen[i], true));
                }
            }
            assert!(seen.iter().all(|&s| s));
        }
    }

    /// `taps` from the definition, bounds tested tap by tap.
    #[test]
    fn taps_are_those_of_the_definition() {
        for (stride, pad, dilation, kw) in [
            ([1, 1], [0; 4], [1, 1], 3),
            ([2, 3], [1, 2, 0, 3], [1, 1], 5),
            ([1, 2], [4, 7, 4, 7], [2, 3], 4),
            ([3, 1], [9, 9, 9, 9], [1, 1], 2),
        ] {
            let c = Conv { c_in: 4, h: 6, w: 5, c_out: 4, kh: 3, kw, stride, pad, dilation, groups: 2 };
            let g = Geometry::Conv(c);
            for (channel, position) in (0..4).flat_map(|ch| (0..g.positions()).map(move |p| (ch, p))) {
                let (oy, ox) = (position / c.out_w() as usize, position % c.out_w() as usize);
                let mut expected = Vec::new();
                for (ch, ky, kx) in (0..2).flat_map(|a| (0..3).flat_map(move |b| (0..kw).map(move |d| (a, b, d)))) {
                    let y = (oy as u32 * stride[0] + ky * dilation[0]) as i64 - i64::from(pad[0]);
                    let x = (ox as u32 * stride[1] + kx * dilation[1]) as i64 - i64::from(pad[1]);
                    if (0..6).contains(&y) && (0..5).contains(&x) {
                        let input = ((channel as i64 / 2 * 2 + i64::from(ch)) * 6 + y) * 5 + x;
                        expected.push((((ch * 3 + ky) * kw + kx) as usize, input as usize));
                    }
                }
                let mut found = Vec::new();
                g.taps(channel, position, |w, i| found.push((w, i)));
                assert_eq!(found, expected, "{c:?} at {channel}, {position}");
            }
        }
    }

    /// Output rows on the input rows that they read are those rows of the whole.
    #[test]
    fn rows_are_convolutions_of_their_own() {
        for (h, kh, stride, pad, dilation) in [
            (9, 3, 1, [1, 1], 1),
            (9, 3, 2, [0, 3], 1),
            (7, 5, 1, [4, 4], 1),
            (11, 2, 3, [1, 0], 4),
            (1, 1, 1, [2, 2], 1),
        ] {
            let (stride, pad, dilation) = ([stride, 1], [pad[0], 1, pad[1], 0], [dilation, 1]);
            let c = Conv { c_in: 2, h, w: 4, c_out: 2, kh, kw: 3, stride, pad, dilation, groups: 1 };
            let whole = Geometry::Conv(c);
            whole.validate().expect("valid");
            let width = c.out_w() as usize;
            for (from, to) in (0..c.out_h()).flat_map(|from| (from + 1..=c.out_h()).map(move |to| (from, to))) {
                let taps_of_whole = |position: usize| {
                    let mut taps = Vec::new();
                    whole.taps(1, position + from as usize * width, |w, i| taps.push((w, i)));
                    taps
                };
                let Some((rows, part)) = c.rows(from..to) else {
                    assert!((0..(to - from) as usize * width).all(|p| taps_of_whole(p).is_empty()));
                    continue;
                };
                let part = Geometry::Conv(part);
                part.validate().expect("valid");
                assert_eq!(part.positions(), (to - from) as usize * width);
                for position in 0..part.positions() {
                    let mut taps = Vec::new();
                    let (area, first) = (rows.len() * 4, rows.start as usize * 4);
                    part.taps(1, position, |w, i| taps.push((w, i / area * (h as usize * 4) + first + i % area)));
                    assert_eq!(taps, taps_of_whole(position), "{c:?}, rows {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn refusals_name_the_layer_in_words() {
        let words = |g: Geometry| g.validate().expect_err("impossible").to_string();
        assert_eq!(
            words(Geometry::Conv(Conv { stride: [0, 1], ..conv() })),
            "impossible layer geometry: a size of zero in a convolution of 3x224x224 by 64 kernels of 11x11 \
             (strides 0x1, pads [2, 2, 2, 2], dilations 1x1, 1 groups)"
        );
        let fc = words(Geometry::Fc(Fc { rows: 0, inputs: 1, outputs: 2 }));
        assert!(fc.ends_with("a size of zero in a fully connected layer of 0 rows, 1 -> 2"), "{fc}");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for c in [
            Conv { groups: 2, ..conv() },
            Conv { stride: [0, 1], ..conv() },
            Conv { kh: 300, ..conv() },
            Conv { c_in: 0, ..conv() },
            Conv { h: u32::MAX, pad: [u32::MAX; 4], ..conv() },
            Conv { c_out: 1 << 24, ..conv() },
            Conv { pad: [1 << 20; 4], stride: [1 << 20; 2], ..conv() },
        ] {
            assert!(Geometry::Conv(c).validate().is_err(), "{c:?}");
        }
        assert!(Geometry::Fc(Fc { rows: 1, inputs: 1 << 20, outputs: 1 << 20 }).validate().is_err());
        assert!(Geometry::Fc(Fc { rows: 0, inputs: 1, outputs: 1 }).validate().is_err());
    }
}
