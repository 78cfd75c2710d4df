//! A device of the one-time keys that is measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use twinmask_benches::stats::median;
use twinmask_device::engine::DeviceDir;
use twinmask_transport::{Client, Role, TransportLimits};

use super::device::Device;
use super::owner::fresh_seed;

/// Spot checks per layer, as many as twinmask makes.
pub const SAMPLES: usize = 16;
/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
pub struct Job {
    /// The device's folder.
    pub dir: PathBuf,
    /// Model in it.
    pub model: String,
    /// File of keys, at least as many as inferences.
    pub keys: PathBuf,
    /// The edge's address.
    pub server: String,
    /// Transport settings.
    pub network: TransportLimits,
    /// Inferences that count.
    pub runs: usize,
    /// Inferences before.
    pub warmup: usize,
}

/// What it took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Latency of each inference, ms, with a key at hand.
    pub ms: Vec<f64>,
    /// Taking a key out of the file, wiped on disk, median, ms: may be done ahead of time.
    pub take_ms: f64,
    /// UDP payload bytes sent per inference.
    pub up: f64,
    /// UDP payload bytes received per inference.
    pub down: f64,
    /// Keys that are left.
    pub left: u64,
}

/// Runs inferences on a seeded input.
///
/// # Errors
/// When the folder or file cannot be used, keys run out, or the edge does not answer as it should.
pub async fn measure(job: &Job) -> Result<Measured> {
    let identity = DeviceDir::open(&job.dir)?.identity()?;
    let connection = Client::connect(&job.server, &Role::EdgeB, &identity, &job.network, PATIENCE).await?;
    let mut device = Device::open(&job.dir, &job.model, &connection, SAMPLES, &fresh_seed()?).await?;
    let mut keys = device.keys(&job.keys)?;
    let input = twinmask_benches::input(device.input_len());
    let (mut ms, mut take_ms, mut before) = (Vec::new(), Vec::new(), (0, 0));
    for run in 0..job.warmup + job.runs {
        if run == job.warmup {
            before = connection.udp_bytes();
        }
        let begun = Instant::now();
        let key = keys.take(device.plan())?;
        let taken = Instant::now();
        device.infer(key, &input).await?;
        if run >= job.warmup {
            take_ms.push((taken - begun).as_secs_f64() * 1e3);
            ms.push(taken.elapsed().as_secs_f64() * 1e3);
        }
    }
    let after = connection.udp_bytes();
    connection.shutdown(0, "done").await;
    let per_run = |total: u64| total as f64 / job.runs.max(1) as f64;
    let (up, down) = (per_run(after.0 - before.0), per_run(after.1 - before.1));
    Ok(Measured { ms, take_ms: median(&take_ms), up, down, left: keys.left() })
}
