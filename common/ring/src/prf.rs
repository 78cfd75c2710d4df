//! PRF streams (PROTOCOL.md, "Keys"): a key, then a keystream under a 64-bit stream id whose little-endian u32 word i,
//! mod 2^k, is element i. Keys of sessions are made in [`keys`](crate::keys).
//!
//! ChaCha20 serves everywhere. AES-128-CTR is several times faster where the CPU has its instructions, and much slower
//! and leaky in time where it has not, so both sides must have them.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
    pub(crate) const fn new(algorithm: Algorithm, bytes: [u8; 32]) -> Self {
        Self { algorithm, bytes }
    }

    /// A ChaCha20 key: `BLAKE3.derive_key("twinmask/1 " + label, parts[0] ‖ parts[1] ‖ ...)`.
    #[must_use]
    pub fn derive(label: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(&format!("twinmask/1 {label}"));
        for part in parts {
            hasher.update(part);
        }
        let key = Self::new(Algorithm::ChaCha20, *hasher.finalize().as_bytes());
        hasher.zeroize();
        key
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
            Algorithm::Aes128 => Stream(Source::Aes128(Box::new(Aes128Stream::new(&self.bytes[..16], id)))),
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

enum Source {
    ChaCha20(Box<ChaCha20Rng>),
    Aes128(Box<Aes128Stream>),
}

/// One PRF stream, read from its start.
pub struct Stream(Source);

impl Stream {
    /// The next `out.len()` elements, uniform in `Z_2^k`.
    pub fn fill(&mut self, k: u32, out: &mut [u32]) {
        let keep = mask(k);
        // In pieces, so that a piece is still in the fastest cache when it is cut to k bits.
        for part in out.chunks_mut(PIECE) {
            self.words(part);
            part.iter_mut().for_each(|word| *word &= keep);
        }
    }

    /// The next 64 bits: two words, low word first.
    pub fn next_u64(&mut self) -> u64 {
        let mut words = [0; 2];
        self.words(&mut words);
        u64::from(words[1]) << 32 | u64::from(words[0])
    }

    fn words(&mut self, out: &mut [u32]) {
        match &mut self.0 {
            Source::ChaCha20(rng) => {
                rng.fill_bytes(bytemuck::cast_slice_mut(out));
                out.iter_mut().for_each(|word| *word = u32::from_le(*word));
            }
            Source::Aes128(stream) => stream.words(out),
        }
    }
}

/// AES-128 in counter mode from the counter `id * 2^64` on. The counters are written where their encryption is wanted,
/// which spares the passes of encrypting zeros.
struct Aes128Stream {
    cipher: Aes128,
    id: u64,
    /// Counter of the next block, below `id * 2^64`.
    block: u64,
    /// What is left of the last block.
    rest: Zeroizing<[u32; 4]>,
    used: usize,
}

impl Aes128Stream {
    fn new(key: &[u8], id: u64) -> Self {
        let cipher = Aes128::new_from_slice(key).expect("a key of 16 bytes");
        Self { cipher, id, block: 0, rest: Zeroizing::default(), used: 4 }
    }

    fn words(&mut self, out: &mut [u32]) {
        let (first, out) = out.split_at_mut(out.len().min(4 - self.used));
        first.copy_from_slice(&self.rest[self.used..self.used + first.len()]);
        self.used += first.len();
        let (blocks, last) = out.split_at_mut(out.len() / 4 * 4);
        self.blocks(blocks);
        if !last.is_empty() {
            let mut block = Zeroizing::new([0; 4]);
            self.blocks(&mut *block);
            last.copy_from_slice(&block[..last.len()]);
            (self.rest, self.used) = (block, last.len());
        }
    }

    /// Whole blocks.
    fn blocks(&mut self, out: &mut [u32]) {
        let id = [(self.id >> 32) as u32, self.id as u32].map(u32::to_be);
        for (block, counter) in out.chunks_exact_mut(4).zip(self.block..) {
            block.copy_from_slice(&[id[0], id[1], ((counter >> 32) as u32).to_be(), (counter as u32).to_be()]);
        }
        self.block += out.len() as u64 / 4;
        let blocks: &mut [[u8; 16]] = bytemuck::cast_slice_mut(out);
        self.cipher.encrypt_blocks(aes::Block::cast_slice_from_core_mut(blocks));
        out.iter_mut().for_each(|word| *word = u32::from_le(*word));
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

    /// FIPS 197, appendix C.1 has AES-128 of 00112233..ff; the counter block is id ‖ 0, so id 0 encrypts zeros: the
    /// first block under the all-zero key is 66e94bd4ef8a2c3b884cfa59ca342b2e (NIST KAT, VarTxt count 0's key and
    /// text).
    #[test]
    fn aes128_is_the_published_stream() {
        let mut words = [0u32; 4];
        Key { algorithm: Algorithm::Aes128, bytes: [0; 32] }.fill(0, 32, &mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "66e94bd4ef8a2c3b884cfa59ca342b2e");
    }

    #[test]
    fn labels_parts_algorithms_and_streams_are_separate() {
        let first = |key: Key, id| {
            let mut words = [0u32; 2];
            key.fill(id, 32, &mut words);
            words
        };
        let base = || Key::derive("S_in", &[&[1; 32]]);
        let others = [
            first(Key::derive("u", &[&[1; 32]]), 0),
            first(Key::derive("S_in", &[&[2; 32]]), 0),
            first(Key::derive("S_in", &[&[1; 32], &[0]]), 0),
            first(Key { algorithm: Algorithm::Aes128, bytes: base().bytes }, 0),
            first(base(), 1),
        ];
        assert!(!others.contains(&first(base(), 0)));
        assert_eq!(first(base(), 0), first(base(), 0));
    }

    #[test]
    fn streams_are_the_same_in_pieces_and_cut_to_k_bits() {
        for algorithm in [Algorithm::ChaCha20, Algorithm::Aes128] {
            let key = Key::new(algorithm, [3; 32]);
            let (mut wide, mut narrow) = (vec![0u32; 3000], vec![0u32; 3000]);
            key.fill(9, 32, &mut wide);
            let mut stream = key.stream(9);
            for part in [0..1, 1..3, 3..1500, 1500..1501, 1501..2998, 2998..3000] {
                stream.fill(13, &mut narrow[part]);
            }
            assert!(wide.iter().zip(&narrow).all(|(w, n)| w & 0x1fff == *n), "{algorithm:?}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", Key::derive("x", &[])), "Key(..)");
    }
}
