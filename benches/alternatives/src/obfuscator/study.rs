//! What the command line runs.

use super::*;

/// The experiment.
pub struct Study1;

impl Study for Study1 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn minutes(&self) -> u32 {
        45
    }

    fn jobs(&self, run: &Run) -> Vec<Job> {
        Set::ALL.into_iter().flat_map(|set| jobs_of(set, run)).collect()
    }

    fn job(&self, run: &Run, name: &str) -> Result<Value> {
        let mut words = name.splitn(3, '-');
        let (set, kind) = (words.next().and_then(Set::named).context("a data set")?, words.next().unwrap_or_default());
        let target = words.next().and_then(Target::named);
        match (kind, target) {
            ("classifier", Some(target)) => classifier(run, set, target, name),
            ("obfuscator", Some(target)) => obfuscator(run, set, target, name),
            ("attack", Some(target)) => attack(run, set, target, name),
            _ => transfer(run, set),
        }
    }

    fn report(&self, run: &Run, found: &mut Experiment) -> Result<()> {
        report::report(run, found)
    }
}
