use burn::nn::loss::CrossEntropyLossConfig;
use burn::prelude::*;
use burn::tensor::Distribution;

use super::inversion::gradient;
use super::model::{flat, flat_gradients, moved};
use super::share::{add_noise, clipped, largest, length, selected, upload_bytes};
use super::*;
use crate::train::seeded;

#[test]
fn exactly_the_largest_fraction_is_kept() {
    let values: Vec<f32> = (0..250).map(|i| ((i * 37) % 251) as f32 - 125.0).collect();
    for fraction in [0.1, 0.2, 0.5, 1.0] {
        let kept = largest(&values, fraction);
        let count = kept.iter().filter(|v| **v != 0.0).count();
        assert!(count.abs_diff(selected(250, fraction)) <= 1, "one value is zero itself");
        let least = kept.iter().filter(|v| **v != 0.0).map(|v| v.abs()).fold(f32::MAX, f32::min);
        let lost = values.iter().zip(&kept).filter(|(v, k)| v != k).map(|(v, _)| v.abs()).fold(0.0, f32::max);
        assert!(least >= lost, "{fraction}: {least} {lost}");
    }
    assert_eq!(largest(&[1.0, -1.0, 1.0, 1.0], 0.5), [1.0, -1.0, 0.0, 0.0], "of equals the first, and no more");
    assert_eq!((selected(10, 0.1), selected(11, 0.1), selected(10, 0.0)), (1, 2, 0));
    assert_eq!((upload_bytes(100, 0.1), upload_bytes(100, 1.0)), (80, 400));
}

#[test]
fn clipping_bounds_the_length_and_leaves_short_ones_alone() {
    let mut long = vec![0.0; 1_000];
    add_noise(&mut long, 3.0, &mut seeded(1, "t"));
    assert!(length(&long) > 50.0);
    let short = clipped(long.clone(), 1.0);
    assert!((length(&short) - 1.0).abs() < 1e-5);
    assert!((long[7] / long[8] - short[7] / short[8]).abs() < 1e-4, "the direction stays");
    assert_eq!(clipped(vec![0.1, 0.2], 1.0), [0.1, 0.2]);
}

#[test]
fn noise_has_the_deviation_asked_for() {
    let mut values = vec![0.0; 20_000];
    add_noise(&mut values, 4.0, &mut seeded(2, "t"));
    let deviation = length(&values) / 20_000f64.sqrt();
    assert!((deviation - 4.0).abs() < 0.1, "{deviation}");
}

#[test]
fn the_accountant_gives_known_values() {
    // One Gaussian mechanism: the least of a / 2s^2 + ln(1/d) / (a - 1) over real a is 1 / 2s^2 + sqrt(2 ln(1/d)) / s.
    let (noise, delta) = (4.0, 1e-5f64);
    let least = 1.0 / (2.0 * noise * noise) + (2.0 * (1.0 / delta).ln()).sqrt() / noise;
    let found = epsilon(1.0, noise, 1, delta);
    assert!(found >= least - 1e-9 && found < least * 1.01, "{found} {least}");
    assert!(epsilon(0.01, noise, 1, delta) < found / 2.0, "chance helps");
    assert!(epsilon(1.0, noise, 10, delta) > 2.0 * found, "steps add up");
    // The usual example: 60,000 images, batches of 256, noise 1.1, 60 epochs, delta 1e-5: epsilon 3.0 (TensorFlow
    // Privacy).
    let usual = epsilon(256.0 / 60_000.0, 1.1, 60 * 60_000 / 256, 1e-5);
    assert!((2.8..3.2).contains(&usual), "{usual}");
}

#[test]
fn parameters_move_by_what_is_added() {
    let net = Model::new(Base::Cnn, &Device::flex().autodiff());
    let before = flat(&net);
    let delta: Vec<f32> = (0..before.len()).map(|i| i as f32 / 1e4).collect();
    let after = flat(&moved(net, &delta));
    assert!(after.iter().zip(&before).zip(&delta).all(|((a, b), d)| (a - b - d).abs() < 1e-4));
}

#[test]
fn gradients_written_as_tensor_operations_are_burns_own() {
    let on = Device::flex().autodiff();
    let model = Model::new(Base::Cnn, &on);
    let x = Tensor::<4>::random([1, 3, 32, 32], Distribution::Normal(0.0, 1.0), &on);
    let y = Tensor::<1, Int>::from_ints([2], &on);
    let loss = CrossEntropyLossConfig::new().init(&on).forward(model.forward(x.clone()), y);
    let own = flat_gradients(&model, loss.backward());
    let Model::Cnn(net) = model else { panic!("the other model") };
    let onehot = Tensor::<2>::from_floats([[0.0, 0.0, 1.0, 0.0]], &on);
    let written: Vec<f32> = gradient(&net, x, onehot).0.iter().flat_map(values).collect();
    let largest = own.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = own.iter().zip(&written).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(own.len() == written.len() && off < 1e-4 * largest, "{off} of {largest}");
}

fn values(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}
