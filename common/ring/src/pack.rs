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

/// Appends `elements`, each cut to its low `k` bits, to `out`.
pub fn pack(elements: &[u32], k: u32, out: &mut Vec<u8>) {
    let keep = u64::from(mask(k));
    out.reserve(packed_len(elements.len(), k));
    let (mut acc, mut filled) = (0u64, 0u32);
    for &e in elements {
        acc |= (u64::from(e) & keep) << filled;
        filled += k;
        if filled >= 32 {
            out.extend_from_slice(&(acc as u32).to_le_bytes());
            acc >>= 32;
            filled -= 32;
        }
    }
    let tail = filled.div_ceil(8) as usize;
    out.extend_from_slice(&acc.to_le_bytes()[..tail]);
}

/// Fills `elements` from `bytes`, the inverse of [`pack`].
///
/// # Errors
/// When `bytes` is not exactly [`packed_len`] long or its padding bits are not zero.
pub fn unpack(bytes: &[u8], k: u32, elements: &mut [u32]) -> Result<(), PackError> {
    let expected = packed_len(elements.len(), k);
    if bytes.len() != expected {
        return Err(PackError::Length { expected, found: bytes.len() });
    }
    let keep = u64::from(mask(k));
    let mut words = bytes.chunks_exact(4);
    let (mut acc, mut filled) = (0u64, 0u32);
    let mut tail = words.remainder().iter();
    for e in elements.iter_mut() {
        while filled < k {
            if let Some(word) = words.next() {
                acc |= u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])) << filled;
                filled += 32;
            } else {
                acc |= u64::from(*tail.next().expect("the length was checked above")) << filled;
                filled += 8;
            }
        }
        *e = (acc & keep) as u32;
        acc >>= k;
        filled -= k;
    }
    if acc != 0 { Err(PackError::Padding) } else { Ok(()) }
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
    }

    /// The vector that PROTOCOL.md and other implementations can be held against.
    #[test]
    fn known_vector() {
        let mut out = Vec::new();
        pack(&[0x1, 0xabcde, 0xfffff], 20, &mut out);
        assert_eq!(out, [0x01, 0x00, 0xe0, 0xcd, 0xab, 0xff, 0xff, 0x0f]);
    }
}
