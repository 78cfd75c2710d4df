//! GMAC/s of each kernel of this build on layers of AlexNet and ResNet-50, one thread:
//! `cargo run --release -p twinmask-gemm --features openblas --example speed -- [KERNEL..]`.
//! Clear `OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE` first, or OpenBLAS is measured with the wrong code.

use std::time::Instant;

use twinmask_gemm::{Conv, Fc, Geometry, Linear, Scratch, kernel, kernel_names};

fn conv(c_in: u32, size: u32, c_out: u32, kernel: u32, stride: u32, pad: u32) -> Geometry {
    let (kh, kw, stride, pad) = (kernel, kernel, [stride; 2], [pad; 4]);
    Geometry::Conv(Conv { c_in, h: size, w: size, c_out, kh, kw, stride, pad, dilation: [1, 1], groups: 1 })
}

fn layers() -> Vec<(&'static str, Geometry)> {
    vec![
        ("alexnet conv1", conv(3, 224, 64, 11, 4, 2)),
        ("alexnet conv2", conv(64, 27, 192, 5, 1, 2)),
        ("alexnet conv3", conv(192, 13, 384, 3, 1, 1)),
        ("alexnet conv4", conv(384, 13, 256, 3, 1, 1)),
        ("alexnet conv5", conv(256, 13, 256, 3, 1, 1)),
        ("alexnet fc6", Geometry::Fc(Fc { rows: 1, inputs: 9216, outputs: 4096 })),
        ("alexnet fc6 x8", Geometry::Fc(Fc { rows: 8, inputs: 9216, outputs: 4096 })),
        ("resnet conv1 7x7", conv(3, 224, 64, 7, 2, 3)),
        ("resnet 56 1x1 64-256", conv(64, 56, 256, 1, 1, 0)),
        ("resnet 56 1x1 256-64", conv(256, 56, 64, 1, 1, 0)),
        ("resnet 56 3x3 64", conv(64, 56, 64, 3, 1, 1)),
        ("resnet 28 3x3 128", conv(128, 28, 128, 3, 1, 1)),
        ("resnet 14 3x3 256", conv(256, 14, 256, 3, 1, 1)),
        ("resnet 14 1x1 1024-256", conv(1024, 14, 256, 1, 1, 0)),
        ("resnet 7 3x3 512", conv(512, 7, 512, 3, 1, 1)),
    ]
}

/// Least milliseconds of loading and of computing, in 300 ms of trying.
fn time(linear: &dyn Linear, x: &[u32]) -> (f64, f64) {
    let (mut input, mut scratch) = (twinmask_gemm::Input::default(), Scratch::default());
    let mut y = vec![0; linear.geometry().out_len()];
    let (mut load, mut part) = (f64::INFINITY, f64::INFINITY);
    let begun = Instant::now();
    while begun.elapsed().as_millis() < 300 {
        let start = Instant::now();
        linear.load(&[x], &mut input);
        let loaded = Instant::now();
        linear.part(&input, 0..linear.geometry().out_channels(), &mut y, &mut scratch);
        load = load.min((loaded - start).as_secs_f64() * 1e3);
        part = part.min(loaded.elapsed().as_secs_f64() * 1e3);
    }
    (load, part)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = kernel_names().into_iter().map(String::from).collect();
    }
    println!("{:<24}{:>10}{:>4}{:>3}{:>10}{:>10}{:>10}  picked", "layer", "kernel", "k", "w", "load ms", "part ms", "GMAC/s");
    for (layer, geometry) in layers() {
        let x: Vec<u32> = (0..geometry.in_len() as u32).map(|i| i.wrapping_mul(2_654_435_769)).collect();
        for name in &names {
            for (k, bits) in [(16, 8), (24, 8), (32, 8), (16, 12), (32, 12)] {
                let modulus = 1i32 << bits;
                let weights: Vec<i16> =
                    (0..geometry.weight_len() as i32).map(|i| (i.wrapping_mul(31) % modulus - modulus / 2).max(-modulus / 2) as i16).collect();
                let linear = kernel(name)?.prepare(&geometry, &weights, k);
                let (load, part) = time(&*linear, &x);
                let rate = geometry.macs() as f64 / (load + part) / 1e6;
                println!("{layer:<24}{name:>10}{k:>4}{bits:>3}{load:>10.3}{part:>10.3}{rate:>10.1}  {}", linear.picked());
            }
        }
    }
    Ok(())
}
