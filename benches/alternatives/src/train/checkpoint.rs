//! A training as a sequence of epochs, each of which leaves a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{Run, Saved, cpu_seconds, seeded};

/// What was measured in one epoch, by name; `s` are its seconds of one core.
pub type Metrics = BTreeMap<String, f64>;

/// A training.
pub struct Plan<'a> {
    /// Whose budget and folders.
    pub run: &'a Run,
    /// Where checkpoints go: file names begin so.
    pub stem: PathBuf,
    /// How many epochs.
    pub epochs: usize,
    /// All that the outcome depends on; a checkpoint made under other settings is not continued.
    pub settings: String,
}

/// One epoch.
pub struct Epoch {
    /// From 0.
    pub index: usize,
    /// Of how many.
    pub of: usize,
    /// Its own, so that a resumed training draws what an uninterrupted one would.
    pub rng: StdRng,
}

impl Epoch {
    /// `rate`, and a tenth of it after each 30 % of the training, as the publications' step every 30 of 100 epochs.
    /// Short trainings, of fewer than 30 epochs, would learn nothing so: they have one step, for their last fifth.
    #[must_use]
    pub fn stepped(&self, rate: f64) -> f64 {
        let steps = match self.of {
            0 | 1 => 0,
            2..30 => usize::from(10 * (self.index + 1) > 8 * self.of),
            _ => 10 * self.index / (3 * self.of),
        };
        rate * 0.1f64.powi(steps as i32)
    }
}

#[derive(Serialize, Deserialize)]
struct Mark {
    settings: String,
    curve: Vec<Metrics>,
}

/// Trains `learner` for the plan's epochs, from its last checkpoint if there is one. Gives it and what each epoch
/// measured.
///
/// # Errors
/// What `epoch` gives, and when a checkpoint cannot be written or read.
pub fn train<L: Saved>(
    plan: &Plan,
    learner: L,
    mut epoch: impl FnMut(&mut L, Epoch) -> Result<Metrics>,
) -> Result<(L, Vec<Metrics>)> {
    let (mut learner, mut curve) = resume(plan, learner)?;
    for index in curve.len()..plan.epochs {
        let started = cpu_seconds();
        let rng = seeded(plan.run.seed, &format!("{}/{index}", plan.settings));
        let mut metrics = epoch(&mut learner, Epoch { index, of: plan.epochs, rng })?;
        metrics.insert("s".into(), cpu_seconds() - started);
        let shown: Vec<_> = metrics.iter().map(|(k, v)| format!("{k} {v:.3}")).collect();
        eprintln!("{} epoch {}/{}: {}", plan.name(), index + 1, plan.epochs, shown.join(", "));
        curve.push(metrics);
        learner.save(&plan.at(curve.len()))?;
        write(&plan.mark(), &Mark { settings: plan.settings.clone(), curve: curve.clone() })?;
        remove(&plan.at(index));
    }
    Ok((learner, curve))
}

fn resume<L: Saved>(plan: &Plan, learner: L) -> Result<(L, Vec<Metrics>)> {
    let Ok(bytes) = fs::read(plan.mark()) else { return Ok((learner, vec![])) };
    let mark: Mark = serde_json::from_slice(&bytes).with_context(|| plan.mark().display().to_string())?;
    if mark.settings != plan.settings || mark.curve.len() > plan.epochs {
        return Ok((learner, vec![]));
    }
    let seconds: f64 = column(&mark.curve, "s").iter().sum();
    plan.run.restored.set(plan.run.restored.get() + seconds);
    Ok((learner.load(&plan.at(mark.curve.len()))?, mark.curve))
}

impl Plan<'_> {
    fn name(&self) -> String {
        self.stem.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn mark(&self) -> PathBuf {
        self.stem.with_file_name(format!("{}.epochs.json", self.name()))
    }

    fn at(&self, epochs: usize) -> PathBuf {
        self.stem.with_file_name(format!("{}.epoch{epochs}", self.name()))
    }
}

/// Writes JSON, whole or not at all.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, serde_json::to_vec_pretty(value)?).with_context(|| part.display().to_string())?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}

/// Removes the files of an older checkpoint; one that stays does no harm.
fn remove(stem: &Path) {
    let (Some(folder), Some(name)) = (stem.parent(), stem.file_name()) else { return };
    let prefix = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The values of `name` over the epochs that have it.
#[must_use]
pub fn column(curve: &[Metrics], name: &str) -> Vec<f64> {
    curve.iter().filter_map(|m| m.get(name)).copied().collect()
}

/// The last value of `name`; not a number where there is none.
#[must_use]
pub fn last(curve: &[Metrics], name: &str) -> f64 {
    column(curve, name).last().copied().unwrap_or(f64::NAN)
}
