//! Experiment 1, the obfuscator network (Leroux, Verbelen, Simoens, Dhoedt 2018): on the device a network makes of
//! the image one that a frozen classifier still recognises and nobody else should.

mod adversary;
mod report;
pub mod study;
mod targets;

use anyhow::{Context, Result};
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::attack::{Quality, rebuild};
use crate::classify::{BATCH, Recipe, accuracy, fit};
use crate::data::Images;
use crate::export::Graph;
use crate::nets::{Classifier, Obfuscator};
use crate::results::Experiment;
use crate::train::{Job, Learner, Plan, Run, Study, load, save};

pub use adversary::{Adversary, Trained, fight, quality, training};
pub use report::standing;
pub use targets::{Set, Target};

/// Name of the experiment.
pub const NAME: &str = "obfuscator";

fn jobs_of(set: Set, run: &Run) -> Vec<Job> {
    let (mut jobs, mut all) = (Vec::new(), Vec::new());
    for target in set.targets(run) {
        let name = |kind: &str| format!("{}-{kind}-{}", set.name(), target.name());
        let (classifier, obfuscator) = (name("classifier"), name("obfuscator"));
        jobs.push(Job::new(&classifier, &[]));
        jobs.push(Job::new(&obfuscator, &[&classifier]));
        jobs.push(Job::new(name("attack"), &[&obfuscator]));
        all.extend([classifier, obfuscator]);
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    jobs.push(Job::new(format!("{}-transfer-all", set.name()), &all));
    jobs
}

/// What a classifier's job found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plain {
    /// Accuracy on test images, percent.
    pub accuracy: f64,
    /// Floating point operations, two for each multiply-accumulate.
    pub flops: u64,
    /// Trained parameters.
    pub parameters: u64,
}

fn classifier(run: &Run, set: Set, target: Target, name: &str) -> Result<Value> {
    let (known, unseen) = set.images(run)?;
    let on = Device::flex().autodiff();
    let net = target.net(set, run, &on)?;
    let stem = run.stem(NAME, name);
    let epochs = if target.is_stored() { 0 } else { set.classifier_epochs(run) };
    let settings = format!("{name} {epochs} {} {BATCH}", known.len());
    let plan = Plan { run, stem: stem.clone(), epochs, settings };
    let recipe = Recipe { flips: set.flips(), rate: 2e-3 };
    let test = unseen.first(500);
    let (learner, _) = fit(&plan, Learner::adam(net), &known, recipe, |net| {
        [("accuracy".to_owned(), accuracy(&test, |x| net.forward(x)))].into()
    })?;
    save(&learner.net, &stem)?;
    let net = learner.net.valid();
    let (mut graph, x) = Graph::new(known.shape);
    let logits = net.describe(&mut graph, &x);
    graph.write(&logits, &stem.with_extension("onnx"))?;
    let accuracy = accuracy(&unseen, |x| net.forward(x));
    Ok(json!(Plain { accuracy, flops: graph.flops(), parameters: graph.parameters }))
}

/// The trained, frozen classifier of an earlier job.
pub fn trained(run: &Run, set: Set, target: Target, on: &Device) -> Result<Classifier> {
    let stem = run.stem(NAME, &format!("{}-classifier-{}", set.name(), target.name()));
    Ok(load(target.net(set, run, on)?, &stem)?.freeze())
}

fn obfuscator(run: &Run, set: Set, target: Target, name: &str) -> Result<Value> {
    let (known, unseen) = set.images(run)?;
    let on = Device::flex().autodiff();
    let stem = run.stem(NAME, name);
    let plan = Adversary { flips: set.flips(), warm: set.warm_epochs(run), epochs: set.obfuscator_epochs(run) };
    let start = Obfuscator::new(set.channels(), &on);
    let found = training(run, &stem, plan, start, &trained(run, set, target, &on)?, &known, &unseen)?;
    save(&found.obfuscator, &stem)?;
    Ok(json!(found.result))
}

fn obfuscators(run: &Run, set: Set, target: Target) -> Result<Obfuscator> {
    let stem = run.stem(NAME, &format!("{}-obfuscator-{}", set.name(), target.name()));
    load(Obfuscator::new(set.channels(), &Device::flex()), &stem)
}

fn attack(run: &Run, set: Set, target: Target, name: &str) -> Result<Value> {
    let (known, unseen) = set.images(run)?;
    let obfuscator = obfuscators(run, set, target)?;
    let known = known.first(run.pick(100, 4_000, 60_000));
    let epochs = run.pick(1, set.attack_epochs(), 50);
    let view = |x| obfuscator.forward(x);
    Ok(json!(rebuild(run, run.stem(NAME, name), epochs, &view, &known, &unseen)?))
}

/// Accuracy in percent of each classifier (columns) behind each obfuscator (rows).
type Matrix = Vec<Vec<f64>>;

fn transfer(run: &Run, set: Set) -> Result<Value> {
    let (_, unseen) = set.images(run)?;
    let on = Device::flex();
    let targets = set.targets(run);
    let nets = targets.iter().map(|&t| trained(run, set, t, &on)).collect::<Result<Vec<_>>>()?;
    let row = |&target: &Target| -> Result<Vec<f64>> {
        let hidden = hidden(&obfuscators(run, set, target)?, &unseen)?;
        Ok(nets.iter().map(|net| accuracy(&hidden, |x| net.forward(x))).collect())
    };
    Ok(json!(targets.iter().map(row).collect::<Result<Matrix>>()?))
}

/// The images as the obfuscator gives them: networks see these as they are.
fn hidden(obfuscator: &Obfuscator, images: &Images) -> Result<Images> {
    let mut pixels = Vec::new();
    for indices in images.in_order() {
        let (x, _) = images.batch(&indices, None, &Device::flex());
        pixels.extend(obfuscator.forward(x).into_data().iter::<f32>());
    }
    let norm = match images.norm.mean.len() {
        1 => crate::data::Norm { mean: &[0.0], std: &[1.0] },
        _ => crate::data::Norm { mean: &[0.0; 3], std: &[1.0; 3] },
    };
    Ok(Images { pixels, norm, ..images.clone() })
}

/// Quality of a picture that is compared in a report.
#[must_use]
pub fn shown(quality: &Quality) -> String {
    format!("{:.1} dB, SSIM {:.2}", quality.psnr_db, quality.ssim)
}

#[cfg(test)]
mod tests;
