//! Each kernel at layer shapes of AlexNet and ResNet-50, against OpenBLAS's bare sgemm and dgemm, one thread, by
//! criterion: `make bench-kernels`, or `cargo bench -p twinmask-benches --bench kernels -- FILTER` for some of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{Array2, LinalgScalar};
use serde::Serialize;
use serde_json::Value;
use twinmask_benches::folders::workspace;
use twinmask_benches::report::{Report, number};
use twinmask_benches::{kernels, machine};
use twinmask_kernels::Scratch;
use twinmask_layer::{Conv, Fc, Geometry};
use twinmask_ring::prf::Key;

/// Ring and weight widths: `compact`, the widest ring with 8-bit weights, the widest of both.
const WIDTHS: [(u32, u32); 3] = [(24, 8), (32, 8), (32, 12)];

const fn conv(c_in: u32, size: u32, c_out: u32, kernel: u32, stride: u32, pad: u32) -> Geometry {
    Geometry::Conv(Conv::square([c_in, c_out], size, kernel, stride, pad))
}

const SHAPES: [(&str, Geometry); 13] = [
    ("alexnet conv2", conv(64, 27, 192, 5, 1, 2)),
    ("alexnet conv3", conv(192, 13, 384, 3, 1, 1)),
    ("alexnet conv4", conv(384, 13, 256, 3, 1, 1)),
    ("alexnet conv5", conv(256, 13, 256, 3, 1, 1)),
    ("alexnet fc6", Geometry::Fc(Fc { rows: 1, inputs: 9216, outputs: 4096 })),
    ("alexnet fc6 x8", Geometry::Fc(Fc { rows: 8, inputs: 9216, outputs: 4096 })),
    ("resnet50 stem 7x7", conv(3, 224, 64, 7, 2, 3)),
    ("resnet50 56 3x3", conv(64, 56, 64, 3, 1, 1)),
    ("resnet50 56 1x1 up", conv(64, 56, 256, 1, 1, 0)),
    ("resnet50 28 3x3", conv(128, 28, 128, 3, 1, 1)),
    ("resnet50 14 1x1 down", conv(1024, 14, 256, 1, 1, 0)),
    ("resnet50 14 3x3", conv(256, 14, 256, 3, 1, 1)),
    ("resnet50 7 3x3", conv(512, 7, 512, 3, 1, 1)),
];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn ours(group: &mut Group<'_>, name: &str, geometry: &Geometry, (k, bits): (u32, u32)) -> Result<()> {
    let key = Key::derive("bench", &[b"kernels"]);
    let mut words = vec![0; geometry.weight_len().max(geometry.in_len())];
    key.fill(0, bits, &mut words);
    let half = 1i32 << (bits - 1);
    let weights: Vec<i16> = words[..geometry.weight_len()].iter().map(|&w| (w as i32 - half) as i16).collect();
    key.fill(1, k, &mut words);
    let (x, mut y, mut scratch) = (&words[..geometry.in_len()], vec![0; geometry.out_len()], Scratch::default());
    let linear = kernels().named(name)?.prepare(geometry, &weights, k);
    let id = format!("{name} k{k} w{bits}");
    group.bench_function(id, |b| b.iter(|| linear.apply(x, &mut y, &mut scratch)));
    Ok(())
}

/// The matrix product that the layer is, in plaintext floats and without im2col.
fn blas<T: LinalgScalar>(group: &mut Group<'_>, name: &str, geometry: &Geometry) {
    let (m, k, n) = (geometry.out_channels(), geometry.fan_in(), geometry.positions());
    let (a, b) = (Array2::<T>::ones((m, k)), Array2::<T>::ones((k, n)));
    let mut c = Array2::<T>::ones((m, n));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            if n == 1 {
                general_mat_vec_mul(T::one(), &a, &b.column(0), T::zero(), &mut c.column_mut(0));
            } else {
                general_mat_mul(T::one(), &a, &b, T::zero(), &mut c);
            }
        });
    });
}

#[derive(Serialize)]
struct Row {
    shape: String,
    kernel: String,
    mmac: f64,
    ms: f64,
    gmac_per_s: f64,
}

/// The median of a benchmark, as criterion has left it, in ms; `None` if it was filtered out.
fn median_ms(folder: &Path, shape: &str, id: &str) -> Option<f64> {
    // Criterion keeps spaces and small letters in folder names.
    let path = folder.join(shape).join(id).join("new/estimates.json");
    let estimates: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    Some(estimates["median"]["point_estimate"].as_f64()? / 1e6)
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let mut report = Report::new("kernels", "Kernels, GMAC/s of one thread");
    report.command("cargo bench -p twinmask-benches --bench kernels");
    machine::keep_to(&[machine::last_and_others()?.0])?;
    let folder = workspace().join("target/criterion-kernels");
    let _ = std::fs::remove_dir_all(&folder);
    let mut criterion = Criterion::default()
        .output_directory(&folder)
        .sample_size(15)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    let names = kernels().names();
    for (shape, geometry) in &SHAPES {
        let mut group = criterion.benchmark_group(*shape);
        group.throughput(Throughput::Elements(geometry.macs()));
        for name in &names {
            for widths in WIDTHS {
                ours(&mut group, name, geometry, widths)?;
            }
        }
        blas::<f32>(&mut group, "sgemm", geometry);
        blas::<f64>(&mut group, "dgemm", geometry);
        group.finish();
    }
    criterion.final_summary();
    report.text(
        "Median by criterion. Ours: the whole layer on a share of k bits with weights of w bits, laying out the input \
         included (load and part). sgemm and dgemm: the bare matrix product of plaintext floats by OpenBLAS in the same process, \
         without im2col. `x8`: the inputs of eight devices at once.",
    );
    let mut rows = BTreeMap::new();
    for (number_of_shape, (shape, geometry)) in SHAPES.iter().enumerate() {
        let ids = names.iter().flat_map(|n| WIDTHS.map(|(k, w)| format!("{n} k{k} w{w}")));
        for id in ids.chain(["sgemm".to_owned(), "dgemm".to_owned()]) {
            let Some(ms) = median_ms(&folder, shape, &id) else { continue };
            let mmac = geometry.macs() as f64 / 1e6;
            let row = Row { shape: (*shape).to_owned(), kernel: id.clone(), mmac, ms, gmac_per_s: mmac / ms };
            rows.entry(id).or_insert_with(BTreeMap::new).insert(number_of_shape, row);
        }
    }
    let shapes: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
    let columns = [&["kernel"], shapes.as_slice()].concat();
    let cell = |of: &BTreeMap<usize, Row>, i: usize| of.get(&i).map_or("-".to_owned(), |r| number(r.gmac_per_s));
    let line = |(id, of): (&String, &BTreeMap<usize, Row>)| {
        let cells = (0..SHAPES.len()).map(|i| cell(of, i));
        std::iter::once(id.clone()).chain(cells).collect()
    };
    report.table("GMAC/s", &columns, &rows.iter().map(line).collect::<Vec<_>>());
    report.data("rows", &rows.values().flat_map(BTreeMap::values).collect::<Vec<_>>());
    report.write()
}
