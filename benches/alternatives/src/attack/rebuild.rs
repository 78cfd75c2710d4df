//! A decoder trained after the fact to rebuild images from what a server sees.

use std::path::PathBuf;

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::Distribution;
use serde::{Deserialize, Serialize};

use super::Quality;
use crate::data::Images;
use crate::nets::Decoder;
use crate::train::{Learner, Metrics, Plan, Run, train};

/// What a server sees of images `[n, channels, h, w]`: features `[n, channels, h, w]`. Nothing in it is trained here.
pub type View<'a> = &'a dyn Fn(Tensor<4>) -> Tensor<4>;

/// What an attacker rebuilt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rebuilt {
    /// On test images that no attacker has seen.
    pub quality: Quality,
    /// Of the attacker who always answers with the mean training image.
    pub blind: Quality,
    /// Quality by epoch.
    pub curve: Vec<Metrics>,
    /// The first test images rebuilt, pixels from 0 to 1.
    pub first: Vec<f32>,
}

/// Trains a fresh decoder on the view of `known` images and rebuilds `unseen` ones. The attacker knows images of the
/// same kind and may send them through the view: the strongest that a server with the client's weights can do.
///
/// # Errors
/// When checkpoints cannot be written.
pub fn rebuild(
    run: &Run,
    stem: PathBuf,
    epochs: usize,
    view: View,
    known: &Images,
    unseen: &Images,
) -> Result<Rebuilt> {
    let on = Device::flex().autodiff();
    let probe =
        Tensor::random([1, known.shape[0], known.shape[1], known.shape[2]], Distribution::Default, &Device::flex());
    let [_, channels, ..] = view(probe).dims();
    let decoder = Decoder::new(channels, known.shape, 32, 3, &on);
    let settings = format!("{} rebuild {epochs} {} {}", stem.display(), known.len(), unseen.len());
    let plan = Plan { run, stem, epochs, settings };
    let (learner, curve) = train(&plan, Learner::adam(decoder), |learner, mut epoch| {
        let rate = epoch.stepped(2e-3);
        let (mut sum, batches) = (0.0, known.batches(50, &mut epoch.rng));
        for indices in &batches {
            let (x, _) = known.batch(indices, None, &Device::flex());
            let seen = Tensor::from_inner(view(x.clone()));
            let loss = (learner.net.forward(seen) - Tensor::from_inner(x)).square().mean();
            sum += f64::from(loss.clone().into_scalar::<f32>());
            learner.step(rate, &mut loss.backward());
        }
        Ok(Metrics::from([("mse".into(), sum / batches.len() as f64)]))
    })?;
    let decoder = learner.net.valid();
    let mut pixels = Vec::new();
    for indices in unseen.in_order() {
        let (x, _) = unseen.batch(&indices, None, &Device::flex());
        pixels.extend(unseen.to_pixels(decoder.forward(view(x)))?);
    }
    let quality = Quality::of(&pixels, &unseen.pixels, unseen.shape);
    pixels.truncate(SHOWN * unseen.size());
    Ok(Rebuilt { quality, blind: blind(known, unseen), curve, first: pixels })
}

/// Images in a picture.
const SHOWN: usize = 10;

fn blind(known: &Images, unseen: &Images) -> Quality {
    let mut mean = vec![0.0; known.size()];
    for image in known.pixels.chunks(known.size()) {
        mean.iter_mut().zip(image).for_each(|(m, p)| *m += p / known.len() as f32);
    }
    Quality::of(&mean.repeat(unseen.len()), &unseen.pixels, unseen.shape)
}
