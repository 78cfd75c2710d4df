//! Seeded numbers: the same label always gives the same.

use twinmask_ring::prf::Key;

/// `n` elements, uniform below 2^`k`.
#[must_use]
pub fn uniform(label: &str, n: usize, k: u32) -> Vec<u32> {
    Key::derive("test", &[label.as_bytes()]).elements(0, k, n)
}

/// `n` weights of eight bits, nearly uniform from -127 to 127.
#[must_use]
pub fn weights(label: &str, n: usize) -> Vec<i16> {
    uniform(label, n, 32).into_iter().map(|w| (w % 255) as i16 - 127).collect()
}

/// `n` numbers, uniform in [-1, 1).
#[must_use]
pub fn numbers(label: &str, n: usize) -> Vec<f32> {
    let words = Key::derive("system tests", &[label.as_bytes()]).elements(0, 24, n);
    words.into_iter().map(|w| w as f32 / (1 << 23) as f32 - 1.0).collect()
}
