//! The same seed gives the same training.

use burn::prelude::*;
use twinmask_alternatives::attack::rebuild;
use twinmask_alternatives::budget::Budget;
use twinmask_alternatives::data::{Images, Norm};
use twinmask_alternatives::nets::{Classifier, Obfuscator, ResNet};
use twinmask_alternatives::obfuscator::{Adversary, training};
use twinmask_alternatives::train::{Run, column};

fn run(work: &std::path::Path, seed: u64) -> Run {
    let none = "/nowhere".to_owned();
    let (data, out) = (none.clone().into(), none.into());
    Run { data, out, work: work.into(), budget: Budget::Smoke, seed, restored: 0.0.into() }
}

/// Bright or dark squares.
fn images(n: usize) -> Images {
    let pixels = (0..n * 784).map(|i| ((i / 784 % 2) as f32 + (i % 28) as f32 / 28.0) / 2.0).collect();
    let norm = Norm { mean: &[0.5], std: &[0.5] };
    Images { pixels, labels: (0..n).map(|i| i % 2).collect(), shape: [1, 28, 28], norm }
}

/// Accuracy and losses by epoch of an obfuscator, and what an attacker rebuilt.
fn trained(seed: u64) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, on) = (run(folder.path(), seed), Device::flex().autodiff());
    Device::flex().seed(run.seed);
    let classifier = Classifier::ResNet(ResNet::new(1, 1, 4, 2, &on)).freeze();
    let how = Adversary { flips: false, warm: 1, epochs: 2 };
    let (known, unseen) = (images(20), images(12));
    let stem = folder.path().join("net");
    let found = training(&run, &stem, how, Obfuscator::new(1, &on), &classifier, &known, &unseen).expect("trained");
    let view = |x| found.obfuscator.forward(x);
    let rebuilt = rebuild(&run, folder.path().join("attack"), 1, &view, &known, &unseen).expect("attacked");
    let curve = &found.result.curve;
    let curves = [column(curve, "accuracy"), column(curve, "entropy"), column(curve, "mse")].concat();
    [curves, vec![rebuilt.quality.psnr_db, rebuilt.quality.ssim]].concat()
}

/// The only test here, so that nothing else draws from the device's generator meanwhile. Burn rounds sums as the memory
/// happens to lie, so that even of one process two trainings agree to some digits only.
#[test]
fn a_seed_gives_the_same_training() {
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.01 * a.abs());
    let first = trained(5);
    assert!(first.iter().all(|v| v.is_finite()), "{first:?}");
    let again = trained(5);
    assert!(near(&first, &again), "{first:?} {again:?}");
    assert!(!near(&first, &trained(6)));
}
