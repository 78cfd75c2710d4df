//! SqueezeNet 1.1 with the stored ImageNet weights, as a frozen base: all but its last convolution.

use anyhow::Result;
use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::data::Weights;

/// Squeezed and expanded channels of the fire modules; pooling stands before the first, third and fifth.
const FIRES: [[usize; 2]; 8] = [[16, 64], [16, 64], [32, 128], [32, 128], [48, 192], [48, 192], [64, 256], [64, 256]];

#[derive(Module, Debug)]
struct Fire {
    squeeze: Conv2d,
    one: Conv2d,
    three: Conv2d,
}

/// The base: images `[n, 3, h, w]` (ImageNet's normalisation) to features `[n, 512]`, the mean over pixels.
#[derive(Module, Debug)]
pub struct SqueezeNet {
    stem: Conv2d,
    fires: Vec<Fire>,
    pool: MaxPool2d,
}

impl SqueezeNet {
    /// Features that [`forward`](Self::forward) gives.
    pub const FEATURES: usize = 512;

    /// The stored one, frozen.
    ///
    /// # Errors
    /// When its file is missing or another one.
    pub fn stored(weights: &Weights, on: &Device) -> Result<Self> {
        let mut next = 0;
        let mut conv = |from: usize, to: usize, k: usize, stride: usize, pad: usize| {
            let mut conv = Conv2dConfig::new([from, to], [k, k])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                .init(on);
            conv.weight = Param::from_tensor(weights.get(&format!("conv{next}.weight"), [to, from, k, k], on)?);
            conv.bias = Some(Param::from_tensor(weights.get(&format!("conv{next}.bias"), [to], on)?));
            next += 1;
            anyhow::Ok(conv)
        };
        let stem = conv(3, 64, 3, 2, 0)?;
        let (mut fires, mut from) = (Vec::new(), 64);
        for [narrow, wide] in FIRES {
            let squeeze = conv(from, narrow, 1, 1, 0)?;
            fires.push(Fire { squeeze, one: conv(narrow, wide, 1, 1, 0)?, three: conv(narrow, wide, 3, 1, 1)? });
            from = 2 * wide;
        }
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).init();
        Ok(Self { stem, fires, pool }.freeze())
    }

    /// Features of images.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(x));
        for (i, fire) in self.fires.iter().enumerate() {
            if matches!(i, 0 | 2 | 4) {
                x = self.pool.forward(x);
            }
            let narrow = relu(fire.squeeze.forward(x));
            x = Tensor::cat(vec![relu(fire.one.forward(narrow.clone())), relu(fire.three.forward(narrow))], 1);
        }
        let [n, c, _, _] = x.dims();
        x.mean_dim(3).mean_dim(2).reshape([n, c])
    }
}
