//! MobileNetV2 as in torchvision, BatchNormalization folded into weights and bias.

use super::builder::{Conv, INPUT, LINEAR, Net};

/// Gain of the last layer of a residual branch.
const BRANCH: f64 = 0.5;
/// Expansion, channels, blocks and first stride of each stage.
const STAGES: [(i64, i64, usize, i64); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

pub(super) fn v2() -> Net {
    let mut net = Net::new([3, 224, 224], "logits", 1000);
    net.six();
    let mut x = net.conv_relu6("stem", INPUT, &Conv::new(3, 32, 3).stride(2).same());
    let mut from = 32;
    for (stage, (expansion, to, blocks, first)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { first } else { 1 };
            x = inverted(&mut net, &format!("stage{}.{block}", stage + 1), &x, [from, expansion * from, to], stride);
            from = to;
        }
    }
    let x = net.conv_relu6("head", &x, &Conv::new(320, 1280, 1));
    let x = net.mean(&x);
    net.fc("fc", &x, 1280, 1000, LINEAR);
    net
}

/// An inverted residual block of channels `[from, wide, to]`.
fn inverted(net: &mut Net, name: &str, x: &str, [from, wide, to]: [i64; 3], stride: i64) -> String {
    let expanded = if wide == from {
        x.to_owned()
    } else {
        net.conv_relu6(&format!("{name}.expand"), x, &Conv::new(from, wide, 1))
    };
    let depthwise = Conv::new(wide, wide, 3).stride(stride).same().depthwise();
    let y = net.conv_relu6(&format!("{name}.depthwise"), &expanded, &depthwise);
    let residual = stride == 1 && from == to;
    let gain = if residual { BRANCH } else { LINEAR };
    let y = net.conv(&format!("{name}.project"), &y, &Conv::new(wide, to, 1).gain(gain));
    if residual { net.add(&format!("{name}.add"), &y, x) } else { y }
}
