//! Training and testing a classifier on images as they are.

use anyhow::Result;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::prelude::*;

use crate::data::Images;
use crate::nets::Classifier;
use crate::train::{Learner, Metrics, Plan, train};

/// Images in one step.
pub const BATCH: usize = 50;

/// How a classifier is trained.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Mirrors half of the images, by a draw.
    pub flips: bool,
    /// Learning rate of Adam at first; see [`Epoch::stepped`](crate::train::Epoch::stepped).
    pub rate: f64,
}

/// Trains `learner` on `images`; each epoch also measures `tests`, by name, in percent.
///
/// # Errors
/// When checkpoints cannot be written or read.
pub fn fit(
    plan: &Plan,
    learner: Learner<Classifier>,
    images: &Images,
    recipe: Recipe,
    mut tests: impl FnMut(&Classifier) -> Metrics,
) -> Result<(Learner<Classifier>, Vec<Metrics>)> {
    let on = Device::flex().autodiff();
    let entropy = CrossEntropyLossConfig::new().init(&on);
    train(plan, learner, |learner, mut epoch| {
        let rate = epoch.stepped(recipe.rate);
        let (mut sum, batches) = (0.0, images.batches(BATCH, &mut epoch.rng));
        for indices in &batches {
            let (x, y) = images.batch(indices, recipe.flips.then_some(&mut epoch.rng), &on);
            let loss = entropy.forward(learner.net.forward(x), y);
            sum += f64::from(loss.clone().into_scalar::<f32>());
            learner.step(rate, &mut loss.backward());
        }
        let mut metrics = tests(&learner.net.valid());
        metrics.insert("loss".into(), sum / batches.len() as f64);
        Ok(metrics)
    })
}

/// Percent of `images` that `logits` puts first where their label is.
pub fn accuracy(images: &Images, logits: impl Fn(Tensor<4>) -> Tensor<2>) -> f64 {
    let right: usize = images
        .in_order()
        .iter()
        .map(|indices| {
            let (x, _) = images.batch(indices, None, &Device::flex());
            let found = classes(logits(x));
            found.iter().zip(indices).filter(|(f, i)| **f == images.labels[**i]).count()
        })
        .sum();
    100.0 * right as f64 / images.len().max(1) as f64
}

/// The greatest logit of each row.
#[must_use]
pub fn classes(logits: Tensor<2>) -> Vec<usize> {
    logits.argmax(1).into_data().iter::<i64>().map(|c| c as usize).collect()
}
