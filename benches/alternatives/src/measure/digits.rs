//! MNIST as LeNet takes it.

use std::path::Path;

use anyhow::Result;

use crate::data::{Images, Part, mnist};

/// Pictures of digits with their labels.
#[derive(Debug, Clone)]
pub struct Digits(Images);

impl Digits {
    /// Channels, rows and columns of a digit.
    pub const SHAPE: [usize; 3] = [1, 28, 28];
    /// Pixels of a digit.
    pub const PIXELS: usize = 28 * 28;

    /// The 10,000 test digits below the data folder `data`.
    ///
    /// # Errors
    /// When a file is not there, or is not what it should be; the error names it.
    pub fn test(data: &Path) -> Result<Self> {
        mnist(data, Part::Test).map(Self)
    }

    /// The 60,000 training digits.
    ///
    /// # Errors
    /// As [`test`](Self::test).
    pub fn train(data: &Path) -> Result<Self> {
        mnist(data, Part::Train).map(Self)
    }

    /// The first `n` of them, or all if there are fewer.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        Self(self.0.first(n))
    }

    /// Digits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Digit `i` as the network's input: `px / 256`.
    ///
    /// # Panics
    /// If there is no such digit.
    #[must_use]
    pub fn input(&self, i: usize) -> Vec<f32> {
        self.0.image(i).iter().map(|v| (v * 255.0).round() / 256.0).collect()
    }

    /// Digit `i` as a picture, 0 to 1.
    ///
    /// # Panics
    /// If there is no such digit.
    #[must_use]
    pub fn picture(&self, i: usize) -> Vec<f32> {
        self.0.image(i).to_vec()
    }

    /// How many percent of the first digits `answers` are right about.
    #[must_use]
    pub fn percent(&self, answers: &[usize]) -> f64 {
        let right = self.0.labels.iter().zip(answers).filter(|(l, a)| l == a).count();
        100.0 * right as f64 / answers.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::folder;

    #[test]
    fn a_pixel_is_an_input_and_a_picture() {
        let Ok(digits) = Digits::test(&folder()) else { return eprintln!("skipped: no data folder") };
        let digits = digits.first(2);
        let steps = |v: Vec<f32>, step: f32| v.iter().map(|v| (v * step).round() as u8).collect::<Vec<_>>();
        assert_eq!(digits.len(), 2);
        assert_eq!(steps(digits.input(1), 256.0), steps(digits.picture(1), 255.0));
        assert!(digits.input(1).iter().all(|v| (v * 256.0).fract() == 0.0), "as the network was trained");
        // The first test digits are a seven and a two.
        assert_eq!((digits.percent(&[7, 1]), digits.percent(&[7])), (50.0, 100.0));
    }
}
