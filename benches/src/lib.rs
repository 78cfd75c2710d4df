//! What the benchmarks of twinmask share: results as Markdown and raw JSON, medians, the machine's description,
//! processes that run once per line, deployments, and networks of published systems.
//!
//! Every benchmark clears `OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE`, warms up, interleaves what it compares, and gives
//! ratios of medians within one run. `make bench` runs all of them.

pub mod baseline;
pub mod deployment;
pub mod dudect;
pub mod folders;
pub mod lines;
pub mod machine;
pub mod mnist;
pub mod net;
pub mod networks;
pub mod plot;
pub mod report;
pub mod stats;

/// The kernels that are measured: all that an edge has on this CPU.
#[must_use]
pub fn kernels() -> twinmask_kernels::Kernels {
    twinmask_kernels::Kernels::native().with(std::sync::Arc::new(twinmask_openblas::OpenBlas::new()))
}

/// A network's input of `len` seeded numbers, uniform in [-2, 2): about the range of normalised pictures.
#[must_use]
pub fn input(len: usize) -> Vec<f32> {
    let words = twinmask_ring::prf::Key::derive("bench", &[b"input"]).elements(0, 24, len);
    words.into_iter().map(|w| w as f32 / (1 << 22) as f32 - 2.0).collect()
}
