//! Obfuscator against deobfuscator, through a frozen classifier (Leroux et al., section 3).

use std::path::Path;

use anyhow::Result;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::attack::Quality;
use crate::classify::{BATCH, accuracy};
use crate::data::Images;
use crate::nets::{Classifier, Obfuscator};
use crate::train::{Learner, Metrics, Plan, Run, train};

/// Weight of the reconstruction error that the obfuscator maximises, beside the cross-entropy. The paper names none.
const WEIGHT: f64 = 0.5;
const RATE: f64 = 1e-3;

/// How the two are trained.
#[derive(Debug, Clone, Copy)]
pub struct Adversary {
    /// Mirrors half of the images, by a draw.
    pub flips: bool,
    /// The first epochs, in which the obfuscator learns to give the image itself.
    pub warm: usize,
    /// All epochs.
    pub epochs: usize,
}

/// What the training found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trained {
    /// Test accuracy of the classifier behind the obfuscator, percent.
    pub accuracy: f64,
    /// What the deobfuscator that was trained along rebuilds.
    pub along: Quality,
    /// By epoch: accuracy, cross-entropy, reconstruction error.
    pub curve: Vec<Metrics>,
    /// The first test images obfuscated, as networks see them.
    pub hidden: Vec<f32>,
    /// The same, rebuilt by the deobfuscator trained along, pixels from 0 to 1.
    pub rebuilt: Vec<f32>,
}

/// The networks and what was measured.
pub struct Fight {
    /// Trained.
    pub obfuscator: Obfuscator,
    /// For the report.
    pub result: Trained,
}

/// Trains the obfuscator `start` for `classifier`, against a deobfuscator from scratch.
///
/// # Errors
/// When checkpoints cannot be written or read.
pub fn training(
    run: &Run,
    stem: &Path,
    how: Adversary,
    start: Obfuscator,
    classifier: &Classifier,
    known: &Images,
    unseen: &Images,
) -> Result<Fight> {
    let on = Device::flex().autodiff();
    let settings = format!("{} {how:?} {} {BATCH} {WEIGHT} {RATE}", stem.display(), known.len());
    let plan = Plan { run, stem: stem.to_owned(), epochs: how.epochs, settings };
    let (judge, test) = (classifier.valid(), unseen.first(300));
    let learners = (Learner::adam(start), Learner::adam(Obfuscator::new(known.shape[0], &on)));
    let ((obfuscator, deobfuscator), curve) = train(&plan, learners, |(o, d), mut epoch| {
        let (rate, warm) = (epoch.stepped(RATE), epoch.index < how.warm);
        let (mut sums, batches) = ([0.0; 2], known.batches(BATCH, &mut epoch.rng));
        let entropy = CrossEntropyLossConfig::new().init(&on);
        for indices in &batches {
            let batch = known.batch(indices, how.flips.then_some(&mut epoch.rng), &on);
            let losses = fight((o, d), classifier, &entropy, batch, rate, warm);
            sums.iter_mut().zip(losses).for_each(|(s, l)| *s += l / batches.len() as f64);
        }
        let net = o.net.valid();
        let accuracy = accuracy(&test, |x| judge.forward(net.forward(x)));
        Ok([("accuracy", accuracy), ("entropy", sums[0]), ("mse", sums[1])].map(|(k, v)| (k.to_owned(), v)).into())
    })?;
    let (o, d) = (obfuscator.net.valid(), deobfuscator.net.valid());
    let (along, mut rebuilt) = quality(unseen, |x| d.forward(o.forward(x)))?;
    rebuilt.truncate(10 * unseen.size());
    let first: Vec<_> = (0..10.min(unseen.len())).collect();
    let hidden = o.forward(unseen.batch(&first, None, &Device::flex()).0).into_data().iter::<f32>().collect();
    let accuracy = accuracy(unseen, |x| judge.forward(o.forward(x)));
    Ok(Fight { obfuscator: o, result: Trained { accuracy, along, curve, hidden, rebuilt } })
}

/// One step of both; gives cross-entropy and reconstruction error. One backward pass trains both networks: what the
/// deobfuscator sees has the obfuscator's value, and hands back its gradient times minus [`WEIGHT`].
pub fn fight(
    (o, d): (&mut Learner<Obfuscator>, &mut Learner<Obfuscator>),
    classifier: &Classifier,
    entropy: &CrossEntropyLoss,
    (x, y): (Tensor<4>, Tensor<1, Int>),
    rate: f64,
    warm: bool,
) -> [f64; 2] {
    let z = o.net.forward(x.clone());
    let loss = entropy.forward(classifier.forward(z.clone()), y);
    let same = warm.then(|| (z.clone() - x.clone()).square().mean());
    let reversed = if warm { z.detach() } else { z.clone().detach() * (1.0 + WEIGHT) - z * WEIGHT };
    let error = (d.net.forward(reversed) - x).square().mean();
    let measured = [&loss, &error].map(|t| f64::from(t.clone().into_scalar::<f32>()));
    let total = same.into_iter().fold(loss + error, |a, b| a + b);
    let mut gradients = total.backward();
    o.step(rate, &mut gradients);
    d.step(rate, &mut gradients);
    measured
}

/// Quality of what `rebuild` makes of all `images`, and its pixels.
///
/// # Errors
/// When a tensor cannot be read.
pub fn quality(images: &Images, rebuild: impl Fn(Tensor<4>) -> Tensor<4>) -> Result<(Quality, Vec<f32>)> {
    let mut pixels = Vec::new();
    for indices in images.in_order() {
        let (x, _) = images.batch(&indices, None, &Device::flex());
        pixels.extend(images.to_pixels(rebuild(x))?);
    }
    Ok((Quality::of(&pixels, &images.pixels, images.shape), pixels))
}
