//! The `packed` form of ring elements (PROTOCOL.md, "Wire"): element i is bits `[ik, ik + k)`, least
//! significant first, in `ceil(nk/8)` bytes, the padding bits zero.

use crate::mask;

/// Why packed bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The byte string is not exactly as long as the element count asks for.
    #[error("packed elements take {expected} bytes, not {found}")]
    Length {
        /// Bytes that the element count and width ask for.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// A bit behind the last element is set.
    #[error("padding bits behind the last packed element are not zero")]
    Padding,
}

/// Bytes that `n` elements of `k` bits take: `ceil(nk/8)`.
#[must_use]
pub const fn packed_len(n: usize, k: u32) -> usize {
    ((n as u64 * k as u64).div_ceil(8)) as usize
}

/// Calls `$f::<K>` for the run-time width `$k`: with K known, the eight positions of a block are constants.
macro_rules! by_width {
    ($k:expr, $f:ident($($arg:expr),*)) => {
        by_width!(@ $k, $f($($arg),*),
            2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
    };
    (@ $k:expr, $f:ident $args:tt, $($width:literal)*) => {
        match $k { $($width => $f::<$width> $args,)* other => panic!("ring width {other} out of range") }
    };
}

/// Eight elements are exactly K bytes.
const BLOCK: usize = 8;

/// Appends `elements`, each cut to its low `k` bits, to `out`.
///
/// # Panics
/// If `k` is not in 2..=32; ring widths are validated where plans are loaded.
pub fn pack(elements: &[u32], k: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + packed_len(elements.len(), k), 0);
    by_width!(k, pack_blocks(elements, &mut out[start..]));
}

fn pack_blocks<const K: usize>(elements: &[u32], out: &mut [u8]) {
    let blocks = elements.chunks_exact(BLOCK);
    let rest = blocks.remainder();
    let (whole, tail) = out.split_at_mut(elements.len() / BLOCK * K);
    for (block, out) in blocks.zip(whole.chunks_exact_mut(K)) {
        out.copy_from_slice(&pack_block::<K>(block)[..K]);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    tail.copy_from_slice(&pack_block::<K>(&last)[..tail.len()]);
}

#[inline(always)]
fn pack_block<const K: usize>(block: &[u32]) -> [u8; 32] {
    let mut words = [0u64; 5];
    for (i, element) in block.iter().enumerate().take(BLOCK) {
        let element = u64::from(element & mask(K as u32));
        let (word, shift) = (i * K / 64, i * K % 64);
        words[word] |= element << shift;
        if shift + K > 64 {
            words[word + 1] |= element >> (64 - shift);
        }
    }
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// Fills `elements` from `bytes`, the inverse of [`pack`].
///
/// # Errors
/// When `bytes` is not exactly [`packed_len`] long or its padding bits are not zero.
///
/// # Panics
/// If `k` is not in 2..=32.
pub fn unpack(bytes: &[u8], k: u32, elements: &mut [u32]) -> Result<(), PackError> {
    check(bytes, k, elements.len())?;
    by_width!(k, unpack_blocks(bytes, elements, |element, unpacked| *element = unpacked));
    Ok(())
}

/// Adds what `bytes` holds to `elements`, mod 2^32.
///
/// # Errors
/// As [`unpack`]; `elements` are then as before.
///
/// # Panics
/// If `k` is not in 2..=32.
pub fn unpack_add(bytes: &[u8], k: u32, elements: &mut [u32]) -> Result<(), PackError> {
    check(bytes, k, elements.len())?;
    by_width!(k, unpack_blocks(bytes, elements, |element, unpacked| *element = element.wrapping_add(unpacked)));
    Ok(())
}

/// Whether `bytes` hold `n` elements of `k` bits.
fn check(bytes: &[u8], k: u32, n: usize) -> Result<(), PackError> {
    let expected = packed_len(n, k);
    if bytes.len() != expected {
        return Err(PackError::Length { expected, found: bytes.len() });
    }
    let used = n as u64 * u64::from(k) % 8;
    match bytes.last() {
        Some(last) if used > 0 && last >> used != 0 => Err(PackError::Padding),
        _ => Ok(()),
    }
}

/// `put(element, unpacked)` for each element.
fn unpack_blocks<const K: usize>(bytes: &[u8], elements: &mut [u32], put: impl Fn(&mut u32, u32) + Copy) {
    let whole = elements.len() / BLOCK;
    // A block is read in words of eight bytes, the last of which reaches up to eight bytes behind it.
    let fast = whole.min(bytes.len().saturating_sub(8) / K);
    let (blocks, rest) = elements.split_at_mut(fast * BLOCK);
    for (b, out) in blocks.chunks_exact_mut(BLOCK).enumerate() {
        unpack_block::<K>(&bytes[b * K..][..K + 8], out, put);
    }
    for (b, out) in rest.chunks_mut(BLOCK).enumerate() {
        let tail = &bytes[(fast + b) * K..];
        let mut padded = [0; 40];
        let n = tail.len().min(K);
        padded[..n].copy_from_slice(&tail[..n]);
        unpack_block::<K>(&padded[..K + 8], out, put);
    }
}

#[inline(always)]
fn unpack_block<const K: usize>(bytes: &[u8], out: &mut [u32], put: impl Fn(&mut u32, u32)) {
    for (i, element) in out.iter_mut().enumerate().take(BLOCK) {
        let (byte, shift) = (i * K / 8, i * K % 8);
        let word: [u8; 8] = bytes[byte..byte + 8].try_into().expect("eight bytes");
        put(element, (u64::from_le_bytes(word) >> shift) as u32 & mask(K as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_BITS, MIN_BITS};

    /// Bit by bit, from the definition.
    fn naive(elements: &[u32], k: u32) -> Vec<u8> {
        let mut out = vec![0u8; packed_len(elements.len(), k)];
        for (i, &e) in elements.iter().enumerate() {
            for bit in 0..k as usize {
                let at = i * k as usize + bit;
                out[at / 8] |= (((e >> bit) & 1) as u8) << (at % 8);
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_definition_and_round_trips() {
        let mut state = 0x9e37_79b9u32;
        for k in MIN_BITS..=MAX_BITS {
            for n in [0usize, 1, 2, 3, 5, 7, 8, 9, 31, 32, 33, 100] {
                let elements: Vec<u32> = (0..n)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        state
                    })
                    .collect();
                let mut packed = Vec::new();
                pack(&elements, k, &mut packed);
                assert_eq!(packed, naive(&elements, k), "k={k} n={n}");
                let mut back = vec![0u32; n];
                unpack(&packed, k, &mut back).expect("own packing");
                let cut: Vec<u32> = elements.iter().map(|e| e & mask(k)).collect();
                assert_eq!(back, cut, "k={k} n={n}");
                unpack_add(&packed, k, &mut back).expect("own packing");
                let twice: Vec<u32> = cut.iter().map(|e| e.wrapping_add(*e)).collect();
                assert_eq!(back, twice, "k={k} n={n}");
            }
        }
    }

    #[test]
    fn refuses_wrong_lengths_and_padding() {
        let mut out = [0u32; 3];
        assert_eq!(unpack(&[0; 7], 20, &mut out), Err(PackError::Length { expected: 8, found: 7 }));
        assert_eq!(unpack(&[0; 9], 20, &mut out), Err(PackError::Length { expected: 8, found: 9 }));
        assert_eq!(unpack(&[0, 0, 0, 0, 0, 0, 0, 0x10], 20, &mut out), Err(PackError::Padding));
        assert_eq!(unpack(&[0, 0, 0, 0, 0, 0, 0, 0x0f], 20, &mut out), Ok(()));
        assert_eq!(unpack(&[0xff; 2], 2, &mut [0; 7]), Err(PackError::Padding));
        let mut kept = [5u32; 7];
        assert_eq!(unpack_add(&[0xff; 2], 2, &mut kept), Err(PackError::Padding));
        assert_eq!(kept, [5; 7], "left alone");
    }

    /// The vector that PROTOCOL.md and other implementations can be held against.
    #[test]
    fn known_vector() {
        let mut out = Vec::new();
        pack(&[0x1, 0xabcde, 0xfffff], 20, &mut out);
        assert_eq!(out, [0x01, 0x00, 0xe0, 0xcd, 0xab, 0xff, 0xff, 0x0f]);
    }
}
