//! NEON with instructions for bytes: dot products of four (`sdot`, "dotprod") or 2x8 by 8x2 matrices (`smmla`, "i8mm").
//! Both multiply signed bytes and are exact mod 2^32, so shares and wide weights are cut into signed bytes
//! ([`SignedBytes`](crate::linear::planes::SignedBytes)). Their intrinsics are not stable yet, hence `asm!`.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s16, vaddq_s32, vcombine_s8, vdup_n_s8, vdupq_n_s8, vdupq_n_s16, vdupq_n_s32,
    veorq_s16, vld1_s8, vld1q_dup_s32, vld1q_s8, vld1q_s16, vreinterpretq_s8_s16, vreinterpretq_s8_s32,
    vreinterpretq_s32_s64, vreinterpretq_s64_s32, vshlq_n_s32, vst1q_s8, vst1q_s32, vuzp1q_s8, vuzp1q_s64, vuzp2q_s8,
    vuzp2q_s64,
};
use std::arch::{asm, is_aarch64_feature_detected};
use std::marker::PhantomData;

use crate::linear::direct::{Micro, Tile};
use crate::linear::layout::{LANES, Row};
use crate::linear::runs;
use crate::linear::transpose128;

/// Most rows of sums in a tile: digits times pixels. They take 24 of the 32 registers.
const ROWS: usize = 6;
/// Sums by row, digit after digit and pixel after pixel in each, in quarters of a block's lanes.
type Rows = [[int32x4_t; 4]; ROWS];

/// A packed weight: one signed byte, or two of which the second counts 256.
pub(crate) trait Weight: Copy + Default + Send + Sync + 'static {
    /// How many.
    const BYTES: usize;

    /// The largest weight.
    const LARGEST: i16;

    /// A weight that is not arranged yet.
    fn narrow(weight: i16) -> Self;

    /// Cuts weights into bytes, the first ones of every 16 before their second ones.
    fn arrange(weights: &mut [Self]);

    /// The first bytes of 16 weights, and the second ones.
    fn load(weights: &[Self; 16]) -> [int8x16_t; 2];
}

impl Weight for i8 {
    const BYTES: usize = 1;
    const LARGEST: i16 = 0x7f;

    fn narrow(weight: i16) -> Self {
        weight as Self
    }

    fn arrange(_: &mut [Self]) {}

    #[inline]
    fn load(weights: &[Self; 16]) -> [int8x16_t; 2] {
        // SAFETY: the source is an array of 16 bytes, and every aarch64 CPU has NEON.
        unsafe { [vld1q_s8(weights.as_ptr()), vdupq_n_s8(0)] }
    }
}

impl Weight for i16 {
    const BYTES: usize = 2;
    const LARGEST: i16 = 0x7f7f;

    fn narrow(weight: i16) -> Self {
        weight
    }

    fn arrange(weights: &mut [Self]) {
        for sixteen in weights.as_chunks_mut::<16>().0 {
            let at = sixteen.as_mut_ptr();
            // SAFETY: source and destination are 16 weights, and every aarch64 CPU has NEON.
            unsafe {
                let half = vdupq_n_s16(0x80);
                let cut = |x| vreinterpretq_s8_s16(veorq_s16(vaddq_s16(x, half), half));
                let (left, right) = (cut(vld1q_s16(at)), cut(vld1q_s16(at.add(8))));
                vst1q_s8(at.cast(), vuzp1q_s8(left, right));
                vst1q_s8(at.add(8).cast(), vuzp2q_s8(left, right));
            }
        }
    }

    #[inline]
    fn load(weights: &[Self; 16]) -> [int8x16_t; 2] {
        let bytes = weights.as_ptr().cast::<i8>();
        // SAFETY: the source is an array of 32 bytes, and every aarch64 CPU has NEON.
        unsafe { [vld1q_s8(bytes), vld1q_s8(bytes.add(16))] }
    }
}

/// Byte planes by `sdot`; a value proves that the CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct DotPlanes<W>(PhantomData<W>);

/// Byte planes by `smmla`; a value proves that the CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct MatrixPlanes<W>(PhantomData<W>);

impl<W> DotPlanes<W> {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(PhantomData))
    }
}

impl<W> MatrixPlanes<W> {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("i8mm").then_some(Self(PhantomData))
    }
}

/// A [`Micro`] in units of `$unit` bytes, by `$sums`.
macro_rules! micro {
    ($name:ident, $unit:literal, $sums:ident) => {
        impl<W: Weight> Micro for $name<W> {
            type Weight = W;
            const ELEMENT: usize = 1;
            const UNIT: usize = $unit;
            const LARGEST: i16 = W::LARGEST;

            fn narrow(weight: i16) -> W {
                W::narrow(weight)
            }

            fn arrange(packed: &mut [W]) {
                W::arrange(packed);
            }

            fn tile_size(self, planes: usize, _: usize) -> (usize, usize) {
                (1, ROWS / planes)
            }

            fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
                transpose128::split_bytes(row, planes, out);
            }

            fn turn(self, row: &Row<'_>, out: &mut [u8]) {
                transpose128::split_whole(row, out);
            }

            fn tile(self, tile: &Tile<'_, W>, _: usize, pixels: usize, out: &mut [[u32; LANES]]) {
                // SAFETY: `self` proves that the CPU has the instruction.
                unsafe {
                    match (tile.planes(), pixels) {
                        (1, 1) => $sums::<W, 1, 1>(tile, out),
                        (1, _) => $sums::<W, 1, 6>(tile, out),
                        (2, 1) => $sums::<W, 2, 1>(tile, out),
                        (2, _) => $sums::<W, 2, 3>(tile, out),
                        (3, 1) => $sums::<W, 3, 1>(tile, out),
                        (3, _) => $sums::<W, 3, 2>(tile, out),
                        _ => $sums::<W, 4, 1>(tile, out),
                    }
                }
            }

            fn store(
                self,
                sums: &[[u32; LANES]],
                step: usize,
                channels: usize,
                y: &mut [u32],
                stride: usize,
                count: usize,
            ) {
                transpose128::store(sums, step, channels, y, stride, count);
            }
        }
    };
}

micro!(DotPlanes, 4, dot_sums);
micro!(MatrixPlanes, 8, matrix_sums);

/// `D` digits by `P` pixels: four units of a pixel are read at once, and multiplied lane by lane.
#[target_feature(enable = "neon,dotprod")]
fn dot_sums<W: Weight, const D: usize, const P: usize>(tile: &Tile<'_, W>, out: &mut [[u32; LANES]]) {
    let (weights, pixels) = (tile.weights::<1, { 4 * LANES }>()[0], tile.pixels::<P>());
    assert_eq!(tile.planes(), D);
    let mut rows = [[vdupq_n_s32(0); 4]; ROWS];
    for run in tile.runs().iter() {
        let (mut at, mut units) = (run.start(), run.units());
        let mut x = [vdupq_n_s8(0); ROWS];
        while units.len() >= 4 {
            for r in 0..D * P {
                // SAFETY: `Tile::new` has checked that all units of all planes are in each pixel; these are four.
                x[r] = unsafe { vld1q_s8(pixels[r % P].as_ptr().add(at + r / P * tile.plane_bytes()).cast()) };
            }
            // SAFETY: `weights` has all units.
            let w = |i| unsafe { runs::weights(weights, units.start + i) };
            dot::<W, D, P, 0>(&mut rows, &x, w(0));
            dot::<W, D, P, 1>(&mut rows, &x, w(1));
            dot::<W, D, P, 2>(&mut rows, &x, w(2));
            dot::<W, D, P, 3>(&mut rows, &x, w(3));
            (at, units.start) = (at + 16, units.start + 4);
        }
        for unit in units {
            for r in 0..D * P {
                // SAFETY: as above; this is one unit.
                let four = unsafe { vld1q_dup_s32(pixels[r % P].as_ptr().add(at + r / P * tile.plane_bytes()).cast()) };
                x[r] = vreinterpretq_s8_s32(four);
            }
            // SAFETY: `weights` has all units.
            dot::<W, D, P, 0>(&mut rows, &x, unsafe { runs::weights(weights, unit) });
            at += 4;
        }
    }
    finish::<D, P>(&rows, out);
}

/// Adds the products of one unit, the lane `L` of `x`. A weight's second byte belongs to the next digit's sums.
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
#[target_feature(enable = "neon,dotprod")]
fn dot<W: Weight, const D: usize, const P: usize, const L: usize>(
    rows: &mut Rows,
    x: &[int8x16_t; ROWS],
    unit: &[W; 4 * LANES],
) {
    for q in 0..4 {
        let w = W::load(&unit.as_chunks().0[q]);
        for byte in 0..W::BYTES {
            for r in byte * P..D * P {
                // SAFETY: the caller has "dotprod".
                unsafe {
                    asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) rows[r][q], in(vreg) w[byte],
                        in(vreg) x[r - byte * P], const L, options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
    }
}

/// `D` digits by `P` pixels, two rows and two lanes at a time.
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
#[target_feature(enable = "neon,i8mm")]
fn matrix_sums<W: Weight, const D: usize, const P: usize>(tile: &Tile<'_, W>, out: &mut [[u32; LANES]]) {
    let (weights, pixels) = (tile.weights::<1, { 8 * LANES }>()[0], tile.pixels::<P>());
    assert_eq!(tile.planes(), D);
    // `[pair of rows][pair of lanes]`: two sums of the first row, two of the second.
    let mut squares = [[vdupq_n_s32(0); LANES / 2]; ROWS / 2];
    let pairs = (D * P).div_ceil(2);
    for run in tile.runs().iter() {
        let mut at = run.start();
        for unit in run.units() {
            // The rows that belong to the sums of row `r` for a weight's byte `byte`.
            let row = |r: usize, byte: usize| match r.checked_sub(byte * P) {
                // SAFETY: `Tile::new` has checked that all units of all planes are in each pixel.
                Some(of) if r < D * P => unsafe {
                    vld1_s8(pixels[of % P].as_ptr().add(at + of / P * tile.plane_bytes()).cast())
                },
                _ => vdup_n_s8(0),
            };
            let mut x = [[vdupq_n_s8(0); ROWS / 2]; 2];
            for byte in 0..W::BYTES {
                for pair in 0..pairs {
                    x[byte][pair] = vcombine_s8(row(2 * pair, byte), row(2 * pair + 1, byte));
                }
            }
            // SAFETY: `weights` has all units.
            let unit = unsafe { runs::weights(weights, unit) };
            for lanes in 0..LANES / 2 {
                let w = W::load(&unit.as_chunks().0[lanes]);
                for byte in 0..W::BYTES {
                    for pair in byte * P / 2..pairs {
                        // SAFETY: the caller has "i8mm".
                        unsafe {
                            asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) squares[pair][lanes],
                                in(vreg) x[byte][pair], in(vreg) w[byte],
                                options(pure, nomem, nostack, preserves_flags));
                        }
                    }
                }
            }
            at += 8;
        }
    }
    let mut rows = [[vdupq_n_s32(0); 4]; ROWS];
    for (pair, squares) in squares.iter().enumerate() {
        for q in 0..4 {
            let (left, right) = (vreinterpretq_s64_s32(squares[2 * q]), vreinterpretq_s64_s32(squares[2 * q + 1]));
            rows[2 * pair][q] = vreinterpretq_s32_s64(vuzp1q_s64(left, right));
            rows[2 * pair + 1][q] = vreinterpretq_s32_s64(vuzp2q_s64(left, right));
        }
    }
    finish::<D, P>(&rows, out);
}

/// Horner's rule over the digits, mod 2^32.
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
#[target_feature(enable = "neon")]
fn finish<const D: usize, const P: usize>(rows: &Rows, out: &mut [[u32; LANES]]) {
    for p in 0..P {
        for q in 0..4 {
            let mut sum = rows[(D - 1) * P + p][q];
            for d in (0..D - 1).rev() {
                sum = vaddq_s32(vshlq_n_s32::<8>(sum), rows[d * P + p][q]);
            }
            let four: &mut [u32; 4] = &mut out[p].as_chunks_mut().0[q];
            // SAFETY: the destination is an array of 16 bytes.
            unsafe { vst1q_s32(four.as_mut_ptr().cast(), sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    /// Which of these kernels a CPU gets; tests/arm.sh says what is right on those that it emulates.
    #[test]
    fn what_this_cpu_has() {
        let names = crate::Kernels::native().names();
        let found: Vec<_> = names.into_iter().skip(1).take_while(|n| *n != "portable").collect();
        assert_eq!(found.last(), Some(&"neon"));
        if let Ok(right) = std::env::var("TWINMASK_TEST_KERNELS") {
            assert_eq!(found.join(" "), right);
        }
    }
}
