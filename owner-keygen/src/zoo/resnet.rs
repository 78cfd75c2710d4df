//! ResNet-50 v1.5 (stride in the 3x3 convolution), BatchNormalization folded into weights and bias.

use super::builder::{Conv, INPUT, LINEAR, Net};

/// Gain of the last layer of a residual branch: small, so that 16 branches in a row do not make activations grow.
const BRANCH: f64 = 0.4;

pub(super) fn resnet50() -> Net {
    let mut net = Net::new([3, 224, 224], "logits", 1000);
    let x = net.conv_relu("conv1", INPUT, &Conv::new(3, 64, 7).stride(2).pad(3));
    let mut x = net.max_pool("pool1", &x, 3, 2, [1; 4]);
    let mut from = 64;
    for (stage, (blocks, width)) in [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate() {
        for block in 0..blocks {
            let name = format!("layer{}.{block}", stage + 1);
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            x = bottleneck(&mut net, &name, &x, [from, width], stride);
            from = 4 * width;
        }
    }
    let x = net.mean(&x);
    net.fc("fc", &x, 2048, 1000, LINEAR);
    net
}

fn bottleneck(net: &mut Net, name: &str, x: &str, [from, width]: [i64; 2], stride: i64) -> String {
    let to = 4 * width;
    let y = net.conv_relu(&format!("{name}.conv1"), x, &Conv::new(from, width, 1));
    let y = net.conv_relu(&format!("{name}.conv2"), &y, &Conv::new(width, width, 3).stride(stride).same());
    let y = net.conv(&format!("{name}.conv3"), &y, &Conv::new(width, to, 1).gain(BRANCH));
    let shortcut = if from == to {
        x.to_owned()
    } else {
        net.conv(&format!("{name}.downsample"), x, &Conv::new(from, to, 1).stride(stride).gain(LINEAR))
    };
    let sum = net.add(&format!("{name}.add"), &y, &shortcut);
    net.relu(&format!("{name}.relu"), &sum)
}
