//! [`Wide`] and [`Short`] as one register of AVX-512.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_loadu_si512, _mm512_mask_blend_epi16, _mm512_mullo_epi16,
    _mm512_mullo_epi32, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_sllv_epi32, _mm512_srlv_epi32,
    _mm512_storeu_si512, _mm512_sub_epi32,
};

use crate::linear::transpose::Avx512;
use crate::linear::wide::{SHORT, Short, WIDE, Wide};

/// Made by proof of AVX-512F, BW and VL only, so that each value is one.
#[derive(Clone, Copy)]
pub(crate) struct Wide512(__m512i);

/// Lanes of 16 bits in the upper half of those of 32.
const UPPER: u32 = 0xaaaa_aaaa;

impl Wide for Wide512 {
    type Isa = Avx512;
    type Short = Short512;

    #[inline(always)]
    fn read(_: Avx512, from: &[u8; 4 * WIDE]) -> Self {
        // SAFETY: the source is 64 bytes; the first argument proves the instructions.
        Self(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }

    #[inline(always)]
    fn of(_: Avx512, from: &[u32; WIDE]) -> Self {
        // SAFETY: the source is 64 bytes; the first argument proves the instructions.
        Self(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }

    #[inline(always)]
    fn write(self, to: &mut [u8; 4 * WIDE]) {
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn put(self, to: &mut [u32; WIDE]) {
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_sub_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_sllv_epi32(self.0, _mm512_set1_epi32(bits as i32)) })
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_srlv_epi32(self.0, _mm512_set1_epi32(bits as i32)) })
    }

    #[inline(always)]
    fn mul(self, factor: u32) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_mullo_epi32(self.0, _mm512_set1_epi32(factor as i32)) })
    }

    #[inline(always)]
    fn digits(self, other: Self) -> [Self; 2] {
        // SAFETY: `self` proves the instructions.
        let half = Self(unsafe { _mm512_set1_epi32(0x8000) });
        // SAFETY: `self` proves the instructions.
        let both = |low: Self, high: Self| Self(unsafe { _mm512_mask_blend_epi16(UPPER, low.0, high.0) });
        [both(self, other.shl(16)), both(self.add(half).shr(16), other.add(half))]
    }
}

/// Made by proof of AVX-512F, BW and VL only, so that each value is one.
#[derive(Clone, Copy)]
pub(crate) struct Short512(__m512i);

impl Short for Short512 {
    type Isa = Avx512;

    #[inline(always)]
    fn of(_: Avx512, from: &[i16; SHORT]) -> Self {
        // SAFETY: the source is 64 bytes; the first argument proves the instructions.
        Self(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }

    #[inline(always)]
    fn put(self, to: &mut [i16; SHORT]) {
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_add_epi16(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, factor: i16) -> Self {
        // SAFETY: `self` proves the instructions.
        Self(unsafe { _mm512_mullo_epi16(self.0, _mm512_set1_epi16(factor)) })
    }
}
