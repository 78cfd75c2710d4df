//! The clock of what runs.

use std::time::Instant;

use twinmask_benches::machine::Machine;

use crate::budget::Budget;
use crate::report;
use crate::results::Experiment;

/// Everything random comes from it.
pub const SEED: u64 = 1;

/// An experiment that has found nothing yet, and its clock.
pub struct Begun {
    experiment: Experiment,
    at: Instant,
}

impl Begun {
    /// Begins the experiment `name`.
    #[must_use]
    pub fn new(name: &str, budget: Budget) -> Self {
        let experiment = report::empty(name, SEED, budget, Machine::here().line(), 0.0);
        Self { experiment, at: Instant::now() }
    }

    /// What is found goes in here.
    pub const fn found(&mut self) -> &mut Experiment {
        &mut self.experiment
    }

    /// The experiment with the time that it took.
    #[must_use]
    pub fn done(mut self) -> Experiment {
        self.experiment.took_s = (self.at.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        self.experiment
    }
}
