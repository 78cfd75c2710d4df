//! A network in the manner of AlexNet_v2 for small images, cut where a signal enters.

use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::export::Graph;
use crate::nets::ConvBn;

/// Channels of the five convolutions.
const WIDTHS: [usize; 5] = [24, 48, 64, 64, 48];
/// Convolutions that maximum pooling follows.
const POOLED: [usize; 3] = [0, 1, 4];

/// Five convolutions with BatchNorm (5x5, then 3x3) and two linear layers. With a signal, the data owner's part ends
/// with the convolution that it enters.
#[derive(Module, Debug)]
pub struct Layered {
    convs: Vec<ConvBn>,
    pool: MaxPool2d,
    hidden: Linear,
    last: Linear,
    cut: Option<usize>,
}

impl Layered {
    /// For images of `shape`; the signal, if any, enters the convolution after `cut` preserved ones.
    #[must_use]
    pub fn new(shape: [usize; 3], classes: usize, cut: Option<usize>, on: &Device) -> Self {
        let from = |i: usize| if i == 0 { shape[0] } else { WIDTHS[i - 1] } + usize::from(cut == Some(i));
        let convs = (0..5).map(|i| ConvBn::new([from(i), WIDTHS[i]], if i == 0 { 5 } else { 3 }, 1, 1, on)).collect();
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        let flat = WIDTHS[4] * (shape[1] / 8) * (shape[2] / 8);
        let hidden = LinearConfig::new(flat, 96).init(on);
        Self { convs, pool, hidden, last: LinearConfig::new(96, classes).init(on), cut }
    }

    /// The layers before the signal taken from `plain` and frozen.
    #[must_use]
    pub fn preserving(mut self, plain: &Self) -> Self {
        for i in 0..self.cut.unwrap_or(0) {
            self.convs[i] = plain.convs[i].clone().freeze();
        }
        self
    }

    /// Rows and columns of the signal's plane, for images of `shape`.
    #[must_use]
    pub fn signal_size(&self, shape: [usize; 3]) -> [usize; 2] {
        let halved = POOLED.iter().filter(|&&p| p < self.cut.unwrap_or(0)).count();
        [shape[1] >> halved, shape[2] >> halved]
    }

    /// The data owner's part: what the provider sees of images `[n, channels, h, w]`.
    #[must_use]
    pub fn owner(&self, x: Tensor<4>, signal: Option<Tensor<4>>) -> Tensor<4> {
        let Some(cut) = self.cut else { return x };
        let x = self.kept(x, cut);
        self.layer(cut, Tensor::cat([Some(x), signal].into_iter().flatten().collect(), 1))
    }

    /// The first `n` layers.
    pub(super) fn kept(&self, x: Tensor<4>, n: usize) -> Tensor<4> {
        (0..n).fold(x, |x, i| self.layer(i, x))
    }

    /// The provider's part: logits `[n, classes]`.
    #[must_use]
    pub fn provider(&self, seen: Tensor<4>) -> Tensor<2> {
        let x = (self.cut.map_or(0, |c| c + 1)..5).fold(seen, |x, i| self.layer(i, x));
        self.last.forward(relu(self.hidden.forward(x.flatten(1, 3))))
    }

    /// Both parts.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>, signal: Option<Tensor<4>>) -> Tensor<2> {
        self.provider(self.owner(x, signal))
    }

    /// Floating point operations, parameters and values sent of the owner's part.
    #[must_use]
    pub fn owner_cost(&self, shape: [usize; 3]) -> [u64; 3] {
        let (mut g, mut x) = Graph::new(shape);
        for i in 0..=self.cut.unwrap_or(0) {
            let y = self.convs[i].describe(&mut g, &x);
            x = if POOLED.contains(&i) { g.max_pool(&y) } else { y };
        }
        [g.flops(), g.parameters, x.shape().iter().product::<usize>() as u64]
    }

    fn layer(&self, i: usize, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.convs[i].forward(x));
        if POOLED.contains(&i) { self.pool.forward(y) } else { y }
    }
}
