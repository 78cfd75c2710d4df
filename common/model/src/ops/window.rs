//! Operators with a window: convolution, transposed convolution, pooling.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, image};
use crate::ops::linear::check_bias;
use crate::ops::operator::{Cost, Operator, count};
use crate::tagged::tagged;

/// Window of a convolution, pooling or transposed convolution; 1-D tensors `[1, c, l]` are treated as `[1, c, 1, l]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [u32; 2],
    /// Steps down and right.
    pub stride: [u32; 2],
    /// Padding at top, left, bottom, right.
    pub pad: [u32; 4],
    /// Distance of taps down and right.
    pub dilation: [u32; 2],
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kernel: [kh, kw], stride: [sh, sw], pad, dilation: [dh, dw] } = self;
        write!(f, "{kh}x{kw} (strides {sh}x{sw}, pads {pad:?}, dilations {dh}x{dw})")
    }
}

impl Window {
    /// Elements from the first tap to the last along axis `i` (0 height, 1 width).
    fn span(&self, i: usize) -> u64 {
        u64::from(self.dilation[i]) * (u64::from(self.kernel[i]) - 1) + 1
    }

    fn check(&self, x: &[u32]) -> Result<(), String> {
        // A 1-D tensor is one row, and stays one.
        if x.len() == 3 && (self.kernel[0], self.stride[0], self.pad[0], self.pad[2]) != (1, 1, 0, 0) {
            return Err(format!("window {self} has rows, input {x:?} has none"));
        }
        let positive = self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&v| (1..1 << 16).contains(&v));
        if positive && self.pad.iter().all(|&p| p < 1 << 16) {
            Ok(())
        } else {
            Err(format!("impossible window {self}"))
        }
    }

    /// Refuses weights `w` that do not fit `x`: another kernel, or channels that the groups do not divide. `fits` says
    /// whether the weights' own axes suit that many input channels.
    fn check_weights(&self, x: &[u32], w: &[u32], groups: u32, fits: impl Fn(u32) -> bool) -> Result<(), String> {
        let [c, ..] = image(x)?;
        self.check(x)?;
        if kernel_of(w) != Some(self.kernel) || groups == 0 || c % groups != 0 || !fits(c) {
            return Err(format!("weights {w:?} do not fit input {x:?} in {groups} groups, kernel {:?}", self.kernel));
        }
        Ok(())
    }
}

/// Kernel height and width of weights `[o, i, kh, kw]` or `[o, i, k]`.
fn kernel_of(w: &[u32]) -> Option<[u32; 2]> {
    match *w {
        [_, _, kh, kw] => Some([kh, kw]),
        [_, _, k] => Some([1, k]),
        _ => None,
    }
}

fn like_image(x: &[u32], c: u32, h: u32, w: u32) -> Shape {
    if x.len() == 4 { vec![1, c, h, w] } else { vec![1, c, w] }
}

/// Inputs x `[1, c, h, w]` or `[1, c, l]`, w `[c_out, c / groups, kh, kw]`, optional b `[c_out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv {
    /// Kernel window.
    pub window: Window,
    /// Channel groups.
    pub groups: u32,
}

impl Conv {
    /// The layer that this is of an input of shape `x` with weights of shape `w`; `None` where `x` is no image.
    #[must_use]
    pub fn layer(&self, x: &[u32], w: &[u32]) -> Option<twinmask_layer::Conv> {
        let ([c_in, h, width], window) = (image(x).ok()?, &self.window);
        let [kh, kw] = window.kernel;
        let Window { stride, pad, dilation, .. } = *window;
        Some(twinmask_layer::Conv {
            c_in,
            h,
            w: width,
            c_out: w[0],
            kh,
            kw,
            stride,
            pad,
            dilation,
            groups: self.groups,
        })
    }
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, w, window, groups) = (inputs[0], inputs[1], &self.window, self.groups);
        window.check_weights(x, w, groups, |c| w[1] == c / groups && w[0].is_multiple_of(groups))?;
        check_bias(inputs.get(2).copied(), w[0])?;
        let out = |n: u32, i: usize| {
            let padded = u64::from(n) + u64::from(window.pad[i]) + u64::from(window.pad[i + 2]);
            padded.checked_sub(window.span(i)).map(|room| (room / u64::from(window.stride[i]) + 1) as u32)
        };
        let [_, height, width] = image(x)?;
        match (out(height, 0), out(width, 1)) {
            (Some(oh), Some(ow)) => Ok(like_image(x, w[0], oh, ow)),
            _ => Err(format!("kernel {:?} does not fit input {x:?}", window.kernel)),
        }
    }

    fn cost(&self, inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost::of_macs(count(output) * count(&inputs[1][1..]))
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

/// Inputs x `[1, c, h, w]`, w `[c, c_out / groups, kh, kw]`, optional b `[c_out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvTranspose {
    /// Kernel window; padding is cut from the output.
    pub window: Window,
    /// Rows and columns added at bottom and right.
    pub output_padding: [u32; 2],
    /// Channel groups.
    pub groups: u32,
}

impl Operator for ConvTranspose {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, w, window, added) = (inputs[0], inputs[1], &self.window, self.output_padding);
        window.check_weights(x, w, self.groups, |c| w[0] == c && added.iter().all(|&p| p < 1 << 16))?;
        let outputs = w[1].checked_mul(self.groups).ok_or("too many output channels")?;
        check_bias(inputs.get(2).copied(), outputs)?;
        let out = |n: u32, i: usize| {
            let full = u64::from(window.stride[i]) * (u64::from(n) - 1) + window.span(i) + u64::from(added[i]);
            let cut = u64::from(window.pad[i]) + u64::from(window.pad[i + 2]);
            full.checked_sub(cut).and_then(|v| u32::try_from(v).ok())
        };
        let [_, height, width] = image(x)?;
        match (out(height, 0), out(width, 1)) {
            (Some(oh), Some(ow)) => Ok(like_image(x, outputs, oh, ow)),
            _ => Err(format!("padding {:?} leaves nothing of the output", window.pad)),
        }
    }

    fn cost(&self, inputs: &[&[u32]], _output: &[u32]) -> Cost {
        Cost::of_macs(count(inputs[0]) * count(&inputs[1][1..]))
    }

    fn non_negative(&self, _inputs: &[bool]) -> bool {
        false
    }
}

tagged! {
    /// What a pooling window keeps.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum PoolKind, "kind of pooling" {
        /// The maximum; padding never wins.
        Max = 1,
        /// The mean over the taps inside the input, or over the padded window (`count_include_pad`).
        Average {
            /// Whether padding counts as zeros.
            count_include_pad: bool,
        } = 2,
    }
}

/// Pooling of `[1, c, h, w]` or `[1, c, l]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Window.
    pub window: Window,
    /// What is kept.
    pub kind: PoolKind,
    /// Whether a last, partial window counts.
    pub ceil: bool,
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "MaxPool",
            PoolKind::Average { .. } => "AveragePool",
        }
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, window) = (inputs[0], &self.window);
        let [c, h, w] = image(x)?;
        window.check(x)?;
        let inside = (0..2).all(|i| u64::from(window.pad[i].max(window.pad[i + 2])) < window.span(i));
        match (inside, pool_size(h, window, 0, self.ceil), pool_size(w, window, 1, self.ceil)) {
            (true, Some(oh), Some(ow)) => Ok(like_image(x, c, oh, ow)),
            _ => Err(format!("window {window} does not fit input {x:?}")),
        }
    }

    fn cost(&self, _inputs: &[&[u32]], output: &[u32]) -> Cost {
        Cost { flops: count(output) * count(&self.window.kernel), macs: 0 }
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}

/// Output size of a pooling window along axis `i` (0 height, 1 width); `None` when it does not fit.
#[must_use]
pub fn pool_size(n: u32, window: &Window, i: usize, ceil: bool) -> Option<u32> {
    let (before, stride) = (u64::from(window.pad[i]), u64::from(window.stride[i]));
    let padded = u64::from(n) + before + u64::from(window.pad[i + 2]);
    let room = padded.checked_sub(window.span(i))?;
    let mut out = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
    // A last window that would start in the padding behind the input is dropped, as onnxruntime does.
    if ceil && (out - 1) * stride >= u64::from(n) + before {
        out -= 1;
    }
    u32::try_from(out).ok()
}
