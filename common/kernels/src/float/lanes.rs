//! Vectors of f32 of each instruction set.

/// A vector of f32. Its methods are only called where its instructions are known to be there.
pub(crate) trait Lanes: Copy {
    /// Numbers in it.
    const LANES: usize;
    /// Reads a vector.
    ///
    /// # Safety
    /// The instructions are there, and a vector may be read at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// The same number in every lane.
    ///
    /// # Safety
    /// The instructions are there.
    unsafe fn splat(v: f32) -> Self;
    /// `self + a * b`, rounded once.
    ///
    /// # Safety
    /// The instructions are there.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// Between `to[0]` and `to[1]`; what is no number stays so.
    ///
    /// # Safety
    /// The instructions are there.
    unsafe fn clamp(self, to: [f32; 2]) -> Self;
    /// Writes a vector.
    ///
    /// # Safety
    /// The instructions are there, and a vector may be written at `at`.
    unsafe fn store(self, at: *mut f32);
}

/// Without vector instructions that are worth naming: products are rounded before they are added.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 4]);

impl Lanes for Plain {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: by the caller's promise.
        Self(unsafe { at.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Self([v; 4])
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        let mut sum = self.0;
        for (sum, (a, b)) in sum.iter_mut().zip(a.0.iter().zip(b.0)) {
            *sum += a * b;
        }
        Self(sum)
    }

    #[inline(always)]
    unsafe fn clamp(self, [low, high]: [f32; 2]) -> Self {
        Self(self.0.map(|v| {
            let v = if v < low { low } else { v };
            if v > high { high } else { v }
        }))
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: by the caller's promise.
        unsafe { at.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
}

/// [`Lanes`] by intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($name:ident($vector:ident), $lanes:literal: $load:ident $set:ident $fma:ident $max:ident $min:ident $store:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name(std::arch::x86_64::$vector);

        impl Lanes for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(at: *const f32) -> Self {
                // SAFETY: by the caller's promise.
                Self(unsafe { std::arch::x86_64::$load(at) })
            }

            #[inline(always)]
            unsafe fn splat(v: f32) -> Self {
                // SAFETY: by the caller's promise.
                Self(unsafe { std::arch::x86_64::$set(v) })
            }

            #[inline(always)]
            unsafe fn add_product(self, a: Self, b: Self) -> Self {
                // SAFETY: by the caller's promise.
                Self(unsafe { std::arch::x86_64::$fma(a.0, b.0, self.0) })
            }

            #[inline(always)]
            unsafe fn clamp(self, [low, high]: [f32; 2]) -> Self {
                use std::arch::x86_64::{$max, $min, $set};
                // SAFETY: by the caller's promise. Of a NaN and a number the second is taken.
                Self(unsafe { $min($set(high), $max($set(low), self.0)) })
            }

            #[inline(always)]
            unsafe fn store(self, at: *mut f32) {
                // SAFETY: by the caller's promise.
                unsafe { std::arch::x86_64::$store(at, self.0) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86!(Wide(__m512), 16: _mm512_loadu_ps _mm512_set1_ps _mm512_fmadd_ps _mm512_max_ps _mm512_min_ps _mm512_storeu_ps);
#[cfg(target_arch = "x86_64")]
x86!(Middle(__m256), 8: _mm256_loadu_ps _mm256_set1_ps _mm256_fmadd_ps _mm256_max_ps _mm256_min_ps _mm256_storeu_ps);

/// NEON's four lanes, two vectors as one: 8 numbers.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(crate) struct Pair([std::arch::aarch64::float32x4_t; 2]);

#[cfg(target_arch = "aarch64")]
impl Lanes for Pair {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        use std::arch::aarch64::vld1q_f32;
        // SAFETY: by the caller's promise.
        unsafe { Self([vld1q_f32(at), vld1q_f32(at.add(4))]) }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: by the caller's promise.
        Self([unsafe { std::arch::aarch64::vdupq_n_f32(v) }; 2])
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        use std::arch::aarch64::vfmaq_f32;
        // SAFETY: by the caller's promise.
        unsafe { Self([vfmaq_f32(self.0[0], a.0[0], b.0[0]), vfmaq_f32(self.0[1], a.0[1], b.0[1])]) }
    }

    #[inline(always)]
    unsafe fn clamp(self, [low, high]: [f32; 2]) -> Self {
        use std::arch::aarch64::{vdupq_n_f32, vmaxq_f32, vminq_f32};
        // SAFETY: by the caller's promise.
        unsafe { Self(self.0.map(|v| vminq_f32(vdupq_n_f32(high), vmaxq_f32(vdupq_n_f32(low), v)))) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        use std::arch::aarch64::vst1q_f32;
        // SAFETY: by the caller's promise.
        unsafe {
            vst1q_f32(at, self.0[0]);
            vst1q_f32(at.add(4), self.0[1]);
        }
    }
}
