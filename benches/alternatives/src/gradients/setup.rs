//! What all parts of it share.

use super::*;

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::classify::accuracy;
use crate::train::{Learner, Metrics, Plan, Run, load, save, train};

/// Images in one step.
pub(crate) const BATCH: usize = 25;

/// Optimizers that the initial model is trained with, and their rates.
pub(crate) const OPTIMIZERS: [&str; 3] = ["sgd", "rmsprop", "adam"];

/// What the training of an initial model found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Initial {
    /// Loss, training and validation accuracy by epoch.
    pub curve: Vec<Metrics>,
}

/// Epochs of an initial model.
pub(crate) fn epochs(run: &Run) -> usize {
    run.pick(2, 20, 100)
}

pub(crate) fn optimizer(name: &str) -> Result<(ModuleOptimizer, f64)> {
    Ok(match name {
        "sgd" => (SgdConfig::new().init(), 0.05),
        "rmsprop" => (RmsPropConfig::new().with_alpha(0.9).with_momentum(0.0).init(), 1e-3),
        "adam" => (AdamConfig::new().init(), 1e-3),
        other => anyhow::bail!("no optimizer {other}"),
    })
}

pub(crate) fn initial(run: &Run, base: Base, name: &str, job: &str) -> Result<Value> {
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
pub(crate) fn started(run: &Run, base: Base, on: &Device) -> Result<Model> {
    load(Model::new(base, on), &run.stem(NAME, &format!("initial-{}-adam", base.name()))).context("the initial model")
}
