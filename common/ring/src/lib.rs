//! Arithmetic of the masking scheme: elements of `Z_2^k` (2 <= k <= 32), their packed form on the wire,
//! the PRF streams that masks come from, and the fixed-point step between f32 activations and integers.
//!
//! Elements are `u32` with wrapping arithmetic mod 2^32, cut to k bits where they leave the host
//! (PROTOCOL.md, "Ring and fixed point").

pub mod fixed;
pub mod keys;
pub mod pack;
pub mod prf;

/// Narrowest ring that the protocol uses, in bits.
pub const MIN_BITS: u32 = 2;
/// Widest ring that the protocol uses, in bits.
pub const MAX_BITS: u32 = 32;

/// The bit mask of `Z_2^k`: `2^k - 1`.
///
/// # Panics
/// If `k` is not in 1..=32; ring widths are validated where plans are loaded.
#[must_use]
pub const fn mask(k: u32) -> u32 {
    assert!(k >= 1 && k <= 32, "ring width out of range");
    u32::MAX >> (32 - k)
}

/// The centred representative of `v mod 2^k`: the integer in `[-2^(k-1), 2^(k-1))` congruent to `v`.
#[must_use]
#[inline]
pub const fn centre(v: u32, k: u32) -> i32 {
    let shift = 32 - k;
    ((v << shift) as i32) >> shift
}

/// The smallest k such that every integer of magnitude at most `bound` is its own centred representative
/// mod 2^k, at least [`MIN_BITS`]: `max(2, 1 + bit_length(bound))`.
#[must_use]
pub const fn width_for(bound: u64) -> u32 {
    let k = 1 + (64 - bound.leading_zeros());
    if k < MIN_BITS { MIN_BITS } else { k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centring_is_congruent_and_in_range() {
        for k in MIN_BITS..=MAX_BITS {
            let half = 1i64 << (k - 1);
            for v in [0u32, 1, 2, 3, mask(k) >> 1, (mask(k) >> 1) + 1, mask(k), u32::MAX, 0x8000_0000] {
                let c = i64::from(centre(v, k));
                assert!(c >= -half && c < half, "k={k} v={v} c={c}");
                assert_eq!((c - i64::from(v)).rem_euclid(1i64 << k), 0, "k={k} v={v}");
            }
        }
    }

    #[test]
    fn width_holds_the_bound_and_not_twice_as_much() {
        assert_eq!(width_for(0), 2);
        assert_eq!(width_for(1), 2);
        assert_eq!(width_for(2), 3);
        for bits in 2..31u32 {
            let bound = (1u64 << bits) - 1;
            let k = width_for(bound);
            assert_eq!(centre(bound as u32, k), bound as i32);
            assert_eq!(centre((bound as u32).wrapping_neg(), k), -(bound as i32));
            assert_ne!(centre(bound as u32, k - 1), bound as i32);
        }
    }
}
