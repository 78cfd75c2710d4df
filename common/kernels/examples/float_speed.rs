//! GMAC/s of f32 convolutions of well-known networks on this processor.

use std::time::Instant;

use twinmask_kernels::FloatConv;
use twinmask_layer::{Conv, Geometry};

fn main() {
    let dense = [
        ("alexnet conv1", Conv::square([3, 64], 224, 11, 4, 2)),
        ("alexnet conv2", Conv::square([64, 192], 27, 5, 1, 2)),
        ("alexnet conv3", Conv::square([192, 384], 13, 3, 1, 1)),
        ("resnet stem", Conv::square([3, 64], 224, 7, 2, 3)),
        ("resnet 1x1 56", Conv::square([64, 256], 56, 1, 1, 0)),
        ("resnet 1x1 56 down", Conv::square([256, 64], 56, 1, 1, 0)),
        ("resnet 3x3 56", Conv::square([64, 64], 56, 3, 1, 1)),
        ("resnet 3x3 28", Conv::square([128, 128], 28, 3, 1, 1)),
        ("resnet 1x1 28", Conv::square([128, 512], 28, 1, 1, 0)),
        ("resnet 1x1/2 56", Conv::square([256, 512], 56, 1, 2, 0)),
        ("resnet 3x3/2 56", Conv::square([128, 128], 56, 3, 2, 1)),
        ("resnet 1x1 14", Conv::square([1024, 256], 14, 1, 1, 0)),
        ("resnet 3x3 14", Conv::square([256, 256], 14, 3, 1, 1)),
        ("resnet 3x3 7", Conv::square([512, 512], 7, 3, 1, 1)),
        ("resnet 1x1 7", Conv::square([512, 2048], 7, 1, 1, 0)),
        ("facenet 3x3 17", Conv::square([32, 32], 17, 3, 1, 1)),
        ("facenet 1x7 8", Conv { kh: 1, pad: [0, 3, 0, 3], ..Conv::square([128, 128], 8, 7, 1, 0) }),
        ("facenet 7x1 8", Conv { kw: 1, pad: [3, 0, 3, 0], ..Conv::square([128, 128], 8, 7, 1, 0) }),
        ("facenet 1x1 8", Conv::square([256, 896], 8, 1, 1, 0)),
        ("facenet 3x3 77", Conv::square([32, 64], 77, 3, 1, 1)),
        ("facenet 1x1 3", Conv::square([1792, 192], 3, 1, 1, 0)),
        ("mobilenet stem", Conv::square([3, 32], 224, 3, 2, 1)),
        ("mobilenet 1x1 112", Conv::square([16, 96], 112, 1, 1, 0)),
        ("mobilenet 1x1 112 down", Conv::square([32, 16], 112, 1, 1, 0)),
        ("mobilenet 1x1 56", Conv::square([24, 144], 56, 1, 1, 0)),
        ("mobilenet 1x1 56 down", Conv::square([144, 24], 56, 1, 1, 0)),
        ("mobilenet 1x1 14", Conv::square([64, 384], 14, 1, 1, 0)),
        ("mobilenet 1x1 14 down", Conv::square([384, 64], 14, 1, 1, 0)),
        ("mobilenet 1x1 7", Conv::square([160, 960], 7, 1, 1, 0)),
        ("mobilenet 1x1 7 down", Conv::square([960, 160], 7, 1, 1, 0)),
    ];
    let depthwise = [(96, 112, 2), (144, 56, 1), (144, 56, 2), (192, 28, 1), (384, 14, 1), (576, 14, 2), (960, 7, 1)];
    let depthwise = depthwise.map(|(c, size, stride)| {
        let conv = Conv { groups: c, ..Conv::square([c, c], size, 3, stride, 1) };
        ("depthwise", conv)
    });
    for (name, conv) in dense.into_iter().chain(depthwise) {
        let geometry = Geometry::Conv(conv);
        let (x, weights) = (vec![0.5; geometry.in_len()], vec![0.25; geometry.weight_len()]);
        let layer = FloatConv::new(&conv, &weights, None);
        let (mut out, mut scratch) = (vec![0.0; geometry.out_len()], Vec::new());
        let mut best = f64::MAX;
        for _ in 0..20 {
            let begun = Instant::now();
            layer.apply(&x, &mut out, [0.0, 6.0], &mut scratch);
            best = best.min(begun.elapsed().as_secs_f64());
        }
        let macs = geometry.macs() as f64;
        println!("{name:24} {conv:60.60} {:8.1} µs {:6.1} GMAC/s", best * 1e6, macs / best / 1e9);
    }
}
