//! AVX2 and AVX-VNNI of 256 bits: 16-bit planes by `vpmaddwd` or `vpdpwssd`, which are exact mod 2^32 (unlike
//! `vpmaddubsw`, which saturates).

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_si256,
};

use crate::linear::direct::{Micro, Pass, Tile};
use crate::linear::layout::{LANES, Row};
use crate::linear::planes::{Whole, Words};
use crate::linear::runs;
use crate::linear::transpose256::Avx2;
use crate::linear::wide256::Wide256;

/// Proof that the CPU has AVX-VNNI besides [`Avx2`].
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(Avx2);

impl AvxVnni {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        Avx2::new().filter(|_| is_x86_feature_detected!("avxvnni")).map(Self)
    }
}

/// The instructions that there are.
#[derive(Clone, Copy)]
pub(crate) enum Set {
    /// With `vpmaddwd`.
    Plain(Avx2),
    /// With `vpdpwssd`.
    Vnni(AvxVnni),
}

impl Set {
    const fn avx2(self) -> Avx2 {
        match self {
            Self::Plain(avx2) => avx2,
            Self::Vnni(vnni) => vnni.0,
        }
    }
}

/// Weights of 16 bits, one or two planes of signed 16-bit digits.
#[derive(Clone, Copy)]
pub(crate) struct WordPlanes(pub(crate) Set);

/// The same with weights of 8 bits, which are widened when they are read: for layers that wait for memory.
#[derive(Clone, Copy)]
pub(crate) struct NarrowPlanes(pub(crate) Set);

/// Runs `pass` with AVX2.
#[target_feature(enable = "avx2")]
fn run(avx2: Avx2, pass: impl Pass) {
    pass.run::<Wide256>(avx2);
}

/// A [`Micro`] with packed weights `$weight`, by `$plain` and `$vnni`.
macro_rules! micro {
    ($name:ident, $weight:ty, $plain:ident, $vnni:ident) => {
        impl Micro for $name {
            type Weight = $weight;
            const ELEMENT: usize = 2;

            fn narrow(weight: i16) -> $weight {
                weight as $weight
            }

            /// 12 of the 16 registers hold sums.
            fn tile_size(self, planes: usize, _: usize) -> (usize, usize) {
                (1, 6 / planes)
            }

            fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
                self.0.avx2().split::<Words>(row, planes, out);
            }

            fn turn(self, row: &Row<'_>, out: &mut [u8]) {
                self.0.avx2().split::<Whole>(row, 1, out);
            }

            fn pass(self, pass: impl Pass) {
                // SAFETY: `self` proves AVX2.
                unsafe { run(self.0.avx2(), pass) }
            }

            fn tile(self, tile: &Tile<'_, $weight>, _: usize, pixels: usize, out: &mut [[u32; LANES]]) {
                match self.0 {
                    // SAFETY: `self` proves AVX2.
                    Set::Plain(_) => unsafe { $plain::tile(tile, pixels, out) },
                    // SAFETY: `self` proves AVX2 and AVX-VNNI.
                    Set::Vnni(_) => unsafe { $vnni::tile(tile, pixels, out) },
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
                self.0.avx2().store(sums, step, channels, y, stride, count);
            }
        }
    };
}

micro!(WordPlanes, i16, words, words_vnni);
micro!(NarrowPlanes, i8, bytes, bytes_vnni);

/// Tiles of one block, whose 16 lanes are two vectors. `$load` reads half a unit's weights (16 of them), `$dot` adds
/// the products of a broadcast unit and 8 lanes of weights to 8 sums.
macro_rules! tiles {
    ($name:ident, $features:literal, $weight:ty, $load:expr, $dot:expr) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) fn tile(tile: &Tile<'_, $weight>, pixels: usize, out: &mut [[u32; LANES]]) {
                match (tile.planes(), pixels) {
                    (1, 1) => sums::<1, 1>(tile, out),
                    (1, _) => sums::<1, 6>(tile, out),
                    (_, 1) => sums::<2, 1>(tile, out),
                    _ => sums::<2, 3>(tile, out),
                }
            }

            #[target_feature(enable = $features)]
            fn sums<const D: usize, const P: usize>(tile: &Tile<'_, $weight>, out: &mut [[u32; LANES]]) {
                let (weights, pixels) = (tile.weights::<1, { 2 * LANES }>()[0], tile.pixels::<P>());
                assert_eq!(tile.planes(), D);
                let mut acc = [[[_mm256_setzero_si256(); 2]; D]; P];
                for run in tile.runs().iter() {
                    let mut at = run.start();
                    for unit in run.units() {
                        // SAFETY: `weights` has all units.
                        let unit = unsafe { runs::weights(weights, unit) };
                        let unit = unit.as_chunks::<LANES>().0;
                        let w = [$load(unit, 0), $load(unit, 1)];
                        for d in 0..D {
                            for p in 0..P {
                                // SAFETY: `Tile::new` has checked that all units of all planes are in each pixel.
                                let x = unsafe { runs::word(pixels[p], at + d * tile.plane_bytes()) };
                                let x = _mm256_set1_epi32(x);
                                for half in 0..2 {
                                    acc[p][d][half] = $dot(acc[p][d][half], x, w[half]);
                                }
                            }
                        }
                        at += 4;
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
        }
    };
}

#[target_feature(enable = "avx2")]
fn whole(unit: &[[i16; LANES]], half: usize) -> __m256i {
    // SAFETY: the source is an array of 32 bytes.
    unsafe { _mm256_loadu_si256(unit[half].as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn widened(unit: &[[i8; LANES]], half: usize) -> __m256i {
    // SAFETY: the source is an array of 16 bytes.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(unit[half].as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn multiply_add(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
}

tiles!(words, "avx2", i16, whole, multiply_add);
tiles!(words_vnni, "avx2,avxvnni", i16, whole, _mm256_dpwssd_avx_epi32);
tiles!(bytes, "avx2", i8, widened, multiply_add);
tiles!(bytes_vnni, "avx2,avxvnni", i8, widened, _mm256_dpwssd_avx_epi32);
