//! PRF streams (PROTOCOL.md, "Keys"): `key = BLAKE3.derive_key("twinmask/1 " + label, ikm)`, then a
//! ChaCha20 stream under a 64-bit stream id whose little-endian u32 word i, mod 2^k, is element i.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::mask;

/// A PRF key; wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// `BLAKE3.derive_key("twinmask/1 " + label, parts[0] ‖ parts[1] ‖ ...)`.
    #[must_use]
    pub fn derive(label: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(&format!("twinmask/1 {label}"));
        for part in parts {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The stream `id` under this key.
    #[must_use]
    pub fn stream(&self, id: u64) -> Stream {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(id);
        Stream(rng)
    }

    /// Fills `out` with the first elements of stream `id`, uniform in `Z_2^k`.
    pub fn fill(&self, id: u64, k: u32, out: &mut [u32]) {
        self.stream(id).fill(k, out);
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The key of the masks `R` of inference `counter` in the session that `seed` belongs to; stream id is the group.
#[must_use]
pub fn mask_key(seed: &[u8; 32], counter: u64) -> Key {
    Key::derive("R chacha20", &[seed, &counter.to_le_bytes()])
}

/// One PRF stream, read from its start.
pub struct Stream(ChaCha20Rng);

impl Stream {
    /// The next `out.len()` elements, uniform in `Z_2^k`.
    pub fn fill(&mut self, k: u32, out: &mut [u32]) {
        let keep = mask(k);
        for e in out {
            *e = self.0.next_u32() & keep;
        }
    }

    /// The next 64 bits: two words, low word first.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439 A.1, test vector 1: the all-zero key, block 0 (nonce zero = stream 0).
    #[test]
    fn chacha20_is_the_published_stream() {
        let mut words = [0u32; 4];
        Key([0; 32]).fill(0, 32, &mut words);
        assert_eq!(words, [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653]);
    }

    #[test]
    fn vectors() {
        let key = Key::derive("R chacha20", &[&[7u8; 32], &5u64.to_le_bytes()]);
        let mut words = [0u32; 4];
        key.fill(3, 32, &mut words);
        let expected = include_str!("../vectors/prf.txt");
        let found: String = words.iter().map(|w| format!("{w:08x}\n")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn labels_parts_and_streams_are_separate() {
        let first = |label: &str, ikm: &[u8], id| {
            let mut words = [0u32; 2];
            Key::derive(label, &[ikm]).fill(id, 32, &mut words);
            words
        };
        let base = first("S_in", b"a", 0);
        assert_ne!(base, first("u", b"a", 0));
        assert_ne!(base, first("S_in", b"b", 0));
        assert_ne!(base, first("S_in", b"a", 1));
        assert_eq!(base, first("S_in", b"a", 0));
    }

    #[test]
    fn narrow_rings_take_the_low_bits_of_each_word() {
        let key = Key::derive("S_in", &[b"x"]);
        let (mut wide, mut narrow) = ([0u32; 100], [0u32; 100]);
        key.fill(9, 32, &mut wide);
        key.fill(9, 13, &mut narrow);
        assert!(wide.iter().zip(&narrow).all(|(w, n)| w & 0x1fff == *n));
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", Key([9; 32])), "Key(..)");
    }
}
