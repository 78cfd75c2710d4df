//! Daily rounds: each participant trains at home on its own images and uploads what its way of sharing allows; the
//! server adds the mean of the uploads to the model.

use anyhow::Result;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::SgdConfig;
use burn::prelude::*;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::{flat, flat_gradients, moved};
use super::share::{add_noise, clipped, largest, upload_bytes};
use super::{BATCH, Base, Model, NAME, Task, epsilon, started};
use crate::classify::accuracy;
use crate::data::Images;
use crate::train::{Learner, Run};

/// Rate of the local training.
const RATE: f64 = 0.03;
/// Clipping bound of one image's gradient, and the noise's deviation in bounds.
pub(super) const BOUND: f64 = 1.0;
pub(super) const NOISE: f64 = 4.0;
/// Rate of the steps with noise: one a day, on the sum over all images of a participant, divided by their number.
const NOISY_RATE: f64 = 0.5;
/// Chance that epsilon does not hold.
pub(super) const DELTA: f64 = 1e-3;

/// A way of sharing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Way {
    /// Nothing: the initial model.
    None,
    /// The largest fraction of what changed.
    Fraction(f64),
    /// All, each image's gradient clipped, with noise.
    Noisy,
    /// Images themselves: one training on all of them.
    Central,
}

impl Way {
    /// All that are compared.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Fraction(0.1), Self::Fraction(0.2), Self::Fraction(1.0), Self::Noisy, Self::Central];

    /// In words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::None => "no update".into(),
            Self::Fraction(f) => format!("largest {:.0} %", 100.0 * f),
            Self::Noisy => "clipped and noised".into(),
            Self::Central => "centralised".into(),
        }
    }
}

/// What one way gave.
#[derive(Debug, Serialize, Deserialize)]
pub struct Day {
    /// Which.
    pub way: Way,
    /// Validation accuracy after each day, percent.
    pub curve: Vec<f64>,
    /// Bytes that one participant uploads a day; for the centralised one, its images once, as 8-bit pixels.
    pub upload_bytes: usize,
    /// Epsilon after all days, at [`DELTA`].
    pub epsilon: Option<f64>,
}

pub(super) fn rounds(run: &Run, base: Base) -> Result<Value> {
    let task = Task::new(run, base)?;
    let days = run.pick(2, 10, 40);
    let on = Device::flex().autodiff();
    let net = started(run, base, &on)?;
    let parameters = flat(&net).len();
    let mut found = Vec::new();
    for way in Way::ALL {
        // The same draws for all: what differs is the sharing.
        let mut rng = run.rng(&format!("{NAME} {}", base.name()));
        let mut net = net.clone();
        let mut curve = vec![validation(&net, &task)];
        for _ in 0..days {
            net = day(net, way, &task, &mut rng)?;
            curve.push(validation(&net, &task));
        }
        eprintln!("{} {}: {:.1} %", base.name(), way.words(), curve[curve.len() - 1]);
        let upload_bytes = match way {
            Way::None => 0,
            Way::Fraction(f) => upload_bytes(parameters, f),
            Way::Noisy => 4 * parameters,
            Way::Central => task.shares[0].len() * 3 * 32 * 32,
        };
        let epsilon = (way == Way::Noisy).then(|| epsilon(1.0, NOISE, days, DELTA));
        found.push(Day { way, curve, upload_bytes, epsilon });
    }
    Ok(json!(found))
}

fn validation(net: &Model, task: &Task) -> f64 {
    let net = net.valid();
    accuracy(&task.unseen, |x| net.forward(x))
}

fn day(net: Model, way: Way, task: &Task, rng: &mut StdRng) -> Result<Model> {
    if way == Way::None {
        return Ok(net);
    }
    if way == Way::Central {
        let whole = task.whole();
        return Ok(at_home(net, &whole, rng));
    }
    let before = flat(&net);
    let mut mean = vec![0.0; before.len()];
    for share in &task.shares {
        let upload = match way {
            Way::Fraction(fraction) => {
                let after = flat(&at_home(net.clone(), share, rng));
                let change: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
                largest(&change, fraction)
            }
            _ => noisy(&net, share, rng),
        };
        mean.iter_mut().zip(upload).for_each(|(m, u)| *m += u / task.shares.len() as f32);
    }
    Ok(moved(net, &mean))
}

/// One epoch of SGD.
fn at_home(net: Model, images: &Images, rng: &mut StdRng) -> Model {
    let on = Device::flex().autodiff();
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let mut learner = Learner::new(net, SgdConfig::new().init());
    for indices in images.batches(BATCH, rng) {
        let (x, y) = images.batch(&indices, None, &on);
        let loss = entropy.forward(learner.net.forward(x), y);
        learner.step(RATE, &mut loss.backward());
    }
    learner.net
}

/// Minus the mean of all images' clipped gradients with noise, times the rate.
fn noisy(net: &Model, images: &Images, rng: &mut StdRng) -> Vec<f32> {
    let on = Device::flex().autodiff();
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let mut sum: Vec<f32> = Vec::new();
    for i in 0..images.len() {
        let (x, y) = images.batch(&[i], None, &on);
        let gradient = flat_gradients(net, entropy.forward(net.forward(x), y).backward());
        let gradient = clipped(gradient, BOUND);
        sum.resize(gradient.len(), 0.0);
        sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g);
    }
    add_noise(&mut sum, NOISE * BOUND, rng);
    let scale = -(NOISY_RATE / images.len() as f64) as f32;
    sum.into_iter().map(|s| s * scale).collect()
}
