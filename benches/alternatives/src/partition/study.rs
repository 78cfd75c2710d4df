//! What the command line runs.

use super::*;

/// The experiment.
pub struct Study3;

impl Study for Study3 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn minutes(&self) -> u32 {
        20
    }

    fn jobs(&self, run: &Run) -> Vec<Job> {
        let jobs = Variant::all(run).into_iter().flat_map(|v| match v.signal {
            None => vec![Job::new(v.name(), &[])],
            Some(_) => {
                vec![Job::new(v.name(), &[&v.plain().name()]), Job::new(format!("{}-attack", v.name()), &[&v.name()])]
            }
        });
        jobs.collect()
    }

    fn job(&self, run: &Run, name: &str) -> Result<Value> {
        let attack = name.strip_suffix("-attack");
        let wanted = attack.unwrap_or(name);
        let variant = Variant::all(run).into_iter().find(|v| v.name() == wanted).context("a variant")?;
        if attack.is_some() { work::attack(run, variant, name) } else { work::learn(run, variant) }
    }

    fn report(&self, run: &Run, found: &mut Experiment) -> Result<()> {
        report::report(run, found)
    }
}
