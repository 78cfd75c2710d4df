//! What the command line runs.

use super::*;

/// The experiment.
pub struct Study2;

impl Study for Study2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn minutes(&self) -> u32 {
        20
    }

    fn jobs(&self, _: &Run) -> Vec<Job> {
        vec![
            Job::new("classifier", &[]),
            Job::new("obfuscator", &["classifier"]),
            Job::new("attack", &["obfuscator"]),
            Job::new("update", &["obfuscator"]),
            Job::new("renewed", &["update"]),
        ]
    }

    fn job(&self, run: &Run, name: &str) -> Result<Value> {
        let (known, unseen) = images(run)?;
        let half = known.first(known.len() / 2);
        let on = Device::flex().autodiff();
        match name {
            "classifier" => classifier(run, name, fresh(&on), &half, &unseen, None),
            "update" => {
                let net = load(fresh(&on), &run.stem(NAME, "classifier"))?;
                let obfuscator = old(run, &Device::flex())?;
                classifier(run, name, net, &known, &unseen, Some(&obfuscator))
            }
            "attack" => attack(run, &half, &unseen),
            "obfuscator" => obfuscator(run, name, "classifier", &half, &unseen, None),
            _ => obfuscator(run, name, "update", &known, &unseen, Some(old(run, &on)?)),
        }
    }

    fn report(&self, run: &Run, found: &mut Experiment) -> Result<()> {
        report::report(run, found)
    }
}
