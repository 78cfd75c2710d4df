//! [`Wide`] and [`Short`] as four registers of NEON, which every aarch64 CPU has.

use std::arch::aarch64::{
    int16x8_t, uint32x4_t, vaddq_s16, vaddq_u32, vbslq_u32, vdupq_n_s32, vdupq_n_u32, vld1q_s16, vld1q_u8, vld1q_u32,
    vmulq_n_s16, vmulq_n_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8, vshlq_u32, vst1q_s16, vst1q_u8, vst1q_u32,
    vsubq_u32,
};

use crate::linear::transpose128;
use crate::linear::wide::{SHORT, Short, WIDE, Wide};

/// Elements.
#[derive(Clone, Copy)]
pub(crate) struct Wide128([uint32x4_t; 4]);

impl Wide128 {
    #[inline(always)]
    fn with(self, other: Self, of: impl Fn(uint32x4_t, uint32x4_t) -> uint32x4_t) -> Self {
        let (a, b) = (self.0, other.0);
        Self([of(a[0], b[0]), of(a[1], b[1]), of(a[2], b[2]), of(a[3], b[3])])
    }

    /// Times 2^`bits`, or divided by 2^`-bits`, down.
    #[inline(always)]
    fn shifted(self, bits: i32) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        self.with(self, |x, _| unsafe { vshlq_u32(x, vdupq_n_s32(bits)) })
    }
}

impl Wide for Wide128 {
    type Isa = ();
    type Short = Short128;

    #[inline(always)]
    fn read((): (), from: &[u8; 4 * WIDE]) -> Self {
        // SAFETY: the source is 64 bytes, and every aarch64 CPU has NEON.
        let quarter = |i: usize| unsafe { vreinterpretq_u32_u8(vld1q_u8(from.as_ptr().add(16 * i))) };
        Self([quarter(0), quarter(1), quarter(2), quarter(3)])
    }

    #[inline(always)]
    fn of((): (), from: &[u32; WIDE]) -> Self {
        // SAFETY: the source is 16 elements, and every aarch64 CPU has NEON.
        let quarter = |i: usize| unsafe { vld1q_u32(from.as_ptr().add(4 * i)) };
        Self([quarter(0), quarter(1), quarter(2), quarter(3)])
    }

    #[inline(always)]
    fn write(self, to: &mut [u8; 4 * WIDE]) {
        for (i, of) in self.0.into_iter().enumerate() {
            // SAFETY: the destination is 64 bytes, and every aarch64 CPU has NEON.
            unsafe { vst1q_u8(to.as_mut_ptr().add(16 * i), vreinterpretq_u8_u32(of)) };
        }
    }

    #[inline(always)]
    fn put(self, to: &mut [u32; WIDE]) {
        for (i, of) in self.0.into_iter().enumerate() {
            // SAFETY: the destination is 16 elements, and every aarch64 CPU has NEON.
            unsafe { vst1q_u32(to.as_mut_ptr().add(4 * i), of) };
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        self.with(other, |x, y| unsafe { vaddq_u32(x, y) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        self.with(other, |x, y| unsafe { vsubq_u32(x, y) })
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        self.shifted(bits as i32)
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        self.shifted(-(bits as i32))
    }

    #[inline(always)]
    fn mul(self, factor: u32) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        self.with(self, |x, _| unsafe { vmulq_n_u32(x, factor) })
    }

    #[inline(always)]
    fn digits(self, other: Self) -> [Self; 2] {
        // SAFETY: every aarch64 CPU has NEON.
        let all = |x: u32| Self([unsafe { vdupq_n_u32(x) }; 4]);
        // SAFETY: every aarch64 CPU has NEON.
        let both = |low: Self, high: Self| low.with(high, |x, y| unsafe { vbslq_u32(all(0xffff).0[0], x, y) });
        let half = all(0x8000);
        [both(self, other.shl(16)), both(self.add(half).shr(16), other.add(half))]
    }

    #[inline(always)]
    fn bytes(of: [Self; 4]) -> [[u8; 4 * WIDE]; 4] {
        let mut planes = [[0; 4 * WIDE]; 4];
        for q in 0..4 {
            // SAFETY: every aarch64 CPU has NEON.
            let quarters = unsafe { transpose128::bytes([of[0].0[q], of[1].0[q], of[2].0[q], of[3].0[q]]) };
            for (plane, quarter) in planes.iter_mut().zip(quarters) {
                // SAFETY: the destination is 64 bytes, and every aarch64 CPU has NEON.
                unsafe { vst1q_u8(plane.as_mut_ptr().add(16 * q), vreinterpretq_u8_u32(quarter)) };
            }
        }
        planes
    }
}

/// Weights.
#[derive(Clone, Copy)]
pub(crate) struct Short128([int16x8_t; 4]);

impl Short for Short128 {
    type Isa = ();

    #[inline(always)]
    fn of((): (), from: &[i16; SHORT]) -> Self {
        // SAFETY: the source is 32 weights, and every aarch64 CPU has NEON.
        let quarter = |i: usize| unsafe { vld1q_s16(from.as_ptr().add(8 * i)) };
        Self([quarter(0), quarter(1), quarter(2), quarter(3)])
    }

    #[inline(always)]
    fn put(self, to: &mut [i16; SHORT]) {
        for (i, of) in self.0.into_iter().enumerate() {
            // SAFETY: the destination is 32 weights, and every aarch64 CPU has NEON.
            unsafe { vst1q_s16(to.as_mut_ptr().add(8 * i), of) };
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        // SAFETY: every aarch64 CPU has NEON.
        let sum = |i: usize| unsafe { vaddq_s16(a[i], b[i]) };
        Self([sum(0), sum(1), sum(2), sum(3)])
    }

    #[inline(always)]
    fn mul(self, factor: i16) -> Self {
        // SAFETY: every aarch64 CPU has NEON.
        Self(self.0.map(|x| unsafe { vmulq_n_s16(x, factor) }))
    }
}
