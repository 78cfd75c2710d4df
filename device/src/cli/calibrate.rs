//! `device doctor --calibrate`: what this device can do, for the rule of `owner-keygen add-model --offload auto`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use twinmask_model::ops::{Conv, Op, Window};

use crate::cli::load::random_input;
use crate::cli::report::cpu_time;
use crate::cli::settings::Settings;
use crate::error::DeviceError;
use crate::exec::{View, apply};
use crate::mode::Mode;

/// Inferences measured after the first.
const RUNS: u32 = 5;

/// The fields of `owner-keygen`'s device profile.
#[derive(Serialize)]
struct Profile {
    /// Multiply-accumulates per second in plain f32 convolutions.
    macs_per_s: f64,
    /// CPU time to mask, send, receive and unmask one element, in nanoseconds.
    ns_per_element: f64,
}

/// Measures and writes the profile; needs both edges.
pub(super) async fn run(settings: &Settings, path: &Path) -> anyhow::Result<String> {
    let macs_per_s = macs_per_s()?;
    let device = settings.device()?;
    let input = random_input(device.model(), 1);
    let (up, down) = device.model().plan().elements();
    let mut mode = device.run(input.clone()).await?.mode;
    let before = cpu_time();
    for _ in 0..RUNS {
        mode = device.run(input.clone()).await?.mode;
    }
    let spent = cpu_time().saturating_sub(before);
    device.close().await;
    let answers = if mode == Mode::Relay { down } else { 2 * down };
    let ns_per_element = spent.as_secs_f64() * 1e9 / f64::from(RUNS) / (up + answers) as f64;
    let profile = Profile { macs_per_s, ns_per_element };
    let text = toml::to_string(&profile)?;
    std::fs::write(path, text).map_err(|e| DeviceError::file(path, e))?;
    Ok(format!(
        "{:.2} GMAC/s in convolutions, {ns_per_element:.1} ns per element; wrote {}",
        macs_per_s / 1e9,
        path.display()
    ))
}

/// The best of some runs of a middle-sized convolution, 29 million multiply-accumulates.
fn macs_per_s() -> Result<f64, DeviceError> {
    let (x, w, y) = ([1, 64, 28, 28], [64, 64, 3, 3], [1, 64, 28, 28]);
    let (data, weights) = (vec![0.5; 64 * 28 * 28], vec![0.25; 64 * 64 * 9]);
    let window = Window { kernel: [3; 2], stride: [1; 2], pad: [1; 4], dilation: [1; 2] };
    let op = Op::Conv(Conv { window, groups: 1 });
    let views = [View::new(&x, &data), View::new(&w, &weights)];
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let begun = Instant::now();
        apply(&op, &views, &y)?;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok((64 * 28 * 28 * 64 * 9) as f64 / best)
}
