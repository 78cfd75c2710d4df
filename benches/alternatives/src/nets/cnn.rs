//! A network in the manner of LeNet-5: two 5x5 convolutions with pooling, two linear layers.

use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use super::layers::conv;
use crate::export::{Graph, Value};

/// Convolutions of 12 and 24 channels, linear layers of 96 and as many as there are classes.
#[derive(Module, Debug)]
pub struct Cnn {
    first: Conv2d,
    second: Conv2d,
    pool: MaxPool2d,
    third: Linear,
    last: Linear,
}

impl Cnn {
    /// For images of `shape` (channels, rows, columns).
    #[must_use]
    pub fn new(shape: [usize; 3], classes: usize, on: &Device) -> Self {
        let [c, h, w] = shape;
        Self {
            first: conv([c, 12], 5, 1, 1, on),
            second: conv([12, 24], 5, 1, 1, on),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            third: LinearConfig::new(24 * (h / 4) * (w / 4), 96).init(on),
            last: LinearConfig::new(96, classes).init(on),
        }
    }

    /// Logits `[n, classes]` of images `[n, channels, h, w]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.first.forward(x)));
        let x = self.pool.forward(relu(self.second.forward(x)));
        self.last.forward(relu(self.third.forward(x.flatten(1, 3))))
    }

    /// Its nodes.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let mut x = x.clone();
        for conv in [&self.first, &self.second] {
            let y = g.conv(conv, &x);
            let y = g.relu(&y);
            x = g.max_pool(&y);
        }
        let y = g.flatten(&x);
        let y = g.linear(&self.third, &y);
        let y = g.relu(&y);
        g.linear(&self.last, &y)
    }
}
