//! The secret signal, and what it does to labels.

use anyhow::Result;
use burn::prelude::*;
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::data::{Images, Part, mnist};
use crate::train::Run;

/// What the network is taught to answer: the label moved on by the signal. Two classes: exclusive or.
#[must_use]
pub fn flipped(label: usize, signal: usize, classes: usize) -> usize {
    (label + signal) % classes
}

/// The label behind an answer, for whoever knows the signal.
#[must_use]
pub fn restored(answer: usize, signal: usize, classes: usize) -> usize {
    (answer + classes - signal % classes) % classes
}

/// In what form the signal enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A constant plane: from -1 for signal 0 to 1 for the greatest.
    Plane,
    /// A handwritten digit of that name, resized; a random one for each image.
    Digit,
}

impl Form {
    /// Name in jobs and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plane => "plane",
            Self::Digit => "digit",
        }
    }
}

/// Makes signals of one form.
pub(super) struct Signals {
    classes: usize,
    digits: Vec<Images>,
}

impl Signals {
    /// For answers of `classes`; digits are taken of `part`.
    ///
    /// # Errors
    /// When MNIST is needed and missing or wrong.
    pub(super) fn new(run: &Run, form: Form, classes: usize, part: Part) -> Result<Self> {
        let digits = match form {
            Form::Plane => vec![],
            Form::Digit => {
                let all = mnist(&run.data, part)?.first(2_000);
                (0..classes).map(|c| all.relabelled(|l| (l == c).then_some(c))).collect()
            }
        };
        Ok(Self { classes, digits })
    }

    /// How many signals there are.
    #[must_use]
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// Draws a signal for each of `n` images.
    pub(super) fn draw(&self, n: usize, rng: &mut StdRng) -> Vec<usize> {
        (0..n).map(|_| rng.random_range(0..self.classes)).collect()
    }

    /// Planes `[n, 1, rows, columns]` that carry `signals`.
    pub(super) fn planes(&self, signals: &[usize], size: [usize; 2], rng: &mut StdRng, on: &Device) -> Tensor<4> {
        let [h, w] = size;
        let values = signals.iter().flat_map(|&s| self.plane(s, size, rng)).collect();
        Tensor::from_data(TensorData::new(values, [signals.len(), 1, h, w]), on)
    }

    fn plane(&self, signal: usize, [h, w]: [usize; 2], rng: &mut StdRng) -> Vec<f32> {
        let Some(digits) = self.digits.get(signal) else {
            return vec![2.0 * signal as f32 / (self.classes - 1) as f32 - 1.0; h * w];
        };
        let image = digits.image(rng.random_range(0..digits.len()));
        (0..h * w).map(|i| 2.0 * image[i / w * 28 / h * 28 + i % w * 28 / w] - 1.0).collect()
    }
}
