//! Fixed point with the dynamic scale (PROTOCOL.md, "Ring and fixed point"): the device sees the plaintext
//! activation, so each tensor is scaled by its own largest magnitude. The scale never leaves the device.

/// Below this magnitude a tensor counts as zero: its integers are 0 and its scale 1.
pub const TINY: f32 = 7.888_609e-31; // 2^-100

/// An activation holds NaN or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("element {index} of {len} is not finite")]
pub struct NotFinite {
    /// Position of the first such element.
    pub index: usize,
    /// Length of the tensor.
    pub len: usize,
}

/// Largest magnitude of an integer activation of `bits` magnitude bits: `2^bits - 1`.
#[must_use]
pub const fn x_max(bits: u32) -> i32 {
    assert!(bits >= 1 && bits <= 15, "activation bits out of range");
    (1 << bits) - 1
}

/// How one tensor is quantized: `clamp(round_ties_even(x * (x_max / m)))` with `m = max|x|`, into `[-x_max, x_max]` if
/// signed, else `[0, x_max]`. It is as secret as the tensor.
#[derive(Clone, Copy, PartialEq)]
pub struct Scale {
    factor: f32,
    low: i32,
    high: i32,
    step: f32,
}

impl Scale {
    /// The scale of the tensor `x` with integers of `bits` magnitude bits; all of them are 0, and a step is worth 1, if
    /// the largest magnitude is under [`TINY`].
    ///
    /// # Errors
    /// [`NotFinite`] when `x` holds NaN or infinity.
    #[inline(always)] // so that callers compile it for wider instruction sets
    pub fn of(x: &[f32], bits: u32, signed: bool) -> Result<Self, NotFinite> {
        let m = max_magnitude(x)?;
        let high = x_max(bits);
        let low = if signed { -high } else { 0 };
        let (factor, step) = if m < TINY { (0.0, 1.0) } else { (high as f32 / m, m / high as f32) };
        Ok(Self { factor, low, high, step })
    }

    /// The scale that makes 0 of every element, also of one that is not finite.
    #[must_use]
    pub const fn zero() -> Self {
        Self { factor: 0.0, low: 0, high: 0, step: 1.0 }
    }

    /// What one integer step is worth: `m / x_max`.
    #[must_use]
    pub const fn step(&self) -> f32 {
        self.step
    }

    /// The integers of a piece of the tensor that this is the scale of. Slices of one length.
    #[inline(always)]
    pub fn quantize(&self, x: &[f32], out: &mut [i32]) {
        for (q, &v) in out.iter_mut().zip(x) {
            *q = round_small(v * self.factor).clamp(self.low, self.high);
        }
    }
}

impl std::fmt::Debug for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scale(..)")
    }
}

/// `v` rounded to the nearest integer, ties to even, for |v| <= 2^22: adding 1.5 * 2^23 leaves no fraction bits, so the
/// addition itself rounds. `round_ties_even` is a library call where the CPU's baseline has no rounding instruction.
#[must_use]
#[inline]
pub fn round_small(v: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (v + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32
}

/// `max|x|`, or the first element that is not finite.
#[inline(always)]
fn max_magnitude(x: &[f32]) -> Result<f32, NotFinite> {
    // On the bit patterns, so that NaN and infinity sort above every finite value and the loop vectorises.
    let bits = x.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    let m = f32::from_bits(bits);
    if m.is_finite() {
        return Ok(m);
    }
    let index = x.iter().position(|v| !v.is_finite()).unwrap_or(0);
    Err(NotFinite { index, len: x.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(x: &[f32], bits: u32, signed: bool) -> (Vec<i32>, f32) {
        let mut out = vec![99; x.len()];
        let scale = Scale::of(x, bits, signed).expect("finite");
        scale.quantize(x, &mut out);
        (out, scale.step())
    }

    #[test]
    fn vectors() {
        assert_eq!(q(&[1.0, -1.0, 0.5, 0.0], 3, true), (vec![7, -7, 4, 0], 1.0 / 7.0));
        assert_eq!(q(&[1.0, -1.0, 0.5, 0.0], 3, false), (vec![7, 0, 4, 0], 1.0 / 7.0));
        // Ties go to even: 0.5 * 1 = 0.5 -> 0, 1.5 -> 2, 2.5 -> 2.
        assert_eq!(q(&[7.0, 0.5, 1.5, 2.5], 3, true).0, vec![7, 0, 2, 2]);
    }

    #[test]
    fn the_zero_scale_makes_zeros_of_everything() {
        let mut out = [7; 5];
        Scale::zero().quantize(&[1.5, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &mut out);
        assert_eq!((out, Scale::zero().step()), ([0; 5], 1.0));
    }

    #[test]
    fn small_rounding_is_rounding() {
        for bits in (0..=0x4a80_0000u32).step_by(997) {
            for v in [f32::from_bits(bits), -f32::from_bits(bits)] {
                assert_eq!(round_small(v), v.round_ties_even() as i32, "{v}");
            }
        }
        for i in -40_000..40_000 {
            let v = i as f32 / 2.0;
            assert_eq!(round_small(v), v.round_ties_even() as i32, "{v}");
        }
    }

    #[test]
    fn tiny_tensors_are_zero_with_scale_one() {
        assert_eq!(TINY, 2f32.powi(-100));
        assert_eq!(q(&[0.0, -0.0], 8, true), (vec![0, 0], 1.0));
        assert_eq!(q(&[1e-31], 8, true), (vec![0], 1.0));
        let (ints, scale) = q(&[1e-30], 8, true);
        assert_eq!(ints, vec![255]);
        assert!(scale > 0.0);
    }

    #[test]
    fn extremes_stay_in_range() {
        for bits in 1..=15 {
            let (ints, scale) = q(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE], bits, true);
            assert_eq!(ints, vec![x_max(bits), -x_max(bits), 0]);
            assert!(scale.is_finite());
        }
    }

    #[test]
    fn not_finite_is_named() {
        assert_eq!(Scale::of(&[1.0, f32::NAN, 2.0], 8, true), Err(NotFinite { index: 1, len: 3 }));
        assert_eq!(Scale::of(&[1.0, 2.0, f32::NEG_INFINITY], 8, true), Err(NotFinite { index: 2, len: 3 }));
    }
}
