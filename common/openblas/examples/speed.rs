//! Speed of the kernels of this build, one thread, on every layer shape of AlexNet and ResNet-50:
//!
//! `cargo run --release -p twinmask-openblas --example speed -- [KERNEL..]`
//!
//! Clear `OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE` first, or OpenBLAS is measured with another CPU's code. `sgemm` and
//! `dgemm` are the bare matrix products of plaintext f32 and f64, without im2col.

use std::sync::Arc;
use std::time::Instant;

use twinmask_kernels::{Input, Kernel, Kernels, Linear, Scratch};
use twinmask_layer::{Conv, Fc, Geometry};

/// Ring and weight widths that are tried.
const WIDTHS: [(u32, u32); 6] = [(16, 8), (24, 8), (32, 8), (16, 12), (24, 12), (32, 12)];

/// A layer and how often its network has it.
type Layer = (Geometry, u32);

const fn conv(c_in: u32, size: u32, c_out: u32, kernel: u32, stride: u32, pad: u32) -> Geometry {
    Geometry::Conv(Conv::square([c_in, c_out], size, kernel, stride, pad))
}

const fn fc(rows: u32, inputs: u32, outputs: u32) -> Geometry {
    Geometry::Fc(Fc { rows, inputs, outputs })
}

fn alexnet() -> Vec<Layer> {
    let convs = [
        conv(64, 27, 192, 5, 1, 2),
        conv(192, 13, 384, 3, 1, 1),
        conv(384, 13, 256, 3, 1, 1),
        conv(256, 13, 256, 3, 1, 1),
    ];
    let heads = [fc(1, 9216, 4096), fc(1, 4096, 4096), fc(1, 4096, 1000)];
    [conv(3, 224, 64, 11, 4, 2)].into_iter().chain(convs).chain(heads).map(|g| (g, 1)).collect()
}

fn resnet50() -> Vec<Layer> {
    let mut layers =
        vec![(conv(3, 224, 64, 7, 2, 3), 1), (conv(64, 56, 64, 1, 1, 0), 1), (conv(64, 56, 256, 1, 1, 0), 1)];
    for (stage, blocks) in [(0u32, 3), (1, 4), (2, 6), (3, 3)] {
        let (size, inner) = (56 >> stage, 64 << stage);
        if stage > 0 {
            layers.push((conv(inner * 2, size * 2, inner, 1, 1, 0), 1));
            layers.push((conv(inner, size * 2, inner, 3, 2, 1), 1));
            layers.push((conv(inner * 2, size * 2, inner * 4, 1, 2, 0), 1));
        }
        layers.push((conv(inner * 4, size, inner, 1, 1, 0), blocks - 1));
        layers.push((conv(inner, size, inner, 3, 1, 1), if stage == 0 { blocks } else { blocks - 1 }));
        layers.push((conv(inner, size, inner * 4, 1, 1, 0), blocks));
    }
    layers.push((fc(1, 2048, 1000), 1));
    layers
}

/// Least milliseconds of `run` in about 100 ms of trying.
fn least(mut run: impl FnMut()) -> f64 {
    run();
    let (mut best, begun) = (f64::INFINITY, Instant::now());
    while begun.elapsed().as_millis() < 100 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// Least milliseconds of laying out the input and of the whole application.
fn time(linear: &dyn Linear) -> (f64, f64) {
    let geometry = *linear.geometry();
    let x: Vec<u32> = (0..geometry.in_len() as u32).map(|i| i.wrapping_mul(2_654_435_769)).collect();
    let (mut input, mut scratch, mut y) = (Input::default(), Scratch::default(), vec![0; geometry.out_len()]);
    (least(|| linear.load(&[&x], &mut input)), least(|| linear.apply(&x, &mut y, &mut scratch)))
}

fn bare_gemm<T: ndarray::LinalgScalar>(geometry: &Geometry) -> f64 {
    let (m, k, n) = (geometry.out_channels(), geometry.fan_in(), geometry.positions());
    let (a, b) = (ndarray::Array2::<T>::ones((m, k)), ndarray::Array2::<T>::ones((k, n)));
    let mut c = ndarray::Array2::<T>::ones((m, n));
    if n == 1 {
        return least(|| {
            ndarray::linalg::general_mat_vec_mul(T::one(), &a, &b.column(0), T::zero(), &mut c.column_mut(0))
        });
    }
    least(|| ndarray::linalg::general_mat_mul(T::one(), &a, &b, T::zero(), &mut c))
}

fn row(layer: &str, kernel: &str, (k, bits): (u32, u32), macs: u64, (load, total): (f64, f64), picked: &str) {
    println!(
        "{layer:<28}{kernel:>10}{k:>4}{bits:>4}{load:>9.3}{total:>9.3}{:>8.1}  {picked}",
        macs as f64 / total / 1e6
    );
}

fn name(geometry: &Geometry) -> String {
    match geometry {
        Geometry::Conv(c) => format!("{}x{}x{} {}x{}/{} -> {}", c.c_in, c.h, c.w, c.kh, c.kw, c.stride[0], c.c_out),
        Geometry::Fc(f) => format!("fc {} rows {} -> {}", f.rows, f.inputs, f.outputs),
    }
}

fn network(net: &str, layers: &[Layer], kernels: &[Arc<dyn Kernel>]) {
    let macs: u64 = layers.iter().map(|(g, times)| g.macs() * u64::from(*times)).sum();
    for kernel in kernels {
        for (k, bits) in WIDTHS {
            let (mut loads, mut totals) = (0.0, 0.0);
            for (geometry, times) in layers {
                let half = 1i32 << (bits - 1);
                let weights: Vec<i16> = (0..geometry.weight_len() as i32)
                    .map(|i| (i.wrapping_mul(31) & (2 * half - 1)) - half)
                    .map(|w| w as i16)
                    .collect();
                let linear = kernel.prepare(geometry, &weights, k);
                let (load, total) = time(&*linear);
                row(&name(geometry), kernel.name(), (k, bits), geometry.macs(), (load, total), linear.picked());
                loads += load * f64::from(*times);
                totals += total * f64::from(*times);
            }
            row(&format!("= {net}"), kernel.name(), (k, bits), macs, (loads, totals), "");
        }
    }
    for (label, time) in [("sgemm", bare_gemm::<f32> as fn(&Geometry) -> f64), ("dgemm", bare_gemm::<f64>)] {
        let mut totals = 0.0;
        for (geometry, times) in layers {
            let total = time(geometry);
            row(&name(geometry), label, (0, 0), geometry.macs(), (0.0, total), "");
            totals += total * f64::from(*times);
        }
        row(&format!("= {net}"), label, (0, 0), macs, (0.0, totals), "");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let offered = Kernels::native().with(Arc::new(twinmask_openblas::OpenBlas::new()));
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = offered.names().into_iter().map(String::from).collect();
    }
    let kernels: Vec<_> = names.iter().map(|name| offered.named(name)).collect::<Result<_, _>>()?;
    println!("OpenBLAS core: {}", twinmask_openblas::corename());
    println!("{:<28}{:>10}{:>4}{:>4}{:>9}{:>9}{:>8}", "layer", "kernel", "k", "w", "load ms", "all ms", "GMAC/s");
    network("alexnet", &alexnet(), &kernels);
    network("alexnet fc6 x 8 devices", &[(fc(8, 9216, 4096), 1)], &kernels);
    network("resnet50", &resnet50(), &kernels);
    Ok(())
}
