//! Epsilon of differential privacy: Rényi accountant of the subsampled Gaussian mechanism (Mironov, Talwar, Zhang
//! 2019, section 3.3, whole orders; Mironov 2017, proposition 3 for the conversion).

/// Epsilon for `steps` uploads, each of a sum to which one image adds at most 1 (in units of the clipping bound),
/// with normal noise of deviation `noise`, each image taking part by chance `rate` in every step, at `delta`.
#[must_use]
pub fn epsilon(rate: f64, noise: f64, steps: usize, delta: f64) -> f64 {
    let at = |order: u32| steps as f64 * renyi(rate, noise, order) + (1.0 / delta).ln() / f64::from(order - 1);
    (2..=256).map(at).fold(f64::INFINITY, f64::min)
}

/// Rényi divergence of whole order `order` for one step.
fn renyi(rate: f64, noise: f64, order: u32) -> f64 {
    let a = f64::from(order);
    if rate >= 1.0 {
        return a / (2.0 * noise * noise);
    }
    let (mut choose, mut terms) = (0.0, Vec::new());
    for k in 0..=order {
        let k_ = f64::from(k);
        terms.push(choose + (a - k_) * (1.0 - rate).ln() + k_ * rate.ln() + k_ * (k_ - 1.0) / (2.0 * noise * noise));
        choose += ((a - k_) / (k_ + 1.0)).ln();
    }
    let most = terms.iter().copied().fold(f64::MIN, f64::max);
    (most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln()) / (a - 1.0)
}
