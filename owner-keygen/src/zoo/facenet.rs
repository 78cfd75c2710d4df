//! FaceNet NN1: Schroff, Kalenichenko, Philbin, "FaceNet" (arXiv:1503.03832), table 1.

use super::builder::{Conv, INPUT, LINEAR, Net};

/// Padding of 3x3 pooling with stride 2 that halves an even size.
const HALVE: [i64; 4] = [0, 0, 1, 1];

/// `convNa` (1x1) and `convN` (3x3).
fn pair(net: &mut Net, n: u32, x: &str, from: i64, to: i64) -> String {
    let x = net.conv_relu(&format!("conv{n}a"), x, &Conv::new(from, from, 1));
    net.conv_relu(&format!("conv{n}"), &x, &Conv::new(from, to, 3).same())
}

pub(super) fn nn1() -> Net {
    let mut net = Net::new([3, 220, 220], "embedding", 128);
    let x = net.conv_relu("conv1", INPUT, &Conv::new(3, 64, 7).stride(2).pad(3));
    let x = net.max_pool("pool1", &x, 3, 2, HALVE);
    let x = net.lrn("rnorm1", &x, 1.0);
    let x = pair(&mut net, 2, &x, 64, 192);
    let x = net.lrn("rnorm2", &x, 1.0);
    let x = net.max_pool("pool2", &x, 3, 2, [1; 4]);
    let x = pair(&mut net, 3, &x, 192, 384);
    let x = net.max_pool("pool3", &x, 3, 2, HALVE);
    let x = pair(&mut net, 4, &x, 384, 256);
    let x = pair(&mut net, 5, &x, 256, 256);
    let x = pair(&mut net, 6, &x, 256, 256);
    let x = net.max_pool("pool4", &x, 3, 2, HALVE);
    let x = net.flatten(&x);
    // 1x32x128 units of two pieces each.
    let x = net.fc("fc1", &x, 12_544, 8192, LINEAR);
    let x = net.maxout("fc1.maxout", &x);
    let x = net.fc("fc2", &x, 4096, 8192, LINEAR);
    let x = net.maxout("fc2.maxout", &x);
    let x = net.fc("fc7128", &x, 4096, 128, LINEAR);
    net.unit_length("l2", &x);
    net
}
