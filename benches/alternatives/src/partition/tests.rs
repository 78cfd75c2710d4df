use burn::prelude::*;
use burn::tensor::Distribution;

use super::signal::Signals;
use super::*;
use crate::budget::Budget;
use crate::train::seeded;

fn run() -> Run {
    let none = "/nowhere".to_owned();
    Run {
        data: none.clone().into(),
        out: none.clone().into(),
        work: none.into(),
        budget: Budget::Normal,
        seed: 1,
        restored: 0.0.into(),
    }
}

#[test]
fn labels_are_flipped_and_restored() {
    for classes in [2, 10] {
        for label in 0..classes {
            let answers: Vec<_> = (0..classes).map(|s| flipped(label, s, classes)).collect();
            assert!((0..classes).all(|c| answers.contains(&c)), "every answer is possible: {answers:?}");
            assert!((0..classes).all(|s| restored(flipped(label, s, classes), s, classes) == label));
        }
    }
    assert_eq!([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(l, s)| flipped(l, s, 2)), [0, 1, 1, 0]);
}

#[test]
fn every_cut_gives_logits_and_the_owners_cost_grows() {
    let on = Device::flex();
    let x = Tensor::<4>::random([2, 3, 32, 32], Distribution::Default, &on);
    let signals = Signals::new(&run(), Form::Plane, 2, crate::data::Part::Train).expect("planes need no data");
    let mut before = 0;
    for cut in 0..5 {
        let net = Layered::new([3, 32, 32], 2, Some(cut), &on);
        let planes = signals.planes(&[0, 1], net.signal_size([3, 32, 32]), &mut seeded(1, "t"), &on);
        let seen = net.owner(x.clone(), Some(planes));
        let [flops, _, values] = net.owner_cost([3, 32, 32]);
        assert_eq!(seen.dims().iter().product::<usize>() as u64, 2 * values, "cut {cut}");
        assert_eq!(net.provider(seen).dims(), [2, 2]);
        assert!(flops > before);
        before = flops;
    }
    assert_eq!(
        Layered::new([1, 28, 28], 10, None, &on).forward(x.slice([0..2, 0..1, 0..28, 0..28]), None).dims(),
        [2, 10]
    );
}

#[test]
fn preserved_layers_stay_as_they_were() {
    let on = Device::flex();
    let plain = Layered::new([1, 28, 28], 2, None, &on);
    let kept = Layered::new([1, 28, 28], 2, Some(2), &on).preserving(&plain);
    let [_, all, _] = kept.owner_cost([1, 28, 28]);
    let [_, first, _] = plain.owner_cost([1, 28, 28]);
    assert!(all > first);
    let x = Tensor::<4>::random([1, 1, 28, 28], Distribution::Default, &on);
    let same = |net: &Layered| net.kept(x.clone(), 2).into_data();
    assert_eq!(same(&plain), same(&kept));
}

#[test]
fn a_variant_is_found_by_its_name() {
    let all = Variant::all(&run());
    for v in &all {
        assert_eq!(all.iter().filter(|o| o.name() == v.name()).count(), 1, "{}", v.name());
    }
}
