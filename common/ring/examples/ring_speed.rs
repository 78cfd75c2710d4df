//! Times packing, unpacking and PRF streams: `cargo run --release -p twinmask-ring --example ring_speed`

use std::time::Instant;

use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::pack::{pack, unpack};
use twinmask_ring::prf::Algorithm;

fn time(name: &str, n: usize, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("{name:24} {:.3} ns per element", best * 1e9 / n as f64);
}

fn main() {
    let n = 1_000_000;
    let mut elements = vec![0u32; n];
    for algorithm in Algorithm::available() {
        let key = SessionKeys::new(&MaskKey::new([1; 32]), &[2; 32], &[3; 32]).masks(algorithm, 0);
        time(algorithm.label(), n, || key.fill(0, 28, &mut elements));
        time("  into a new vector", n, || elements = key.elements(0, 28, n));
    }
    for k in [17, 20, 24, 28, 32] {
        let mut bytes = Vec::with_capacity(4 * n);
        time(&format!("pack {k}"), n, || {
            bytes.clear();
            pack(&elements, k, &mut bytes);
        });
        time(&format!("unpack {k}"), n, || unpack(&bytes, k, &mut elements).expect("own packing"));
    }
}
