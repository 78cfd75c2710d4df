//! What networks are made of.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use crate::export::{Graph, Value};

/// A `k`x`k` convolution `[out, in / groups, k, k]` without bias, padded to keep the size at stride 1; He-normal
/// weights.
#[must_use]
pub fn conv(channels: [usize; 2], k: usize, stride: usize, groups: usize, on: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [k, k])
        .with_stride([stride, stride])
        .with_groups(groups)
        .with_padding(PaddingConfig2d::Explicit(k / 2, k / 2, k / 2, k / 2))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: false })
        .init(on)
}

/// Convolution and BatchNorm.
#[derive(Module, Debug)]
pub struct ConvBn {
    /// Without bias.
    pub conv: Conv2d,
    /// Of its output.
    pub norm: BatchNorm,
}

impl ConvBn {
    /// See [`conv`].
    #[must_use]
    pub fn new(channels: [usize; 2], k: usize, stride: usize, groups: usize, on: &Device) -> Self {
        Self { conv: conv(channels, k, stride, groups, on), norm: BatchNormConfig::new(channels[1]).init(on) }
    }

    /// `[n, in, h, w]` to `[n, out, h / stride, w / stride]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }

    /// The two nodes.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let y = g.conv(&self.conv, x);
        g.norm(&self.norm, &y)
    }
}

/// LeakyReLU of slope 0.01, written with ReLU: burn's own is much slower on flex.
#[must_use]
pub fn lrelu(x: Tensor<4>) -> Tensor<4> {
    relu(x.clone()) * 0.99 + x * 0.01
}

/// Nearest-neighbour upsampling by two, cut to `size` (rows, columns) where that is odd.
#[must_use]
pub fn upsample(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
    let y = interpolate(x, options);
    if size == [2 * h, 2 * w] { y } else { y.slice(s![.., .., 0..size[0], 0..size[1]]) }
}
