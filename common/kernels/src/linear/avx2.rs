//! AVX2: 16-bit planes by `vpmaddwd`, which is exact mod 2^32 (unlike `vpmaddubsw`, which saturates).

use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_slli_epi32, _mm256_storeu_si256,
};

use crate::linear::direct::{Micro, Pass, Tile};
use crate::linear::layout::{LANES, Row};
use crate::linear::planes::{self, Whole, Words};

/// Weights of 16 bits, one or two planes of signed 16-bit digits; proves that the CPU has AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Micro for Avx2 {
    type Weight = i16;
    const ELEMENT: usize = 2;

    fn narrow(weight: i16) -> i16 {
        weight
    }

    /// 12 of the 16 registers hold sums.
    fn tile_size(self, planes: usize, _: usize) -> (usize, usize) {
        (1, 6 / planes)
    }

    fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
        #[target_feature(enable = "avx2")]
        fn split(row: &Row<'_>, planes: usize, out: &mut [u8]) {
            planes::split::<Words>(row, planes, out);
        }
        // SAFETY: `self` proves AVX2.
        unsafe { split(row, planes, out) }
    }

    fn turn(self, row: &Row<'_>, out: &mut [u8]) {
        #[target_feature(enable = "avx2")]
        fn split(row: &Row<'_>, out: &mut [u8]) {
            planes::split::<Whole>(row, 1, out);
        }
        // SAFETY: `self` proves AVX2.
        unsafe { split(row, out) }
    }

    fn pass(self, pass: impl Pass) {
        #[target_feature(enable = "avx2")]
        fn run(pass: impl Pass) {
            pass.run();
        }
        // SAFETY: `self` proves AVX2.
        unsafe { run(pass) }
    }

    fn tile(self, tile: &Tile<'_, i16>, planes: usize, _: usize, pixels: usize, out: &mut [[u32; LANES]]) {
        // SAFETY: `self` proves AVX2.
        unsafe {
            match (planes, pixels) {
                (1, 1) => sums::<1, 1>(tile, out),
                (1, _) => sums::<1, 6>(tile, out),
                (_, 1) => sums::<2, 1>(tile, out),
                _ => sums::<2, 3>(tile, out),
            }
        }
    }
}

/// Sums of `D` planes and `P` pixels of one block, whose 16 lanes are two vectors.
#[target_feature(enable = "avx2")]
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
fn sums<const D: usize, const P: usize>(tile: &Tile<'_, i16>, out: &mut [[u32; LANES]]) {
    let units = tile.offsets.len();
    let weights: &[[i16; LANES]] = &tile.weights[0].as_chunks().0[..2 * units];
    let span = tile.pixels[0].len();
    let mut pixels: [&[u8]; P] = [&[]; P];
    for p in 0..P {
        pixels[p] = &tile.pixels[p][..span];
    }
    let mut acc = [[[_mm256_setzero_si256(); 2]; D]; P];
    for unit in 0..units {
        let offset = tile.offsets[unit] as usize;
        let mut w = [_mm256_setzero_si256(); 2];
        for half in 0..2 {
            // SAFETY: the source is an array of 32 bytes.
            w[half] = unsafe { _mm256_loadu_si256(weights[2 * unit + half].as_ptr().cast()) };
        }
        for d in 0..D {
            let at = offset + d * tile.plane_bytes;
            for p in 0..P {
                let bytes = &pixels[p][at..at + 4];
                let x = _mm256_set1_epi32(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                for half in 0..2 {
                    acc[p][d][half] = _mm256_add_epi32(acc[p][d][half], _mm256_madd_epi16(x, w[half]));
                }
            }
        }
    }
    for p in 0..P {
        for half in 0..2 {
            let mut sum = acc[p][D - 1][half];
            if D == 2 {
                sum = _mm256_add_epi32(_mm256_slli_epi32::<16>(sum), acc[p][0][half]);
            }
            let out = &mut out[p][half * 8..half * 8 + 8];
            // SAFETY: the destination is 32 bytes.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
        }
    }
}
