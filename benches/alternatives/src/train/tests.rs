use burn::nn::LinearConfig;
use burn::prelude::*;

use super::*;
use crate::budget::Budget;

fn run(work: &std::path::Path) -> Run {
    let none = "/nowhere".to_owned();
    Run {
        data: none.clone().into(),
        out: none.into(),
        work: work.into(),
        budget: Budget::Smoke,
        seed: 7,
        restored: 0.0.into(),
    }
}

/// A line fitted to noise; `stop` ends the training as a kill would.
fn fitted(run: &Run, epochs: usize, stop: Option<usize>) -> anyhow::Result<Vec<f64>> {
    let on = Device::flex().autodiff();
    let net = LinearConfig::new(3, 1).with_initializer(burn::nn::Initializer::Zeros).init(&on);
    let stem = run.work.join("line");
    let plan = Plan { run, stem, epochs, settings: "line".into() };
    let (_, curve) = train(&plan, Learner::adam(net), |learner, mut epoch| {
        anyhow::ensure!(stop != Some(epoch.index), "stopped");
        let x: Vec<f32> = (0..30).map(|_| rand::Rng::random_range(&mut epoch.rng, -1.0..1.0)).collect();
        let x = Tensor::<2>::from_data(TensorData::new(x, [10, 3]), &on);
        let loss = (learner.net.forward(x.clone()) - x.sum_dim(1)).square().mean();
        let value = f64::from(loss.clone().into_scalar::<f32>());
        learner.step(0.1, &mut loss.backward());
        Ok([("loss".to_owned(), value)].into())
    })?;
    Ok(column(&curve, "loss"))
}

#[test]
fn a_resumed_training_gives_what_an_uninterrupted_one_does() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let whole = fitted(&run(a.path()), 30, None).expect("trained");
    assert!(fitted(&run(b.path()), 30, Some(11)).is_err());
    let resumed = fitted(&run(b.path()), 30, None).expect("resumed");
    // Those that were kept as text differ in their last digit.
    let same = resumed.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(same && resumed[11..] == whole[11..], "{resumed:?} {whole:?}");
    assert!(whole[29] < whole[0] / 4.0, "{whole:?}");
}

#[test]
fn the_rate_falls_as_published_and_once_in_short_trainings() {
    let rate = |index, of| (Epoch { index, of, rng: seeded(1, "x") }.stepped(1.0) * 1e3).round();
    assert_eq!([0, 29, 30, 59, 60, 89, 90].map(|i| rate(i, 100)), [1e3, 1e3, 100.0, 100.0, 10.0, 10.0, 1.0]);
    assert_eq!([0, 1, 2].map(|i| rate(i, 3)), [1e3, 1e3, 100.0]);
    assert_eq!(rate(0, 1), 1e3);
}

#[test]
fn purposes_have_draws_of_their_own() {
    let draw = |seed, purpose| rand::Rng::random::<u64>(&mut seeded(seed, purpose));
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert!(draw(1, "a") != draw(1, "b") && draw(1, "a") != draw(2, "a"));
}
