//! The networks that are measured, and the plain one in f32.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use twinmask_benches::baseline::network::FloatNetwork;
use twinmask_benches::networks::zoo_file;

use super::digits::Digits;
use crate::data;

/// The network of the comparison.
pub const LENET: &str = "lenet";
/// A heavy one, for a second opinion on latency, bytes and keys: the two-edge paper's, random weights.
pub const ALEXNET: &str = "alexnet227";

/// The ONNX file of [`LENET`] or [`ALEXNET`].
///
/// # Errors
/// When it is not there or cannot be made.
pub fn onnx(name: &str) -> Result<PathBuf> {
    match name {
        LENET => data::file(&data::folder(), "models/lenet_mnist.onnx"),
        other => zoo_file(other),
    }
}

/// How many percent of the digits the plain network in f32 recognises.
///
/// # Errors
/// When the file is no network for digits.
pub fn accuracy(onnx: &Path, digits: &Digits) -> Result<f64> {
    let network = FloatNetwork::load(onnx)?;
    if (network.rounds.input_len(), network.rounds.output_len()) != (Digits::PIXELS, 10) {
        bail!("{} takes no digits", onnx.display());
    }
    let (mut values, mut scratch) = (network.rounds.values(), Default::default());
    let mut answers = Vec::with_capacity(digits.len());
    for i in 0..digits.len() {
        answers.push(best(&network.infer(&mut values, &digits.input(i), &mut scratch)?));
    }
    Ok(digits.percent(&answers))
}

/// The class with the largest output.
#[must_use]
pub fn best(logits: &[f32]) -> usize {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_network_recognises_digits() {
        let Ok(onnx) = onnx(LENET) else { return eprintln!("skipped: no data folder") };
        let digits = Digits::test(&data::folder()).expect("beside the network").first(200);
        assert!(accuracy(&onnx, &digits).expect("a network for digits") > 95.0);
    }
}
