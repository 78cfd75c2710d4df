//! The device's elementwise loops over the ring: safe Rust, compiled once for the baseline and once for each wider
//! instruction set, chosen at run time. Results are the same to the bit whatever is chosen.

use twinmask_ring::centre;
use twinmask_ring::fixed::{NotFinite, Scale};

/// Instruction sets that the loops are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The widest that this CPU has.
fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if wide {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

#[cfg(test)]
thread_local!(static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) });

fn level() -> Level {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced.min(detected());
    }
    detected()
}

const LIMB: u64 = (1 << 21) - 1;

/// Terms of [`dot`].
pub const MOST_TERMS: usize = 1 << 10;

macro_rules! by_level {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => { $(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            #[allow(clippy::too_many_arguments, reason = "slices of one loop")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
            match level() {
                // SAFETY: `level` is no higher than `detected`, so the CPU has avx512f, avx512bw, avx512dq and
                // avx512vl.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: `level` is no higher than `detected`, so the CPU has avx2.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2($($arg),*) },
                Level::Baseline => body($($arg),*),
            }
        }
    )* };
}

by_level! {
    /// `b = a - b`. Slices of one length.
    pub fn subtract_from(a: &[u32], b: &mut [u32]) {
        b.iter_mut().zip(a).for_each(|(b, &a)| *b = a.wrapping_sub(*b));
    }

    /// `b = a + b`. Slices of one length.
    pub fn add_to(a: &[u32], b: &mut [u32]) {
        b.iter_mut().zip(a).for_each(|(b, &a)| *b = a.wrapping_add(*b));
    }

    /// `v = x + d`, cut to the bits of `keep`; whether every x is in `low..=high`. Slices of one length.
    pub fn mask(x: &[i32], d: &[u32], keep: u32, low: i32, high: i32, v: &mut [u32]) -> bool {
        let mut outside = 0;
        for ((v, &x), &d) in v.iter_mut().zip(x).zip(d) {
            outside |= i32::from(x < low) | i32::from(x > high);
            *v = (x as u32).wrapping_add(d) & keep;
        }
        outside == 0
    }

    /// `y = (a + b) * 2^f - s + 2^f - 1`, centred mod 2^k. Slices of one length.
    pub fn unmask_pair(a: &[u32], b: &[u32], s: &[u32], k: u32, f: u32, y: &mut [i32]) {
        let half = (1u32 << f) - 1;
        for (((y, &a), &b), &s) in y.iter_mut().zip(a).zip(b).zip(s) {
            *y = centre((a.wrapping_add(b) << f).wrapping_sub(s).wrapping_add(half), k);
        }
    }

    /// `y = z * 2^f - u + 2^(f-1)` (no last term without dropped bits), centred mod 2^k. Slices of one length.
    pub fn unmask_sum(z: &[u32], u: &[u32], k: u32, f: u32, y: &mut [i32]) {
        let half = (1u32 << f) >> 1;
        for ((y, &z), &u) in y.iter_mut().zip(z).zip(u) {
            *y = centre((z << f).wrapping_sub(u).wrapping_add(half), k);
        }
    }

    /// [`Scale::of`].
    ///
    /// # Errors
    /// [`NotFinite`] when `x` holds NaN or infinity.
    pub fn scale_of(x: &[f32], bits: u32, signed: bool) -> Result<Scale, NotFinite> {
        Scale::of(x, bits, signed)
    }

    /// [`Scale::quantize`]. Slices of one length.
    pub fn quantize(x: &[f32], scale: Scale, out: &mut [i32]) {
        scale.quantize(x, out);
    }

    /// `out = max(y * factor + shift, low)`. Slices of one length.
    pub fn rescale(y: &[i32], factor: f32, shift: f32, low: f32, out: &mut [f32]) {
        for (out, &y) in out.iter_mut().zip(y) {
            let v = y as f32 * factor + shift;
            *out = if v < low { low } else { v };
        }
    }

    /// `out[i] = max(y[i] * (step * factors[i]) + shifts[i], low)`. Slices of one length.
    pub fn rescale_each(y: &[i32], step: f32, factors: &[f32], shifts: &[f32], low: f32, out: &mut [f32]) {
        for (((out, &y), &factor), &shift) in out.iter_mut().zip(y).zip(factors).zip(shifts) {
            let v = y as f32 * (step * factor) + shift;
            *out = if v < low { low } else { v };
        }
    }

    /// `sum a[i] * v[i]` exactly, for `a[i] < 2^63` and up to [`MOST_TERMS`] terms: its parts in steps of 21 bits. The
    /// limbs of a, 21 bits each, make products of 52 bits, which vector instructions multiply and 64 bits add up.
    pub fn dot(a: &[u64], v: &[i32]) -> [i64; 3] {
        let mut sums = [0i64; 3];
        for (&a, &v) in a.iter().zip(v) {
            let v = i64::from(v);
            sums[0] += (a & LIMB) as i64 * v;
            sums[1] += ((a >> 21) & LIMB) as i64 * v;
            sums[2] += (a >> 42) as i64 * v;
        }
        sums
    }

    /// The largest of `|v|`.
    pub fn largest(v: &[i32]) -> u32 {
        v.iter().fold(0, |m, v| m.max(v.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests;
