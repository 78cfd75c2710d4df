//! Experiment 4, selective gradient sharing (Bu, after Shokri and Shmatikov 2015): participants keep their images,
//! train at home, and upload a part of what they learned.

mod accountant;
mod inversion;
mod model;
mod report;
mod rounds;
mod share;
mod task;

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::classify::accuracy;
use crate::results::Experiment;
use crate::train::{Job, Learner, Metrics, Plan, Run, Study, load, save, train};

pub use accountant::epsilon;
pub use model::{Base, Model};
pub use rounds::{Day, Way};
pub use share::{clipped, largest};
pub use task::Task;

/// The experiment.
pub struct Study4;

/// Name of the experiment.
pub const NAME: &str = "gradients";

/// Images in one step.
const BATCH: usize = 25;

/// Optimizers that the initial model is trained with, and their rates.
const OPTIMIZERS: [&str; 3] = ["sgd", "rmsprop", "adam"];

/// What the training of an initial model found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Initial {
    /// Loss, training and validation accuracy by epoch.
    pub curve: Vec<Metrics>,
}

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

/// Epochs of an initial model.
fn epochs(run: &Run) -> usize {
    run.pick(2, 20, 100)
}

fn optimizer(name: &str) -> Result<(ModuleOptimizer, f64)> {
    Ok(match name {
        "sgd" => (SgdConfig::new().init(), 0.05),
        "rmsprop" => (RmsPropConfig::new().with_alpha(0.9).with_momentum(0.0).init(), 1e-3),
        "adam" => (AdamConfig::new().init(), 1e-3),
        other => anyhow::bail!("no optimizer {other}"),
    })
}

fn initial(run: &Run, base: Base, name: &str, job: &str) -> Result<Value> {
    let task = Task::new(run, base)?;
    let (optimizer, rate) = optimizer(name)?;
    let stem = run.stem(NAME, job);
    let epochs = epochs(run);
    let plan = Plan { run, stem: stem.clone(), epochs, settings: format!("{job} {epochs} {}", task.initial.len()) };
    let on = Device::flex().autodiff();
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let learner = Learner::new(Model::new(base, &on), optimizer);
    let (learner, curve) = train(&plan, learner, |learner, mut epoch| {
        let (mut sum, batches) = (0.0, task.initial.batches(BATCH, &mut epoch.rng));
        for indices in &batches {
            let (x, y) = task.initial.batch(indices, None, &on);
            let loss = entropy.forward(learner.net.forward(x), y);
            sum += f64::from(loss.clone().into_scalar::<f32>());
            learner.step(rate, &mut loss.backward());
        }
        let net = learner.net.valid();
        let [known, unseen] = [&task.initial, &task.unseen].map(|images| accuracy(images, |x| net.forward(x)));
        let metrics = [("loss", sum / batches.len() as f64), ("training", known), ("validation", unseen)];
        Ok(metrics.map(|(k, v)| (k.to_owned(), v)).into())
    })?;
    save(&learner.net, &stem)?;
    Ok(json!(Initial { curve }))
}

/// The initial model that rounds start from: Adam's.
fn started(run: &Run, base: Base, on: &Device) -> Result<Model> {
    load(Model::new(base, on), &run.stem(NAME, &format!("initial-{}-adam", base.name()))).context("the initial model")
}

#[cfg(test)]
mod tests;
