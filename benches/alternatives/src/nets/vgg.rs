//! A small network in the manner of VGG (Simonyan, Zisserman 2014): pairs of 3x3 convolutions, maximum pooling between.

use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use super::layers::ConvBn;
use crate::export::{Graph, Value};

/// Three pairs of convolutions of widths w, 2w, 4w with BatchNorm, mean over pixels, one linear layer.
#[derive(Module, Debug)]
pub struct Vgg {
    convs: Vec<ConvBn>,
    pool: MaxPool2d,
    last: Linear,
}

impl Vgg {
    /// For images of `channels`.
    #[must_use]
    pub fn new(channels: usize, width: usize, classes: usize, on: &Device) -> Self {
        let widths = [channels, width, width, 2 * width, 2 * width, 4 * width, 4 * width];
        let convs = widths.windows(2).map(|w| ConvBn::new([w[0], w[1]], 3, 1, 1, on)).collect();
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Self { convs, pool, last: LinearConfig::new(4 * width, classes).init(on) }
    }

    /// Logits `[n, classes]` of images `[n, channels, h, w]`.
    #[must_use]
    pub fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        for (i, conv) in self.convs.iter().enumerate() {
            x = relu(conv.forward(x));
            if i == 1 || i == 3 {
                x = self.pool.forward(x);
            }
        }
        let [n, c, _, _] = x.dims();
        self.last.forward(x.mean_dim(3).mean_dim(2).reshape([n, c]))
    }

    /// Its nodes.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let mut x = x.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            let y = conv.describe(g, &x);
            x = g.relu(&y);
            if i == 1 || i == 3 {
                x = g.max_pool(&x);
            }
        }
        let y = g.mean(&x);
        g.linear(&self.last, &y)
    }
}
