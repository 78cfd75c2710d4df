//! Trains a network of the experiment, or attacks one.

use std::cell::RefCell;

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::prelude::*;
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::signal::Signals;
use super::{Form, Layered, NAME, Variant, flipped, restored};
use crate::attack::{Rebuilt, rebuild};
use crate::classify::{BATCH, classes};
use crate::data::{Images, Part};
use crate::nets::ResNet;
use crate::train::{Learner, Metrics, Plan, Run, column, load, save, train};

/// What a training found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Learned {
    /// Mean accuracy over random draws of 100 test images, percent, and its deviation.
    pub accuracy: [f64; 2],
    /// Seconds of its epochs.
    pub seconds: f64,
    /// Loss and accuracy by epoch.
    pub curve: Vec<Metrics>,
    /// Floating point operations, parameters and values sent of the owner's part.
    pub owner_cost: [u64; 3],
}

/// What attacks on the owner's output found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attacked {
    /// Images rebuilt by a decoder.
    pub rebuilt: Rebuilt,
    /// How often a classifier guesses the signal right, percent.
    pub guessed: f64,
    /// What blind guessing gives, percent.
    pub chance: f64,
}

pub(super) fn learn(run: &Run, variant: Variant) -> Result<Value> {
    let (known, unseen) = variant.task.images(run)?;
    let on = Device::flex().autodiff();
    let net = fresh(run, variant, &known, &on)?;
    let signals = [Part::Train, Part::Test].map(|part| variant_signals(run, variant, part));
    let [own, other] = signals;
    let (own, other) = (own?, other?);
    let stem = run.stem(NAME, &variant.name());
    let epochs = variant.task.epochs(run);
    let settings = format!("{} {epochs} {} {BATCH}", variant.name(), known.len());
    let plan = Plan { run, stem: stem.clone(), epochs, settings };
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let test = unseen.first(500);
    let (learner, curve) = train(&plan, Learner::adam(net), |learner, mut epoch| {
        let rate = epoch.stepped(1e-3);
        let (mut sum, batches) = (0.0, known.batches(BATCH, &mut epoch.rng));
        for indices in &batches {
            let (x, _) = known.batch(indices, variant.task.flips().then_some(&mut epoch.rng), &on);
            let (planes, labels) = taught(&learner.net, &known, indices, own.as_ref(), &mut epoch.rng, &on);
            let loss = entropy.forward(learner.net.forward(x, planes), labels);
            sum += f64::from(loss.clone().into_scalar::<f32>());
            learner.step(rate, &mut loss.backward());
        }
        let right = right(&learner.net.valid(), &test, other.as_ref(), &mut epoch.rng);
        let accuracy = 100.0 * right.iter().filter(|r| **r).count() as f64 / test.len() as f64;
        Ok([("loss", sum / batches.len() as f64), ("accuracy", accuracy)].map(|(k, v)| (k.to_owned(), v)).into())
    })?;
    save(&learner.net, &stem)?;
    let net = learner.net.valid();
    let mut rng = run.rng(&format!("{} draws", variant.name()));
    let accuracy = draws(&right(&net, &unseen, other.as_ref(), &mut rng), &mut rng);
    let seconds = column(&curve, "s").iter().sum();
    Ok(json!(Learned { accuracy, seconds, curve, owner_cost: net.owner_cost(known.shape) }))
}

fn fresh(run: &Run, variant: Variant, images: &Images, on: &Device) -> Result<Layered> {
    let net = |cut| Layered::new(images.shape, variant.task.classes(), cut, on);
    let Some((kept, _)) = variant.signal else { return Ok(net(None)) };
    let plain = load(net(None), &run.stem(NAME, &variant.plain().name()))?;
    Ok(net(Some(kept)).preserving(&plain))
}

fn variant_signals(run: &Run, variant: Variant, part: Part) -> Result<Option<Signals>> {
    variant.signal.map(|(_, form)| Signals::new(run, form, variant.task.classes(), part)).transpose()
}

/// Signals drawn for a batch, and the answers to teach.
fn taught(
    net: &Layered,
    images: &Images,
    indices: &[usize],
    signals: Option<&Signals>,
    rng: &mut StdRng,
    on: &Device,
) -> (Option<Tensor<4>>, Tensor<1, Int>) {
    let Some(signals) = signals else { return (None, images.classes(indices, on)) };
    let drawn = signals.draw(indices.len(), rng);
    let classes = signals.classes();
    let answers = indices.iter().zip(&drawn).map(|(&i, &s)| flipped(images.labels[i], s, classes) as i32);
    let answers = TensorData::new(answers.collect(), [indices.len()]);
    let planes = signals.planes(&drawn, net.signal_size(images.shape), rng, on);
    (Some(planes), Tensor::from_data(answers, on))
}

/// For each image whether the answer, with the signal taken off, is its label.
fn right(net: &Layered, images: &Images, signals: Option<&Signals>, rng: &mut StdRng) -> Vec<bool> {
    let on = Device::flex();
    let mut all = Vec::new();
    for indices in images.in_order() {
        let (x, _) = images.batch(&indices, None, &on);
        let drawn = signals.map(|s| s.draw(indices.len(), rng));
        let planes = signals.zip(drawn.as_ref()).map(|(s, d)| s.planes(d, net.signal_size(images.shape), rng, &on));
        let answers = classes(net.forward(x, planes));
        all.extend(answers.iter().zip(&indices).enumerate().map(|(k, (&answer, &i))| {
            let found = signals.zip(drawn.as_ref()).map_or(answer, |(s, d)| restored(answer, d[k], s.classes()));
            found == images.labels[i]
        }));
    }
    all
}

/// Mean and deviation of the accuracy over 50 random draws of 100 images, as the paper tests, percent.
fn draws(right: &[bool], rng: &mut StdRng) -> [f64; 2] {
    let draw = |rng: &mut StdRng| (0..100).filter(|_| right[rng.random_range(0..right.len())]).count() as f64;
    let draws: Vec<f64> = (0..50).map(|_| draw(rng)).collect();
    let mean = draws.iter().sum::<f64>() / 50.0;
    [mean, (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 49.0).sqrt()]
}

/// The attacker is the provider, at its strongest: it has the owner's layers and images of the same kind.
pub(super) fn attack(run: &Run, variant: Variant, name: &str) -> Result<Value> {
    let (known, unseen) = variant.task.images(run)?;
    let known = known.first(run.pick(100, 4_000, 60_000));
    let on = Device::flex();
    let net = load(fresh(run, variant, &known, &on)?, &run.stem(NAME, &variant.name()))?;
    let signals = variant_signals(run, variant, Part::Train)?.context("a signal")?;
    let rng = RefCell::new(run.rng(name));
    let seen = |x: Tensor<4>, drawn: &[usize]| {
        let planes = signals.planes(drawn, net.signal_size(known.shape), &mut rng.borrow_mut(), &on);
        net.owner(x, Some(planes))
    };
    let view = |x: Tensor<4>| {
        let drawn = signals.draw(x.dims()[0], &mut rng.borrow_mut());
        seen(x, &drawn)
    };
    let stem = run.stem(NAME, name);
    let rebuilt = rebuild(run, stem.clone(), run.pick(1, 4, 30), &view, &known, &unseen)?;
    let guessed = guess(run, variant, &signals, &seen, [&known, &unseen], stem)?;
    Ok(json!(Attacked { rebuilt, guessed, chance: 100.0 / variant.task.classes() as f64 }))
}

/// A ResNet-8 learns the signal from what the provider sees; percent right on images that it has not seen.
fn guess(
    run: &Run,
    variant: Variant,
    signals: &Signals,
    seen: &dyn Fn(Tensor<4>, &[usize]) -> Tensor<4>,
    [known, unseen]: [&Images; 2],
    stem: std::path::PathBuf,
) -> Result<f64> {
    let (plain, on) = (Device::flex(), Device::flex().autodiff());
    let channels = seen(known.batch(&[0], None, &plain).0, &[0]).dims()[1];
    let net = ResNet::new(1, channels, 8, variant.task.classes(), &on);
    let stem = stem.with_file_name(format!("{}-guess", variant.name()));
    let plan =
        Plan { run, stem, epochs: run.pick(1, 3, 20), settings: format!("{} guess {}", variant.name(), known.len()) };
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let (learner, _) = train(&plan, Learner::adam(net), |learner, mut epoch| {
        let (rate, mut sum) = (epoch.stepped(2e-3), 0.0);
        for indices in known.batches(BATCH, &mut epoch.rng) {
            let drawn = signals.draw(indices.len(), &mut epoch.rng);
            let features = Tensor::from_inner(seen(known.batch(&indices, None, &plain).0, &drawn));
            let loss = entropy.forward(learner.net.forward(features), class_tensor(&drawn, &on));
            sum += f64::from(loss.clone().into_scalar::<f32>());
            learner.step(rate, &mut loss.backward());
        }
        Ok(Metrics::from([("loss".into(), sum)]))
    })?;
    let (net, mut rng, mut right) = (learner.net.valid(), run.rng("guess"), 0);
    for indices in unseen.in_order() {
        let drawn = signals.draw(indices.len(), &mut rng);
        let found = classes(net.forward(seen(unseen.batch(&indices, None, &plain).0, &drawn)));
        right += found.iter().zip(&drawn).filter(|(f, d)| f == d).count();
    }
    Ok(100.0 * right as f64 / unseen.len() as f64)
}

fn class_tensor(classes: &[usize], on: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = classes.iter().map(|&c| c as i32).collect();
    Tensor::from_data(TensorData::new(values, [classes.len()]), on)
}

/// What the rows of a report call a form.
#[must_use]
pub(super) fn form_in_words(form: Form) -> &'static str {
    match form {
        Form::Plane => "constant plane",
        Form::Digit => "resized digit",
    }
}
