//! Experiment 3, complement and partition (Sun, Wu, Hwang 2019): the network is taught to flip its answer by a secret
//! signal; its first layers, where the signal enters, run on the data owner's side, the rest at the provider.
//! Training and attacks; the counting rule is in `leakage`.

mod net;
mod report;
mod signal;
pub mod study;
mod task;
mod work;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::results::Experiment;
use crate::train::{Job, Run, Study};

pub use net::Layered;
pub use signal::{Form, flipped, restored};
pub use task::Task;
pub use work::{Attacked, Learned};

/// Name of the experiment.
pub const NAME: &str = "partition";

/// A network of the experiment: its task and, but for the plain one, preserved layers and the signal's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// What it decides.
    pub task: Task,
    /// How many layers are preserved, and in what form the signal comes; `None`: no signal.
    pub signal: Option<(usize, Form)>,
}

impl Variant {
    /// All of the budget.
    #[must_use]
    pub fn all(run: &Run) -> Vec<Self> {
        let of = |task, kept: &[usize], form| {
            kept.iter().map(move |&n| Self { task, signal: Some((n, form)) }).collect::<Vec<_>>()
        };
        let plain = Task::ALL.map(|task| Self { task, signal: None });
        let whole: &[usize] = run.pick(&[0, 4], &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]);
        let some: &[usize] = run.pick(&[], &[0, 2, 4], &[0, 1, 2, 3, 4]);
        [
            plain.to_vec(),
            of(Task::Animals, whole, Form::Plane),
            of(Task::Animals, run.pick(&[], &[2], &[0, 2, 4]), Form::Digit),
            of(Task::Parity, some, Form::Plane),
            of(Task::Parity, &[2], Form::Digit),
            of(Task::Digits, run.pick(&[], &[2], &[0, 1, 2, 3, 4]), Form::Plane),
        ]
        .concat()
    }

    /// Name in jobs, `TASK-plain` or `TASK-FORM-N`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.signal {
            None => format!("{}-plain", self.task.name()),
            Some((kept, form)) => format!("{}-{}-{kept}", self.task.name(), form.name()),
        }
    }

    /// The plain network for the same task.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { signal: None, ..*self }
    }
}

#[cfg(test)]
mod tests;
