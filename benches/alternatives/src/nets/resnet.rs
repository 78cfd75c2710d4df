//! ResNet for small images (He et al. 2015, section 4.2): 6n + 2 layers, shortcuts without parameters (option A).

use anyhow::Result;
use burn::module::{Param, RunningState};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use super::layers::ConvBn;
use crate::data::Weights;
use crate::export::{Graph, Value};

#[derive(Module, Debug)]
struct Block {
    first: ConvBn,
    second: ConvBn,
    stride: usize,
    pad: usize,
}

impl Block {
    fn new(from: usize, to: usize, stride: usize, on: &Device) -> Self {
        let (first, second) = (ConvBn::new([from, to], 3, stride, 1, on), ConvBn::new([to, to], 3, 1, 1, on));
        Self { first, second, stride, pad: (to - from) / 2 }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        relu(y + self.shortcut(x))
    }

    /// Every second pixel, and channels of zeros before and after.
    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        if self.stride == 1 {
            return x;
        }
        let x = x.slice(s![.., .., ..;2, ..;2]);
        let [n, _, h, w] = x.dims();
        let zeros = Tensor::zeros([n, self.pad, h, w], &x.device());
        Tensor::cat(vec![zeros.clone(), x, zeros], 1)
    }

    fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let y = self.first.describe(g, x);
        let y = g.relu(&y);
        let y = self.second.describe(g, &y);
        let shortcut = if self.stride == 1 { x.clone() } else { g.option_a(x, self.pad) };
        let sum = g.add(&y, &shortcut);
        g.relu(&sum)
    }
}

/// 3x3 convolution, three stages of n blocks of widths w, 2w, 4w, mean over pixels, one linear layer.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvBn,
    blocks: Vec<Block>,
    last: Linear,
}

impl ResNet {
    /// `6 n + 2` layers for images of `channels`, of `width` (16 in the paper) in the first stage.
    #[must_use]
    pub fn new(n: usize, channels: usize, width: usize, classes: usize, on: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut from = width;
        for (stage, to) in [width, 2 * width, 4 * width].into_iter().enumerate() {
            for block in 0..n {
                blocks.push(Block::new(from, to, if stage > 0 && block == 0 { 2 } else { 1 }, on));
                from = to;
            }
        }
        let last = LinearConfig::new(4 * width, classes).init(on);
        Self { stem: ConvBn::new([channels, width], 3, 1, 1, on), blocks, last }
    }

    /// The stored ResNet-20 for CIFAR-10 (91.5 % on the 1,000 test images), frozen.
    ///
    /// # Errors
    /// When its file is missing or another one.
    pub fn stored(weights: &Weights, on: &Device) -> Result<Self> {
        let mut net = Self::new(3, 3, 16, 10, on);
        load(&mut net.stem, weights, "conv1", on)?;
        for (i, block) in net.blocks.iter_mut().enumerate() {
            let layer = format!("layer{}.{}", i / 3 + 1, i % 3);
            load(&mut block.first, weights, &format!("{layer}.conv1"), on)?;
            load(&mut block.second, weights, &format!("{layer}.conv2"), on)?;
        }
        net.last.weight = Param::from_tensor(weights.get("linear.weight", [10, 64], on)?.transpose());
        net.last.bias = Some(Param::from_tensor(weights.get("linear.bias", [10], on)?));
        Ok(net.freeze())
    }

    /// Logits `[n, classes]` of images `[n, channels, h, w]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let [n, c, _, _] = x.dims();
        self.last.forward(x.mean_dim(3).mean_dim(2).reshape([n, c]))
    }

    /// Its nodes.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let y = self.stem.describe(g, x);
        let mut y = g.relu(&y);
        for block in &self.blocks {
            y = block.describe(g, &y);
        }
        let y = g.mean(&y);
        g.linear(&self.last, &y)
    }
}

fn load(layer: &mut ConvBn, weights: &Weights, name: &str, on: &Device) -> Result<()> {
    let shape = layer.conv.weight.dims();
    let channels = [shape[0]];
    let norm = |part: &str| weights.get(&format!("{name}_bn.{part}"), channels, on);
    layer.conv.weight = Param::from_tensor(weights.get(&format!("{name}.weight"), shape, on)?);
    layer.norm.gamma = Param::from_tensor(norm("weight")?);
    layer.norm.beta = Param::from_tensor(norm("bias")?);
    layer.norm.running_mean = RunningState::new(norm("running_mean")?);
    layer.norm.running_var = RunningState::new(norm("running_var")?);
    Ok(())
}
