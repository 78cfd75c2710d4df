//! `device doctor --calibrate`: what this device can do, for the rule of `owner-keygen add-model --offload auto`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use twinmask_kernels::FloatConv;
use twinmask_layer::{Conv, Geometry};
use twinmask_model::ops::{Dense, Op};

use crate::cli::load::random_input;
use crate::cli::report::cpu_time;
use crate::cli::settings::Settings;
use crate::error::DeviceError;
use crate::exec::{View, apply};
use crate::mode::Mode;

/// Inferences measured after the first.
const RUNS: u32 = 5;
/// Rows and columns of a matrix.
const SIDE: u32 = 4096;

/// The fields of `owner-keygen`'s device profile.
#[derive(Serialize)]
struct Profile {
    /// Multiply-accumulates per second in f32 convolutions.
    macs_per_s: f64,
    /// Bytes of f32 weights that a fully connected layer takes from memory per second.
    weight_bytes_per_s: f64,
    /// CPU time to mask, send, receive and unmask one element, in nanoseconds; with its part of what a round costs.
    ns_per_element: f64,
    /// Edges that answered.
    answers: u32,
}

/// Measures and writes the profile; needs both edges.
pub(super) async fn run(settings: &Settings, path: &Path) -> anyhow::Result<String> {
    let macs_per_s = macs_per_s();
    let weight_bytes_per_s = weight_bytes_per_s()?;
    let device = settings.device()?;
    if device.model().plan().rounds().is_empty() {
        anyhow::bail!(
            "model {} has no rounds to measure: name one that is outsourced with --model",
            device.model().name()
        );
    }
    let input = random_input(device.model(), 1);
    let (up, down) = device.model().plan().elements();
    let mut mode = device.run(input.clone()).await?.mode;
    let before = cpu_time();
    for _ in 0..RUNS {
        mode = device.run(input.clone()).await?.mode;
    }
    let spent = cpu_time().saturating_sub(before);
    device.close().await;
    let answers = if mode == Mode::Relay { 1 } else { 2 };
    let ns_per_element = spent.as_secs_f64() * 1e9 / f64::from(RUNS) / (up + u64::from(answers) * down) as f64;
    let profile = Profile { macs_per_s, weight_bytes_per_s, ns_per_element, answers };
    let text = toml::to_string(&profile)?;
    std::fs::write(path, text).map_err(|e| DeviceError::file(path, e))?;
    Ok(format!(
        "{:.2} GMAC/s in convolutions, {:.2} GB/s of weights, {ns_per_element:.1} ns per element; wrote {}",
        macs_per_s / 1e9,
        weight_bytes_per_s / 1e9,
        path.display()
    ))
}

/// Of a middle-sized convolution, 29 million multiply-accumulates.
fn macs_per_s() -> f64 {
    let conv = Conv::square([64, 64], 28, 3, 1, 1);
    let geometry = Geometry::Conv(conv);
    let layer = FloatConv::new(&conv, &vec![0.25; geometry.weight_len()], None);
    let (x, mut y, mut scratch) = (vec![0.5; geometry.in_len()], vec![0.0; geometry.out_len()], Vec::new());
    geometry.macs() as f64 / best(|| layer.apply(&x, &mut y, [f32::NEG_INFINITY, f32::INFINITY], &mut scratch))
}

/// Of a matrix of 64 MiB, more than most caches hold.
fn weight_bytes_per_s() -> Result<f64, DeviceError> {
    let (x, w, y) = ([1, SIDE], [SIDE, SIDE], [1, SIDE]);
    let (data, weights) = (vec![0.5; SIDE as usize], vec![0.25; (SIDE * SIDE) as usize]);
    let views = [View::new(&x, &data), View::new(&w, &weights)];
    let mut done = Ok(vec![]);
    let seconds = best(|| done = apply(&Op::Dense(Dense), &views, &y));
    done?;
    Ok(size_of_val(weights.as_slice()) as f64 / seconds)
}

/// Seconds of the fastest of some runs.
fn best(mut run: impl FnMut()) -> f64 {
    let timed = |_| {
        let begun = Instant::now();
        run();
        begun.elapsed().as_secs_f64()
    };
    (0..RUNS).map(timed).fold(f64::MAX, f64::min)
}
