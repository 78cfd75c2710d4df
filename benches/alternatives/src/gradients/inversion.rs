//! Gradient inversion (Zhu et al. 2019; Geiping et al. 2020): an image is sought whose gradient is what a participant
//! uploaded. The network's gradients are written as tensor operations, so that burn, which differentiates once, gives
//! the gradient of their distance by the image.

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::activation::{softmax, tanh};
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::CLASSES;
use super::model::{KERNEL, STRIDES, Tanh};
use super::rounds::{BOUND, NOISE};
use super::share::{add_noise, clipped, largest};
use super::task::images;
use super::{Base, Model, NAME, started};
use crate::attack::Quality;
use crate::data::{Images, Part};
use crate::train::Run;

const PAD: usize = KERNEL / 2;
/// Weight of the total variation in what the attacker minimises.
const SMOOTH: f64 = 1e-3;

/// Gradients of all weights, convolutions flattened.
pub(super) struct Gradient(pub(super) Vec<Tensor<1>>);

/// Gradients of the cross-entropy by all weights for images `x` with labels `onehot` `[n, 4]`.
pub(super) fn gradient(net: &Tanh, x: Tensor<4>, onehot: Tensor<2>) -> Gradient {
    let weights: Vec<_> = net.convs.iter().map(|c| c.weight.val()).collect();
    let last = net.last.weight.val();
    let mut values = vec![x];
    for (w, s) in weights.iter().zip(STRIDES) {
        let x = values[values.len() - 1].clone();
        values.push(tanh(conv2d(x, w.clone(), None, ConvOptions::new([s, s], [PAD, PAD], [1, 1], 1))));
    }
    let top = values[3].clone();
    let (n, shape) = (top.dims()[0] as f32, top.dims());
    let flat = top.flatten::<2>(1, 3);
    let error = (softmax(flat.clone().matmul(last.clone()), 1) - onehot) / n;
    let mut found = vec![flat.transpose().matmul(error.clone()).flatten(0, 1)];
    let mut back = error.matmul(last.transpose()).reshape(shape);
    for i in (0..3).rev() {
        let (y, x, s) = (values[i + 1].clone(), values[i].clone(), STRIDES[i]);
        let inner = back * (y.square().neg() + 1.0);
        let options = ConvOptions::new([1, 1], [PAD, PAD], [s, s], 1);
        let by_weight = conv2d(x.clone().swap_dims(0, 1), inner.clone().swap_dims(0, 1), None, options);
        found.push(by_weight.slice(s![.., .., 0..KERNEL, 0..KERNEL]).swap_dims(0, 1).flatten(0, 3));
        let out = x.dims()[2] - ((inner.dims()[2] - 1) * s + KERNEL - 2 * PAD);
        let options = ConvTransposeOptions::new([s, s], [PAD, PAD], [out, out], [1, 1], 1);
        back = conv_transpose2d(inner, weights[i].clone(), None, options);
    }
    found.reverse();
    Gradient(found)
}

/// What an upload is, before the attacker sees it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Upload {
    /// The largest fraction.
    Fraction(f64),
    /// Clipped, with noise, of one image.
    Noisy,
}

impl Upload {
    const ALL: [Self; 4] = [Self::Fraction(1.0), Self::Fraction(0.2), Self::Fraction(0.1), Self::Noisy];

    /// In words.
    #[must_use]
    pub(super) fn words(self) -> String {
        match self {
            Self::Fraction(f) => format!("largest {:.0} %", 100.0 * f),
            Self::Noisy => "clipped and noised".into(),
        }
    }

    fn of(self, gradient: Vec<f32>, rng: &mut StdRng) -> Vec<f32> {
        match self {
            Self::Fraction(fraction) => largest(&gradient, fraction),
            Self::Noisy => {
                let mut sum = clipped(gradient, BOUND);
                add_noise(&mut sum, NOISE * BOUND, rng);
                sum
            }
        }
    }
}

/// What the attacker rebuilt from one kind of upload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inverted {
    /// Of what.
    pub upload: Upload,
    /// Mean over the images.
    pub quality: Quality,
    /// The images, pixels from 0 to 1.
    pub pixels: Vec<f32>,
}

/// Attacks uploads of one image each, by participants that have the initial model.
pub(super) fn inversion(run: &Run) -> Result<Value> {
    let victims = images(run, Part::Test)?.first(run.pick(1, 4, 10));
    let Model::Cnn(net) = started(run, Base::Cnn, &Device::flex())? else { anyhow::bail!("another network") };
    let steps = run.pick(10, 400, 3_000);
    let mut found = Vec::new();
    for upload in Upload::ALL {
        let mut rng = run.rng(NAME);
        let mut pixels = Vec::new();
        for i in 0..victims.len() {
            pixels.extend(inverted(&net, &victims, i, upload, steps, &mut rng)?);
        }
        let quality = Quality::of(&pixels, &victims.pixels, victims.shape);
        eprintln!("inversion of {}: {:.1} dB", upload.words(), quality.psnr_db);
        found.push(Inverted { upload, quality, pixels });
    }
    Ok(json!(found))
}

fn inverted(
    net: &Tanh,
    victims: &Images,
    i: usize,
    upload: Upload,
    steps: usize,
    rng: &mut StdRng,
) -> Result<Vec<f32>> {
    let on = Device::flex().autodiff();
    let inner = Device::flex();
    let label = onehot(victims.labels[i], &inner);
    let (x, _) = victims.batch(&[i], None, &inner);
    let true_gradient = gradient(net, x, label);
    let sizes: Vec<_> = true_gradient.0.iter().map(|g| g.dims()[0]).collect();
    let values = true_gradient.0.iter().flat_map(|g| g.to_data().iter::<f32>().collect::<Vec<_>>()).collect();
    let seen = upload.of(values, rng);
    let norm = seen.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
    let (mut targets, mut at) = (Vec::new(), 0);
    for size in sizes {
        let part: Vec<f32> = seen[at..at + size].to_vec();
        let mask: Vec<f32> = part.iter().map(|v| f32::from(*v != 0.0)).collect();
        let tensor = |v: Vec<f32>| Tensor::<1>::from_data(TensorData::new(v, [size]), &on);
        targets.push((tensor(part), tensor(mask)));
        at += size;
    }
    let net = tracked(net, &on);
    let label = onehot(victims.labels[i], &on);
    let mut guess = Guess::new([1, victims.shape[0], victims.shape[1], victims.shape[2]], rng, &inner);
    for step in 0..steps {
        let x = Tensor::from_inner(guess.x.clone()).require_grad();
        let found = gradient(&net, x.clone(), label.clone());
        // One minus the cosine, of what was sent; the attacker knows which values those are.
        let dot = |f: &dyn Fn(Tensor<1>, Tensor<1>, Tensor<1>) -> Tensor<1>| {
            let parts = found.0.iter().zip(&targets).map(|(g, (t, m))| f(g.clone(), t.clone(), m.clone()));
            parts.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([1], &on))
        };
        let along = dot(&|g, t, _| (g * t).sum());
        let length = dot(&|g, _, m| (g * m).square().sum()).add_scalar(1e-12).sqrt();
        let loss = (along / (length * norm)).neg() + variation(x.clone()) * SMOOTH;
        let Some(slope) = x.grad(&loss.backward()) else { anyhow::bail!("no gradient of the guess") };
        guess.step(slope, 0.1 * if step * 4 > steps * 3 { 0.1 } else { 1.0 });
    }
    victims.to_pixels(guess.x)
}

/// The network on a device that differentiates, not trained itself.
fn tracked(net: &Tanh, on: &Device) -> Tanh {
    let mut net = net.clone();
    for conv in &mut net.convs {
        conv.weight = burn::module::Param::from_tensor(Tensor::from_data(conv.weight.val().into_data(), on));
    }
    net.last.weight = burn::module::Param::from_tensor(Tensor::from_data(net.last.weight.val().into_data(), on));
    net.freeze()
}

fn onehot(label: usize, on: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..CLASSES).map(|c| f32::from(u8::from(c == label))).collect();
    Tensor::from_data(TensorData::new(values, [1, CLASSES]), on)
}

/// Mean difference of neighbours.
fn variation(x: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = x.dims();
    let rows = x.clone().slice(s![.., .., 1..h, ..]) - x.clone().slice(s![.., .., 0..h - 1, ..]);
    let columns = x.clone().slice(s![.., .., .., 1..w]) - x.slice(s![.., .., .., 0..w - 1]);
    rows.abs().mean() + columns.abs().mean()
}

/// The attacker's image and Adam's two means of it; steps go by the sign of the slope, as Geiping et al. do.
struct Guess {
    x: Tensor<4>,
    first: Tensor<4>,
    second: Tensor<4>,
    steps: i32,
}

impl Guess {
    fn new(shape: [usize; 4], rng: &mut StdRng, on: &Device) -> Self {
        let mut start = vec![0.0; shape.iter().product()];
        add_noise(&mut start, 0.5, rng);
        let zeros = Tensor::zeros(shape, on);
        Self { x: Tensor::from_data(TensorData::new(start, shape), on), first: zeros.clone(), second: zeros, steps: 0 }
    }

    fn step(&mut self, slope: Tensor<4>, rate: f64) {
        let slope = slope.sign();
        self.steps += 1;
        self.first = self.first.clone() * 0.9 + slope.clone() * 0.1;
        self.second = self.second.clone() * 0.999 + slope.square() * 0.001;
        let first = self.first.clone() / (1.0 - 0.9f64.powi(self.steps));
        let second = self.second.clone() / (1.0 - 0.999f64.powi(self.steps));
        let moved = self.x.clone() - first / (second.sqrt() + 1e-8) * rate;
        // Pixels lie within 0 and 1: about -2.2 to 2.7 as networks see them.
        self.x = moved.clamp(-2.2, 2.7);
    }
}
