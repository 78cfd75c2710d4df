//! PRF streams (PROTOCOL.md, "Keys"): `key = BLAKE3.derive_key("twinmask/1 " + label, ikm)`, then a keystream under a
//! 64-bit stream id whose little-endian u32 word i, mod 2^k, is element i.
//!
//! ChaCha20 serves everywhere. AES-128-CTR is several times faster where the CPU has its instructions, and much slower and
//! leaky in time where it has not, so both sides must have them.

use aes::cipher::{KeyIvInit, StreamCipher};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::mask;

/// A PRF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ChaCha20, 64-bit block counter from 0, 64-bit stream id.
    ChaCha20,
    /// AES-128 in counter mode under key[0..16], big-endian 128-bit counter from id * 2^64.
    Aes128,
}

impl Algorithm {
    /// Name in the labels of PROTOCOL.md, "Keys".
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ChaCha20 => "chacha20",
            Self::Aes128 => "aes128",
        }
    }

    /// Algorithms that this CPU computes fast and in constant time, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        if aes_instructions() { vec![Self::Aes128, Self::ChaCha20] } else { vec![Self::ChaCha20] }
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn aes_instructions() -> bool {
    false
}

/// A PRF key; wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key {
    #[zeroize(skip)]
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Key {
    /// A ChaCha20 key: `BLAKE3.derive_key("twinmask/1 " + label, parts[0] ‖ parts[1] ‖ ...)`.
    #[must_use]
    pub fn derive(label: &str, parts: &[&[u8]]) -> Self {
        Self::derive_for(Algorithm::ChaCha20, label, parts)
    }

    fn derive_for(algorithm: Algorithm, label: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(&format!("twinmask/1 {label}"));
        for part in parts {
            hasher.update(part);
        }
        Self { algorithm, bytes: *hasher.finalize().as_bytes() }
    }

    /// Key of the masks `R` of inference `counter` in the session that `seed` belongs to; the stream id is the group.
    #[must_use]
    pub fn for_masks(algorithm: Algorithm, seed: &[u8; 32], counter: u64) -> Self {
        Self::derive_for(algorithm, &format!("R {}", algorithm.label()), &[seed, &counter.to_le_bytes()])
    }

    /// Key of the masks `T` of edge A's corrections in mode `relay`; the stream id is the layer.
    #[must_use]
    pub fn for_corrections(algorithm: Algorithm, seed: &[u8; 32], counter: u64) -> Self {
        Self::derive_for(algorithm, &format!("T {}", algorithm.label()), &[seed, &counter.to_le_bytes()])
    }

    /// The stream `id` under this key.
    #[must_use]
    pub fn stream(&self, id: u64) -> Stream {
        match self.algorithm {
            Algorithm::ChaCha20 => {
                let mut rng = ChaCha20Rng::from_seed(self.bytes);
                rng.set_stream(id);
                Stream(Source::ChaCha20(Box::new(rng)))
            }
            Algorithm::Aes128 => {
                let (key, iv) = (&self.bytes[..16], (u128::from(id) << 64).to_be_bytes());
                let cipher = Aes128Ctr::new_from_slices(key, &iv).expect("key and counter of 16 bytes");
                Stream(Source::Aes128(Box::new(cipher)))
            }
        }
    }

    /// Fills `out` with the first elements of stream `id`, uniform in `Z_2^k`.
    pub fn fill(&self, id: u64, k: u32, out: &mut [u32]) {
        self.stream(id).fill(k, out);
    }

    /// The first `n` elements of stream `id`, uniform in `Z_2^k`.
    #[must_use]
    pub fn elements(&self, id: u64, k: u32, n: usize) -> Vec<u32> {
        let mut out = vec![0; n];
        self.fill(id, k, &mut out);
        out
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Elements that are made at a time.
const PIECE: usize = 1024;

type Aes128Ctr = ctr::Ctr128BE<aes::Aes128>;

enum Source {
    ChaCha20(Box<ChaCha20Rng>),
    Aes128(Box<Aes128Ctr>),
}

/// One PRF stream, read from its start.
pub struct Stream(Source);

impl Stream {
    /// The next `out.len()` elements, uniform in `Z_2^k`.
    pub fn fill(&mut self, k: u32, out: &mut [u32]) {
        let keep = mask(k);
        // In pieces, so that a piece is still in the fastest cache when it is cut to k bits.
        for part in out.chunks_mut(PIECE) {
            self.bytes(bytemuck::cast_slice_mut(part));
            part.iter_mut().for_each(|word| *word = u32::from_le(*word) & keep);
        }
    }

    /// The next 64 bits: two words, low word first.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn bytes(&mut self, out: &mut [u8]) {
        match &mut self.0 {
            Source::ChaCha20(rng) => rng.fill_bytes(out),
            Source::Aes128(cipher) => {
                out.fill(0);
                cipher.apply_keystream(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439 A.1, test vector 1: the all-zero key, block 0 (nonce zero = stream 0).
    #[test]
    fn chacha20_is_the_published_stream() {
        let mut words = [0u32; 4];
        Key { algorithm: Algorithm::ChaCha20, bytes: [0; 32] }.fill(0, 32, &mut words);
        assert_eq!(words, [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653]);
    }

    /// FIPS 197, appendix C.1 has AES-128 of 00112233..ff; the counter block is id ‖ 0, so id 0 encrypts zeros:
    /// the first block under the all-zero key is 66e94bd4ef8a2c3b884cfa59ca342b2e (NIST KAT, VarTxt count 0's key and text).
    #[test]
    fn aes128_is_the_published_stream() {
        let mut words = [0u32; 4];
        Key { algorithm: Algorithm::Aes128, bytes: [0; 32] }.fill(0, 32, &mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "66e94bd4ef8a2c3b884cfa59ca342b2e");
    }

    #[test]
    fn vectors() {
        let mut found = String::new();
        for (algorithm, file) in [(Algorithm::ChaCha20, "prf.txt"), (Algorithm::Aes128, "prf-aes128.txt")] {
            let mut words = [0u32; 4];
            Key::for_masks(algorithm, &[7; 32], 5).fill(3, 32, &mut words);
            found += &format!("{file}\n");
            found.extend(words.iter().map(|w| format!("{w:08x}\n")));
        }
        let expected = [
            "prf.txt\n",
            include_str!("../vectors/prf.txt"),
            "prf-aes128.txt\n",
            include_str!("../vectors/prf-aes128.txt"),
        ];
        assert_eq!(found, expected.concat());
    }

    #[test]
    fn labels_parts_algorithms_and_streams_are_separate() {
        let first = |key: Key, id| {
            let mut words = [0u32; 2];
            key.fill(id, 32, &mut words);
            words
        };
        let base = || Key::for_masks(Algorithm::ChaCha20, &[1; 32], 0);
        let others = [
            first(Key::for_corrections(Algorithm::ChaCha20, &[1; 32], 0), 0),
            first(Key::for_masks(Algorithm::Aes128, &[1; 32], 0), 0),
            first(Key::for_masks(Algorithm::ChaCha20, &[2; 32], 0), 0),
            first(Key::for_masks(Algorithm::ChaCha20, &[1; 32], 1), 0),
            first(base(), 1),
        ];
        assert!(!others.contains(&first(base(), 0)));
        assert_eq!(first(base(), 0), first(base(), 0));
    }

    #[test]
    fn streams_are_the_same_in_pieces_and_cut_to_k_bits() {
        for algorithm in [Algorithm::ChaCha20, Algorithm::Aes128] {
            let key = Key::for_masks(algorithm, &[3; 32], 9);
            let (mut wide, mut narrow) = (vec![0u32; 3000], vec![0u32; 3000]);
            key.fill(9, 32, &mut wide);
            let mut stream = key.stream(9);
            stream.fill(13, &mut narrow[..1500]);
            stream.fill(13, &mut narrow[1500..]);
            assert!(wide.iter().zip(&narrow).all(|(w, n)| w & 0x1fff == *n), "{algorithm:?}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", Key::derive("x", &[])), "Key(..)");
    }
}
