//! Plain chains of layers: LeNet, AlexNet, VGG.

use super::builder::{Conv, INPUT, LINEAR, Net, RELU};

/// Fully connected layers with ReLU between them.
fn head(net: &mut Net, x: &str, widths: &[i64]) {
    let mut x = net.flatten(x);
    for (i, w) in widths.windows(2).enumerate() {
        let last = i + 2 == widths.len();
        let name = format!("fc{}", i + 1);
        x = net.fc(&name, &x, w[0], w[1], if last { LINEAR } else { RELU });
        if !last {
            x = net.relu(&format!("{name}.relu"), &x);
        }
    }
}

/// Caffe's LeNet: no non-linearity behind the convolutions but pooling.
pub(super) fn lenet() -> Net {
    let mut net = Net::new([1, 28, 28], "logits", 10);
    let x = net.conv("conv1", INPUT, &Conv::new(1, 20, 5).gain(LINEAR));
    let x = net.max_pool("pool1", &x, 2, 2, [0; 4]);
    let x = net.conv("conv2", &x, &Conv::new(20, 50, 5).gain(LINEAR));
    let x = net.max_pool("pool2", &x, 2, 2, [0; 4]);
    head(&mut net, &x, &[800, 500, 10]);
    net
}

pub(super) fn alexnet() -> Net {
    let mut net = Net::new([3, 224, 224], "logits", 1000);
    let x = net.conv_relu("conv1", INPUT, &Conv::new(3, 64, 11).stride(4).pad(2));
    let x = net.max_pool("pool1", &x, 3, 2, [0; 4]);
    let x = net.conv_relu("conv2", &x, &Conv::new(64, 192, 5).same());
    let x = net.max_pool("pool2", &x, 3, 2, [0; 4]);
    let x = net.conv_relu("conv3", &x, &Conv::new(192, 384, 3).same());
    let x = net.conv_relu("conv4", &x, &Conv::new(384, 256, 3).same());
    let x = net.conv_relu("conv5", &x, &Conv::new(256, 256, 3).same());
    let x = net.max_pool("pool5", &x, 3, 2, [0; 4]);
    head(&mut net, &x, &[9216, 4096, 4096, 1000]);
    net
}

/// Krizhevsky et al. 2012 with the normalization after ReLU and without the split over two GPUs.
pub(super) fn alexnet227() -> Net {
    let mut net = Net::new([3, 227, 227], "logits", 1000);
    let x = net.conv_relu("conv1", INPUT, &Conv::new(3, 96, 11).stride(4));
    let x = net.lrn("norm1", &x, 2.0);
    let x = net.max_pool("pool1", &x, 3, 2, [0; 4]);
    let x = net.conv_relu("conv2", &x, &Conv::new(96, 256, 5).same());
    let x = net.lrn("norm2", &x, 2.0);
    let x = net.max_pool("pool2", &x, 3, 2, [0; 4]);
    let x = net.conv_relu("conv3", &x, &Conv::new(256, 384, 3).same());
    let x = net.conv_relu("conv4", &x, &Conv::new(384, 384, 3).same());
    let x = net.conv_relu("conv5", &x, &Conv::new(384, 256, 3).same());
    let x = net.max_pool("pool5", &x, 3, 2, [0; 4]);
    head(&mut net, &x, &[9216, 4096, 4096, 1000]);
    net
}

pub(super) fn vgg16() -> Net {
    let mut net = Net::new([3, 224, 224], "logits", 1000);
    let (mut x, mut from) = (INPUT.to_owned(), 3);
    for (stage, (convs, to)) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)].into_iter().enumerate() {
        for i in 1..=convs {
            x = net.conv_relu(&format!("conv{}_{i}", stage + 1), &x, &Conv::new(from, to, 3).same());
            from = to;
        }
        x = net.max_pool(&format!("pool{}", stage + 1), &x, 2, 2, [0; 4]);
    }
    head(&mut net, &x, &[25088, 4096, 4096, 1000]);
    net
}
