//! The time between rounds, as edge B sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use twinmask_benches::dudect::{Times, interleaved};
use twinmask_benches::input;
use twinmask_device::{CodecChoice, Device, Mode, Role, Tensor};
use twinmask_testkit::InMemory;
use twinmask_testkit::wire::{Tap, tapped};
use twinmask_transport::frame_io::Frame;
use twinmask_wire::FrameType;

use crate::row::Row;

/// Of the input.
pub(crate) const CLASSES: [&str; 4] = ["zeros", "picture", "saturated", "subnormal"];

/// When answers and uploads passed.
#[derive(Default)]
struct Clock(Mutex<Vec<(FrameType, Instant)>>);

impl Tap for Clock {
    fn pass(&self, _: bool, frame: Frame) -> bool {
        let kind = frame.header.kind;
        if matches!(kind, FrameType::Answer | FrameType::Round | FrameType::End) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((kind, Instant::now()));
        }
        true
    }
}

impl Clock {
    /// From each answer to what came next.
    fn gaps(&self) -> Vec<Duration> {
        let passed = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let answered = passed.windows(2).filter(|w| w[0].0 == FrameType::Answer);
        answered.map(|w| w[1].1 - w[0].1).collect()
    }
}

/// As a picture is: neighbours are alike.
fn picture(len: usize) -> Vec<f32> {
    let steps = input(len);
    let mut at = 0.0f32;
    steps
        .iter()
        .map(|step| {
            at = (at + step * 0.1).clamp(-2.0, 2.0);
            at
        })
        .collect()
}

/// Every gap with about `n` samples of a class; the last is that before the end.
pub(crate) fn measure(deployment: &InMemory, n: usize) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _guard = runtime.enter();
    runtime.block_on(deployment.link(|connection| connection));
    let (dial, clock) = (deployment.dial(), Arc::new(Clock::default()));
    let tap = Arc::clone(&clock);
    let dial = move |role: Role| {
        let to_b = role == Role::EdgeB;
        let connection = dial(role);
        if to_b { tapped(connection, Arc::clone(&tap)) } else { connection }
    };
    let builder = Device::builder(deployment.device_dir()).edges_in_memory(dial);
    let device = builder.mode(Mode::Relay).codec(CodecChoice::Packed).build()?;
    let shape = device.inputs().tensors[0].shape.clone();
    let len = shape.iter().product::<u32>() as usize;
    let inputs = [vec![0.0; len], picture(len), vec![2.0; len], picture(len).iter().map(|v| v * 5e-39).collect()];
    let inputs = inputs.map(|data| Tensor::new(shape.clone(), data));
    let inputs = inputs.into_iter().collect::<Result<Vec<Tensor>, _>>()?;
    let mut gaps: Vec<Times> = Vec::new();
    interleaved(CLASSES.len(), n, |class| {
        let done = runtime.block_on(device.run(inputs[class].clone()))?;
        std::thread::sleep(Duration::from_millis(1)); // END is on its way still
        let found = clock.gaps();
        ensure!(done.fallbacks == 0 && found.len() == done.rounds, "{} gaps in {} rounds", found.len(), done.rounds);
        gaps.resize_with(done.rounds, || vec![Vec::new(); CLASSES.len()]);
        found.iter().zip(&mut gaps).for_each(|(gap, times)| times[class].push(gap.as_secs_f64() * 1e9));
        Ok(Duration::ZERO)
    })?;
    runtime.block_on(device.close());
    let name = |r: usize| if r + 1 == gaps.len() { format!("{r}, to the end") } else { r.to_string() };
    Ok(gaps.iter().enumerate().map(|(r, times)| Row::of(name(r), times)).collect())
}
