//! An attacker's network that rebuilds an image from what a server sees.

use burn::prelude::*;
use burn::tensor::activation::relu;

use super::layers::{ConvBn, upsample};

/// 3x3 convolutions with BatchNorm and ReLU at full resolution, after as many upsamplings as it takes to reach it.
#[derive(Module, Debug)]
pub struct Decoder {
    convs: Vec<ConvBn>,
    last: burn::nn::conv::Conv2d,
    size: [usize; 2],
}

impl Decoder {
    /// From `from` channels to an image of `shape`; `width` channels within, `depth` convolutions before the last.
    #[must_use]
    pub fn new(from: usize, shape: [usize; 3], width: usize, depth: usize, on: &Device) -> Self {
        let convs = (0..depth).map(|i| ConvBn::new([if i == 0 { from } else { width }, width], 3, 1, 1, on)).collect();
        Self { convs, last: super::conv([width, shape[0]], 3, 1, 1, on), size: [shape[1], shape[2]] }
    }

    /// An image `[n, channels, h, w]` as networks see it, from features `[n, from, any, any]`.
    #[must_use]
    pub fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for conv in &self.convs {
            x = relu(conv.forward(x));
            x = self.grown(x);
        }
        let mut x = self.last.forward(x);
        while x.dims()[2..] != self.size {
            x = self.grown(x);
        }
        x
    }

    /// Twice as large, or as large as the image.
    fn grown(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        if [h, w] == self.size { x } else { upsample(x, [(2 * h).min(self.size[0]), (2 * w).min(self.size[1])]) }
    }
}
