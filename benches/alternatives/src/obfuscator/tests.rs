use burn::nn::loss::CrossEntropyLossConfig;
use burn::prelude::*;

use super::study::Study1;
use super::*;
use crate::nets::ResNet;

#[test]
fn losses_of_both_fall() {
    let on = Device::flex().autodiff();
    let classifier = Classifier::ResNet(ResNet::new(1, 1, 4, 10, &on)).freeze();
    let x = Tensor::<4>::random([8, 1, 28, 28], burn::tensor::Distribution::Normal(0.0, 1.0), &on);
    let y = Tensor::<1, Int>::from_ints([0, 1, 2, 3, 4, 5, 6, 7], &on);
    let mut o = Learner::adam(Obfuscator::new(1, &on));
    let mut d = Learner::adam(Obfuscator::new(1, &on));
    let entropy = CrossEntropyLossConfig::new().init(&on);
    let mut step = |warm| fight((&mut o, &mut d), &classifier, &entropy, (x.clone(), y.clone()), 3e-3, warm);
    let before = step(true);
    let after = (0..12).map(|_| step(true)).last().expect("steps");
    assert!(after[0] < before[0] && after[1] < before[1], "{before:?} {after:?}");
    let later = (0..8).map(|_| step(false)).last().expect("steps");
    assert!(later.iter().all(|l| l.is_finite()), "{later:?}");
}

#[test]
fn jobs_need_what_comes_before_them() {
    let run = crate::train::Run {
        data: "/nowhere".into(),
        out: "/nowhere".into(),
        work: "/nowhere".into(),
        budget: crate::budget::Budget::Normal,
        seed: 1,
        restored: 0.0.into(),
    };
    let jobs = Study1.jobs(&run);
    for (i, job) in jobs.iter().enumerate() {
        assert!(job.needs.iter().all(|n| jobs[..i].iter().any(|j| j.name == *n)), "{job:?}");
    }
    let error = format!("{:#}", Study1.job(&run, "mnist-classifier-cnn").expect_err("no data"));
    assert!(error.contains("TWINMASK_DATA"), "{error}");
}
