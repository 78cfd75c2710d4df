//! What of its gradients a participant uploads.

use rand::Rng;
use rand::rngs::StdRng;

/// The `fraction` of values that are largest by magnitude: exactly that many (rounded up), the rest zero. Of equals
/// the first.
#[must_use]
pub fn largest(values: &[f32], fraction: f64) -> Vec<f32> {
    let count = selected(values.len(), fraction);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
    let mut kept = vec![0.0; values.len()];
    order[..count].iter().for_each(|&i| kept[i] = values[i]);
    kept
}

/// How many values are uploaded of `n`.
#[must_use]
pub(super) fn selected(n: usize, fraction: f64) -> usize {
    ((n as f64 * fraction - 1e-9).ceil() as usize).min(n)
}

/// Bytes of an upload: float32 values, and a 32-bit index for each unless all are sent.
#[must_use]
pub(super) fn upload_bytes(n: usize, fraction: f64) -> usize {
    selected(n, fraction) * if fraction < 1.0 { 8 } else { 4 }
}

/// `values` shortened to the Euclidean length `bound` if they are longer.
#[must_use]
pub fn clipped(mut values: Vec<f32>, bound: f64) -> Vec<f32> {
    let length = length(&values);
    if length > bound {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * bound / length) as f32);
    }
    values
}

/// Euclidean length.
#[must_use]
pub(super) fn length(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Adds normal noise of `deviation` to each value (Box and Muller).
pub(super) fn add_noise(values: &mut [f32], deviation: f64, rng: &mut StdRng) {
    for value in values {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        *value += (deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
    }
}
