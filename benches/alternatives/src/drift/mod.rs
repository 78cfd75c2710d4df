//! Experiment 2, obfuscation under a changing model (Hoefer, Salinas Monroy): an obfuscator is trained for one
//! classifier; the classifier is trained on, with all data, and the obfuscator is not told.

mod report;
pub mod study;

use anyhow::Result;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::attack::rebuild;
use crate::classify::{Recipe, accuracy, fit};
use crate::data::{Images, Part, cifar};
use crate::nets::{Classifier, Obfuscator, ResNet};
use crate::obfuscator::{Adversary, training};
use crate::results::Experiment;
use crate::train::{Job, Learner, Metrics, Plan, Run, Study, load, save};

/// Name of the experiment.
pub const NAME: &str = "drift";

/// What a training of the classifier found: `plain` and, when there is an obfuscator, `obfuscated` accuracy by epoch,
/// percent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Classified {
    /// By epoch.
    pub curve: Vec<Metrics>,
    /// Plain accuracy on all test images.
    pub plain: f64,
    /// Accuracy behind the old obfuscator on all test images.
    pub obfuscated: Option<f64>,
}

fn images(run: &Run) -> Result<(Images, Images)> {
    let known = cifar(&run.data, Part::Train)?.first(run.pick(200, 4_000, 4_000));
    Ok((known, cifar(&run.data, Part::Test)?.first(run.pick(100, 1_000, 1_000))))
}

/// Epochs of the classifier before and after the update, of the obfuscator (and of them as an auto-encoder), of the
/// renewed one.
fn epochs(run: &Run) -> [usize; 5] {
    run.pick([1, 2, 1, 0, 1], [15, 10, 12, 3, 6], [60, 60, 100, 0, 100])
}

fn fresh(on: &Device) -> Classifier {
    Classifier::ResNet(ResNet::new(1, 3, 16, 10, on))
}

/// The obfuscator that was trained before the update.
fn old(run: &Run, on: &Device) -> Result<Obfuscator> {
    load(Obfuscator::new(3, on), &run.stem(NAME, "obfuscator"))
}

fn classifier(
    run: &Run,
    name: &str,
    net: Classifier,
    known: &Images,
    unseen: &Images,
    obfuscator: Option<&Obfuscator>,
) -> Result<Value> {
    let [before, after, ..] = epochs(run);
    let updated = obfuscator.is_some();
    let epochs = if updated { after } else { before };
    let stem = run.stem(NAME, name);
    let plan = Plan { run, stem: stem.clone(), epochs, settings: format!("{name} {epochs} {}", known.len()) };
    // The update goes on gently from where the first training ended.
    let recipe = Recipe { flips: updated, rate: if updated { 1e-3 } else { 2e-3 } };
    let plain = |net: &Classifier, images: &Images| accuracy(images, |x| net.forward(x));
    let hidden =
        |net: &Classifier, images: &Images| obfuscator.map(|o| accuracy(images, |x| net.forward(o.forward(x))));
    let test = unseen.first(500);
    let (learner, curve) = fit(&plan, Learner::adam(net), known, recipe, |net| {
        let mut metrics = Metrics::from([("plain".into(), plain(net, &test))]);
        metrics.extend(hidden(net, &test).map(|a| ("obfuscated".into(), a)));
        metrics
    })?;
    save(&learner.net, &stem)?;
    let net = learner.net.valid();
    Ok(json!(Classified { curve, plain: plain(&net, unseen), obfuscated: hidden(&net, unseen) }))
}

/// A fresh attacker against the obfuscator as it was before the update.
fn attack(run: &Run, known: &Images, unseen: &Images) -> Result<Value> {
    let obfuscator = old(run, &Device::flex())?;
    let view = |x| obfuscator.forward(x);
    Ok(json!(rebuild(run, run.stem(NAME, "attack"), run.pick(1, 6, 50), &view, known, unseen)?))
}

fn obfuscator(
    run: &Run,
    name: &str,
    classifier: &str,
    known: &Images,
    unseen: &Images,
    start: Option<Obfuscator>,
) -> Result<Value> {
    let [_, _, first, warm, again] = epochs(run);
    let on = Device::flex().autodiff();
    let net = load(fresh(&on), &run.stem(NAME, classifier))?.freeze();
    let how = match start {
        None => Adversary { flips: false, warm, epochs: first },
        Some(_) => Adversary { flips: true, warm: 0, epochs: again },
    };
    let stem = run.stem(NAME, name);
    let start = start.unwrap_or_else(|| Obfuscator::new(3, &on));
    let found = training(run, &stem, how, start, &net, known, unseen)?;
    save(&found.obfuscator, &stem)?;
    Ok(json!(found.result))
}
