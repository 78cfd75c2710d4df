//! What the command line runs.

use super::*;
use crate::results::Experiment;
use crate::train::{Job, Run, Study};
use anyhow::Result;
use serde_json::Value;

/// The experiment.
pub struct Study4;

impl Study for Study4 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn minutes(&self) -> u32 {
        15
    }

    fn jobs(&self, _: &Run) -> Vec<Job> {
        let mut jobs = vec![Job::new("features", &[])];
        for base in Base::ALL {
            let initial = |o: &str| format!("initial-{}-{o}", base.name());
            jobs.extend(OPTIMIZERS.map(|o| Job::new(initial(o), &["features"])));
            jobs.push(Job::new(format!("rounds-{}", base.name()), &[&initial("adam")]));
        }
        jobs.push(Job::new("inversion", &["initial-cnn-adam"]));
        jobs
    }

    fn job(&self, run: &Run, name: &str) -> Result<Value> {
        let words: Vec<_> = name.split('-').collect();
        let base = words.get(1).and_then(|w| Base::named(w));
        match (words[0], base) {
            ("features", _) => task::features(run),
            ("initial", Some(base)) => initial(run, base, words.get(2).copied().unwrap_or_default(), name),
            ("rounds", Some(base)) => rounds::rounds(run, base),
            ("inversion", _) => inversion::inversion(run),
            _ => Err(anyhow::anyhow!("no job {name}")),
        }
    }

    fn report(&self, run: &Run, found: &mut Experiment) -> Result<()> {
        report::report(run, found)
    }
}
