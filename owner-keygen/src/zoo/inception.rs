//! Inception-ResNet-v1 as in David Sandberg's facenet (`models/inception_resnet_v1.py`), BatchNormalization and
//! residual scales folded into the weights.

use super::builder::{Conv, INPUT, LINEAR, Net};

/// Gain of the last layer of a residual branch: small, so that 21 branches in a row do not make activations grow.
const BRANCH: f64 = 0.3;

fn rectangular(channels: i64, kernel: [i64; 2]) -> Conv {
    Conv { kernel, ..Conv::new(channels, channels, 1) }.same()
}

/// Joins the branches, projects them back and adds them to `x`; ReLU unless it is the very last block.
fn residual(net: &mut Net, name: &str, x: &str, branches: &[&str], channels: [i64; 2], relu: bool) -> String {
    let joined = net.concat(&format!("{name}.concat"), branches);
    let up = net.conv(&format!("{name}.up"), &joined, &Conv::new(channels[0], channels[1], 1).gain(BRANCH));
    let sum = net.add(&format!("{name}.add"), x, &up);
    if relu { net.relu(&format!("{name}.relu"), &sum) } else { sum }
}

fn block35(net: &mut Net, name: &str, x: &str) -> String {
    let a = net.conv_relu(&format!("{name}.b0"), x, &Conv::new(256, 32, 1));
    let b = net.conv_relu(&format!("{name}.b1.0"), x, &Conv::new(256, 32, 1));
    let b = net.conv_relu(&format!("{name}.b1.1"), &b, &Conv::new(32, 32, 3).same());
    let c = net.conv_relu(&format!("{name}.b2.0"), x, &Conv::new(256, 32, 1));
    let c = net.conv_relu(&format!("{name}.b2.1"), &c, &Conv::new(32, 32, 3).same());
    let c = net.conv_relu(&format!("{name}.b2.2"), &c, &Conv::new(32, 32, 3).same());
    residual(net, name, x, &[&a, &b, &c], [96, 256], true)
}

/// Block17 (`kernel` 7) and Block8 (`kernel` 3).
fn block(net: &mut Net, name: &str, x: &str, [channels, width]: [i64; 2], kernel: i64, relu: bool) -> String {
    let a = net.conv_relu(&format!("{name}.b0"), x, &Conv::new(channels, width, 1));
    let b = net.conv_relu(&format!("{name}.b1.0"), x, &Conv::new(channels, width, 1));
    let b = net.conv_relu(&format!("{name}.b1.1"), &b, &rectangular(width, [1, kernel]));
    let b = net.conv_relu(&format!("{name}.b1.2"), &b, &rectangular(width, [kernel, 1]));
    residual(net, name, x, &[&a, &b], [2 * width, channels], relu)
}

fn reduction_a(net: &mut Net, x: &str) -> String {
    let a = net.conv_relu("mixed6a.b0", x, &Conv::new(256, 384, 3).stride(2));
    let b = net.conv_relu("mixed6a.b1.0", x, &Conv::new(256, 192, 1));
    let b = net.conv_relu("mixed6a.b1.1", &b, &Conv::new(192, 192, 3).same());
    let b = net.conv_relu("mixed6a.b1.2", &b, &Conv::new(192, 256, 3).stride(2));
    let pool = net.max_pool("mixed6a.pool", x, 3, 2, [0; 4]);
    net.concat("mixed6a", &[&a, &b, &pool])
}

fn reduction_b(net: &mut Net, x: &str) -> String {
    let a = net.conv_relu("mixed7a.b0.0", x, &Conv::new(896, 256, 1));
    let a = net.conv_relu("mixed7a.b0.1", &a, &Conv::new(256, 384, 3).stride(2));
    let b = net.conv_relu("mixed7a.b1.0", x, &Conv::new(896, 256, 1));
    let b = net.conv_relu("mixed7a.b1.1", &b, &Conv::new(256, 256, 3).stride(2));
    let c = net.conv_relu("mixed7a.b2.0", x, &Conv::new(896, 256, 1));
    let c = net.conv_relu("mixed7a.b2.1", &c, &Conv::new(256, 256, 3).same());
    let c = net.conv_relu("mixed7a.b2.2", &c, &Conv::new(256, 256, 3).stride(2));
    let pool = net.max_pool("mixed7a.pool", x, 3, 2, [0; 4]);
    net.concat("mixed7a", &[&a, &b, &c, &pool])
}

pub(super) fn irv1() -> Net {
    let mut net = Net::new([3, 160, 160], "embedding", 512);
    let x = net.conv_relu("conv1a", INPUT, &Conv::new(3, 32, 3).stride(2));
    let x = net.conv_relu("conv2a", &x, &Conv::new(32, 32, 3));
    let x = net.conv_relu("conv2b", &x, &Conv::new(32, 64, 3).same());
    let x = net.max_pool("pool3a", &x, 3, 2, [0; 4]);
    let x = net.conv_relu("conv3b", &x, &Conv::new(64, 80, 1));
    let x = net.conv_relu("conv4a", &x, &Conv::new(80, 192, 3));
    let mut x = net.conv_relu("conv4b", &x, &Conv::new(192, 256, 3).stride(2));
    for i in 1..=5 {
        x = block35(&mut net, &format!("block35_{i}"), &x);
    }
    x = reduction_a(&mut net, &x);
    for i in 1..=10 {
        x = block(&mut net, &format!("block17_{i}"), &x, [896, 128], 7, true);
    }
    x = reduction_b(&mut net, &x);
    for i in 1..=6 {
        x = block(&mut net, &format!("block8_{i}"), &x, [1792, 192], 3, i < 6);
    }
    let x = net.mean(&x);
    net.fc("bottleneck", &x, 1792, 512, LINEAR);
    net
}
