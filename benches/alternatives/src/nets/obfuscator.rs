//! The obfuscator and the deobfuscator (Leroux et al. 2018, section 4): MobileNet-like, image to image.

use burn::prelude::*;

use super::layers::{ConvBn, lrelu, upsample};
use crate::export::{Graph, Value};

/// 1x1 expansion by six, 3x3 depthwise, 1x1 linear; either of stride two or with upsampling by two.
#[derive(Module, Debug)]
struct Bottleneck {
    expand: ConvBn,
    depthwise: ConvBn,
    linear: ConvBn,
    up: bool,
}

impl Bottleneck {
    fn new(from: usize, to: usize, up: bool, on: &Device) -> Self {
        let wide = 6 * from;
        Self {
            expand: ConvBn::new([from, wide], 1, 1, 1, on),
            depthwise: ConvBn::new([wide, wide], 3, if up { 1 } else { 2 }, wide, on),
            linear: ConvBn::new([wide, to], 1, 1, 1, on),
            up,
        }
    }

    /// The upsampling stands between depthwise and linear convolution in the paper (so its count of 2.6e7 comes out);
    /// it commutes with a 1x1 convolution and with BatchNorm, in training too, and comes last here: a quarter of the
    /// work.
    fn forward(&self, x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
        let y = lrelu(self.expand.forward(x));
        let y = self.linear.forward(lrelu(self.depthwise.forward(y)));
        if self.up { upsample(y, size) } else { y }
    }

    fn describe(&self, g: &mut Graph, x: &Value, size: [usize; 2]) -> Value {
        let y = self.expand.describe(g, x);
        let y = g.leaky_relu(&y);
        let y = self.depthwise.describe(g, &y);
        let y = g.leaky_relu(&y);
        if !self.up {
            return self.linear.describe(g, &y);
        }
        if g.as_published {
            let y = g.upsample(&y, size);
            return self.linear.describe(g, &y);
        }
        let y = self.linear.describe(g, &y);
        g.upsample(&y, size)
    }
}

/// Image to image of the same shape `[n, channels, h, w]`. 324,518 parameters for three channels.
#[derive(Module, Debug)]
pub struct Obfuscator {
    stem: ConvBn,
    bottlenecks: Vec<Bottleneck>,
}

impl Obfuscator {
    /// For images of `channels`.
    #[must_use]
    pub fn new(channels: usize, on: &Device) -> Self {
        let widths = [32, 32, 64, 128, 64, 32, channels];
        let bottlenecks = widths.windows(2).enumerate().map(|(i, w)| Bottleneck::new(w[0], w[1], i >= 3, on)).collect();
        Self { stem: ConvBn::new([channels, 32], 3, 1, 1, on), bottlenecks }
    }

    /// The image in another form.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let x = lrelu(self.stem.forward(x));
        self.bottlenecks.iter().zip(sizes(h, w)).fold(x, |x, (b, size)| b.forward(x, size))
    }

    /// Its nodes.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        let [_, h, w] = x.shape();
        let y = self.stem.describe(g, x);
        let y = g.leaky_relu(&y);
        self.bottlenecks.iter().zip(sizes(h, w)).fold(y, |y, (b, size)| b.describe(g, &y, size))
    }
}

/// Rows and columns after each bottleneck: halved three times, and back.
fn sizes(h: usize, w: usize) -> [[usize; 2]; 6] {
    let half = |s: [usize; 2]| s.map(|n| n.div_ceil(2));
    let (a, b) = (half([h, w]), half(half([h, w])));
    [a, b, half(b), b, a, [h, w]]
}
