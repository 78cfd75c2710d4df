//! How much is run, and the clock of what runs.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use twinmask_benches::machine::Machine;

use crate::results::Experiment;

/// Everything random comes from it.
pub const SEED: u64 = 1;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Whether it works, in seconds.
    Smoke,
    /// What is committed.
    Normal,
    /// Without limit.
    Full,
}

impl Budget {
    /// One of three numbers: for smoke, normal and full.
    #[must_use]
    pub const fn of(self, smoke: usize, normal: usize, full: usize) -> usize {
        match self {
            Self::Smoke => smoke,
            Self::Normal => normal,
            Self::Full => full,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Normal => "normal",
            Self::Full => "full",
        })
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Smoke, Self::Normal, Self::Full]
            .into_iter()
            .find(|b| b.to_string() == text)
            .ok_or_else(|| format!("'{text}' is none of smoke, normal, full"))
    }
}

/// An experiment that has found nothing yet, and its clock.
pub struct Begun {
    experiment: Experiment,
    at: Instant,
}

impl Begun {
    /// Begins the experiment `name`.
    #[must_use]
    pub fn new(name: &str, budget: Budget) -> Self {
        let experiment = Experiment {
            experiment: name.to_owned(),
            seed: SEED,
            budget: budget.to_string(),
            machine: Machine::here().line(),
            took_s: 0.0,
            rows: Vec::new(),
            tables: std::collections::BTreeMap::new(),
            pictures: std::collections::BTreeMap::new(),
            differences: Vec::new(),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_names() {
        for budget in [Budget::Smoke, Budget::Normal, Budget::Full] {
            assert_eq!(budget.to_string().parse(), Ok(budget));
        }
        assert!("much".parse::<Budget>().is_err());
    }
}
