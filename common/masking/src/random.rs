//! Operating-system randomness.

use ring::rand::{SecureRandom, SystemRandom};

/// Fills `out` from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give; nothing safe can be done then.
pub(crate) fn fill(out: &mut [u8]) {
    SystemRandom::new().fill(out).expect("the operating system provides randomness");
}

/// `n` numbers, number i below `bounds(i)`, nearly uniform (bias below 2^-32 for bounds below 2^32).
pub(crate) fn below(n: usize, bounds: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut bytes = vec![0u8; n * 8];
    fill(&mut bytes);
    let pick = |(i, b): (usize, &[u8])| {
        let word = u64::from_le_bytes(b.try_into().expect("chunks of eight bytes"));
        ((u128::from(word) * u128::from(bounds(i))) >> 64) as usize
    };
    bytes.chunks_exact(8).enumerate().map(pick).collect()
}
