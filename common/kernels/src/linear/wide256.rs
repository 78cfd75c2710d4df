//! [`Wide`] and [`Short`] as two registers of AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_blend_epi16, _mm256_loadu_si256, _mm256_mullo_epi16,
    _mm256_mullo_epi32, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_sllv_epi32, _mm256_srlv_epi32,
    _mm256_storeu_si256, _mm256_sub_epi32,
};

use crate::linear::transpose256::Avx2;
use crate::linear::wide::{SHORT, Short, WIDE, Wide};

/// Made by proof of AVX2 only, so that each value is one.
#[derive(Clone, Copy)]
pub(crate) struct Wide256(__m256i, __m256i);

/// Two registers.
///
/// # Safety
/// There are 64 bytes at `from`.
#[inline(always)]
unsafe fn load(_: Avx2, from: *const __m256i) -> (__m256i, __m256i) {
    // SAFETY: the caller's; the first argument proves the instructions.
    unsafe { (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))) }
}

impl Wide256 {
    #[inline(always)]
    fn all(self, x: u32) -> __m256i {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_set1_epi32(x as i32) }
    }
}

impl Wide for Wide256 {
    type Isa = Avx2;
    type Short = Short256;

    #[inline(always)]
    fn read(isa: Avx2, from: &[u8; 4 * WIDE]) -> Self {
        // SAFETY: the source is 64 bytes.
        let (low, high) = unsafe { load(isa, from.as_ptr().cast()) };
        Self(low, high)
    }

    #[inline(always)]
    fn of(isa: Avx2, from: &[u32; WIDE]) -> Self {
        // SAFETY: the source is 64 bytes.
        let (low, high) = unsafe { load(isa, from.as_ptr().cast()) };
        Self(low, high)
    }

    #[inline(always)]
    fn write(self, to: &mut [u8; 4 * WIDE]) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe {
            _mm256_storeu_si256(to, self.0);
            _mm256_storeu_si256(to.add(1), self.1);
        }
    }

    #[inline(always)]
    fn put(self, to: &mut [u32; WIDE]) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe {
            _mm256_storeu_si256(to, self.0);
            _mm256_storeu_si256(to.add(1), self.1);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_add_epi32(self.0, other.0), _mm256_add_epi32(self.1, other.1)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_sub_epi32(self.0, other.0), _mm256_sub_epi32(self.1, other.1)) }
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        let bits = self.all(bits);
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_sllv_epi32(self.0, bits), _mm256_sllv_epi32(self.1, bits)) }
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        let bits = self.all(bits);
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_srlv_epi32(self.0, bits), _mm256_srlv_epi32(self.1, bits)) }
    }

    #[inline(always)]
    fn mul(self, factor: u32) -> Self {
        let factor = self.all(factor);
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_mullo_epi32(self.0, factor), _mm256_mullo_epi32(self.1, factor)) }
    }

    #[inline(always)]
    fn digits(self, other: Self) -> [Self; 2] {
        let half = Self(self.all(0x8000), self.all(0x8000));
        let both = |low: Self, high: Self| {
            // SAFETY: `self` proves the instructions.
            unsafe { Self(_mm256_blend_epi16::<0xaa>(low.0, high.0), _mm256_blend_epi16::<0xaa>(low.1, high.1)) }
        };
        [both(self, other.shl(16)), both(self.add(half).shr(16), other.add(half))]
    }
}

/// Made by proof of AVX2 only, so that each value is one.
#[derive(Clone, Copy)]
pub(crate) struct Short256(__m256i, __m256i);

impl Short for Short256 {
    type Isa = Avx2;

    #[inline(always)]
    fn of(isa: Avx2, from: &[i16; SHORT]) -> Self {
        // SAFETY: the source is 64 bytes.
        let (low, high) = unsafe { load(isa, from.as_ptr().cast()) };
        Self(low, high)
    }

    #[inline(always)]
    fn put(self, to: &mut [i16; SHORT]) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the destination is 64 bytes; `self` proves the instructions.
        unsafe {
            _mm256_storeu_si256(to, self.0);
            _mm256_storeu_si256(to.add(1), self.1);
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` proves the instructions.
        unsafe { Self(_mm256_add_epi16(self.0, other.0), _mm256_add_epi16(self.1, other.1)) }
    }

    #[inline(always)]
    fn mul(self, factor: i16) -> Self {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let factor = _mm256_set1_epi16(factor);
            Self(_mm256_mullo_epi16(self.0, factor), _mm256_mullo_epi16(self.1, factor))
        }
    }
}
