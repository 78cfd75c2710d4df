//! Seeded normal numbers.

use twinmask_ring::prf::Key;

/// `count` normal f32 of mean 0 and standard deviation `std`, little-endian: tensor number `index` of a model.
pub(super) fn normal(key: &Key, index: u64, count: usize, std: f64) -> Vec<u8> {
    let mut stream = key.stream(index);
    let mut bytes = Vec::with_capacity(count * 4 + 4);
    while bytes.len() < count * 4 {
        let (a, b) = pair(stream.next_u64());
        bytes.extend(((a * std) as f32).to_le_bytes());
        bytes.extend(((b * std) as f32).to_le_bytes());
    }
    bytes.truncate(count * 4);
    bytes
}

/// Box-Muller on the two halves of `bits`. `libm` computes the same bits on every platform.
fn pair(bits: u64) -> (f64, f64) {
    let unit = 1.0 / 4_294_967_296.0;
    let radius = (-2.0 * libm::log(((bits >> 32) as f64 + 0.5) * unit)).sqrt();
    let (sin, cos) = libm::sincos(std::f64::consts::TAU * (f64::from(bits as u32) + 0.5) * unit);
    (radius * cos, radius * sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_a_normal_distribution() {
        let bytes = normal(&Key::derive("zoo", &[b"moments"]), 3, 1_000_001, 2.0);
        let x: Vec<f64> = bytes.as_chunks::<4>().0.iter().map(|&b| f64::from(f32::from_le_bytes(b)) / 2.0).collect();
        assert_eq!(x.len(), 1_000_001);
        let moment = |p: i32| x.iter().map(|v| v.powi(p)).sum::<f64>() / x.len() as f64;
        // Five standard errors of each.
        assert!(moment(1).abs() < 0.005 && (moment(2) - 1.0).abs() < 0.0075, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.05, "{} {}", moment(3), moment(4));
    }
}
