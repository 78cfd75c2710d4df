//! What a run is given: folders, budget, seed.

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;

use crate::budget::Budget;

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The data folder.
    pub data: PathBuf,
    /// Where results go.
    pub out: PathBuf,
    /// Where checkpoints and results of single trainings are kept.
    pub work: PathBuf,
    /// How much.
    pub budget: Budget,
    /// Everything random comes from it.
    pub seed: u64,
    /// Seconds that were spent on restored epochs by earlier processes.
    pub restored: Cell<f64>,
}

impl Run {
    /// What belongs to the budget.
    #[must_use]
    pub fn pick<T>(&self, smoke: T, normal: T, full: T) -> T {
        self.budget.of(smoke, normal, full)
    }

    /// Where the files of a job begin.
    #[must_use]
    pub fn stem(&self, study: &str, job: &str) -> PathBuf {
        self.work.join(format!("{}-{}", self.budget, self.seed)).join(study).join(job)
    }

    /// The file with a finished job's result.
    #[must_use]
    pub fn result_path(&self, study: &str, job: &str) -> PathBuf {
        let stem = self.stem(study, job);
        let name = stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
        stem.with_file_name(format!("{name}.result.json"))
    }

    /// What the job `job` found.
    ///
    /// # Errors
    /// When it is not done or another program wrote it.
    pub fn result<T: DeserializeOwned>(&self, study: &str, job: &str) -> Result<T> {
        Ok(self.outcome(study, job)?.1)
    }

    /// Seconds that the job `job` took, and what it found.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    pub fn outcome<T: DeserializeOwned>(&self, study: &str, job: &str) -> Result<(f64, T)> {
        let path = self.result_path(study, job);
        let bytes = std::fs::read(&path).with_context(|| format!("{}: {study} {job} is not done", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// Generator for `purpose`.
    #[must_use]
    pub fn rng(&self, purpose: &str) -> StdRng {
        seeded(self.seed, purpose)
    }
}

/// A generator from a seed and a purpose (FNV-1a of its name).
#[must_use]
pub fn seeded(seed: u64, purpose: &str) -> StdRng {
    let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    StdRng::seed_from_u64(purpose.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, hash))
}

/// Seconds that this process, which has one thread, has computed; waiting for a processor does not count. Zero where
/// the system does not tell.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
