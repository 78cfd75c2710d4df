//! AVX-512: byte planes by `vpdpbusd`, 16-bit planes by `vpdpwssd` or `vpmaddwd`. None of them saturates, so sums are
//! exact mod 2^32.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_si512,
};

use crate::linear::direct::{MAX_BLOCKS, MAX_PIXELS, Micro, Pass, Tile};
use crate::linear::layout::{LANES, Row};
use crate::linear::planes::{Bytes, Whole, Words};
use crate::linear::runs;
use crate::linear::transpose::Avx512;
use crate::linear::wide512::Wide512;

/// Proof that the CPU has AVX-512 VNNI besides [`Avx512`].
#[derive(Clone, Copy)]
pub(crate) struct Vnni(Avx512);

impl Vnni {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        Avx512::new().filter(|_| is_x86_feature_detected!("avx512vnni")).map(Self)
    }
}

/// Weights of 8 bits, one to four byte planes: x is the unsigned operand, w the signed one.
#[derive(Clone, Copy)]
pub(crate) struct BytePlanes(pub(crate) Vnni);

/// Weights of 16 bits, one or two planes of signed 16-bit digits.
#[derive(Clone, Copy)]
pub(crate) enum WordPlanes {
    /// With `vpdpwssd`.
    Vnni(Vnni),
    /// With `vpmaddwd`.
    Plain(Avx512),
}

/// Pixels of a tile that keeps 24 sums in registers, or fewer where that is not to be divided.
const fn pixels(planes: usize, blocks: usize) -> usize {
    let most = 24 / (planes * blocks);
    if most > MAX_PIXELS { MAX_PIXELS } else { most }
}

impl Micro for BytePlanes {
    type Weight = i8;
    const ELEMENT: usize = 1;

    fn narrow(weight: i16) -> i8 {
        weight as i8
    }

    fn tile_size(self, planes: usize, blocks: usize) -> (usize, usize) {
        (blocks.min(MAX_BLOCKS), pixels(planes, blocks.min(MAX_BLOCKS)))
    }

    fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
        self.0.0.split::<Bytes>(row, planes, out);
    }

    fn tile(self, tile: &Tile<'_, i8>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
        // SAFETY: `self` proves AVX-512F, BW and VNNI.
        unsafe { byte_tile(tile, blocks, pixels, out) }
    }

    fn store(self, sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
        self.0.0.store(sums, step, channels, y, stride, count);
    }
}

impl WordPlanes {
    const fn avx512(self) -> Avx512 {
        match self {
            Self::Vnni(vnni) => vnni.0,
            Self::Plain(avx512) => avx512,
        }
    }
}

/// Runs `pass` with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn run(avx512: Avx512, pass: impl Pass) {
    pass.run::<Wide512>(avx512);
}

impl Micro for WordPlanes {
    type Weight = i16;
    const ELEMENT: usize = 2;

    fn narrow(weight: i16) -> i16 {
        weight
    }

    fn tile_size(self, planes: usize, blocks: usize) -> (usize, usize) {
        (blocks.min(MAX_BLOCKS), pixels(planes, blocks.min(MAX_BLOCKS)))
    }

    fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
        self.avx512().split::<Words>(row, planes, out);
    }

    fn turn(self, row: &Row<'_>, out: &mut [u8]) {
        self.avx512().split::<Whole>(row, 1, out);
    }

    fn pass(self, pass: impl Pass) {
        // SAFETY: `self` proves AVX-512F, BW and VL.
        unsafe { run(self.avx512(), pass) }
    }

    fn tile(self, tile: &Tile<'_, i16>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
        match self {
            // SAFETY: `self` proves AVX-512F, BW and VNNI.
            Self::Vnni(_) => unsafe { word_tile(tile, blocks, pixels, out) },
            // SAFETY: `self` proves AVX-512F and BW.
            Self::Plain(_) => unsafe { plain_word_tile(tile, blocks, pixels, out) },
        }
    }

    fn store(self, sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
        self.avx512().store(sums, step, channels, y, stride, count);
    }
}

/// `$entry` chooses the tile by its size; `$sums` computes one of `D` planes, `B` blocks, `P` pixels with `$dot`, which
/// adds the products of a broadcast unit and 16 lanes of weights to 16 sums. `$bits` are those of a digit.
macro_rules! tiles {
    ($entry:ident, $sums:ident, $features:literal, $weight:ty, $per_vector:literal, $bits:literal, $dot:expr,
     [$(($d:literal, $b:literal, $p:literal)),*]) => {
        #[target_feature(enable = $features)]
        fn $entry(tile: &Tile<'_, $weight>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
            match (tile.planes(), blocks, pixels) {
                $(($d, $b, 1) => $sums::<$d, $b, 1>(tile, out),
                  ($d, $b, _) => {
                      const { assert!($p == self::pixels($d, $b)) };
                      $sums::<$d, $b, $p>(tile, out);
                  })*
                (planes, ..) => unreachable!("no tile of {planes} planes, {blocks} blocks, {pixels} pixels"),
            }
        }

        #[target_feature(enable = $features)]
        fn $sums<const D: usize, const B: usize, const P: usize>(tile: &Tile<'_, $weight>, out: &mut [[u32; LANES]]) {
            let (weights, pixels) = (tile.weights::<B, $per_vector>(), tile.pixels::<P>());
            debug_assert_eq!(tile.planes(), D);
            let mut acc = [[[_mm512_setzero_si512(); B]; D]; P];
            for run in tile.runs().iter() {
                let mut at = run.start();
                for unit in run.units() {
                    let mut w = [_mm512_setzero_si512(); B];
                    for b in 0..B {
                        // SAFETY: `weights` has all units; the source is an array of 64 bytes.
                        w[b] = unsafe { _mm512_loadu_si512(runs::weights(weights[b], unit).as_ptr().cast()) };
                    }
                    for d in 0..D {
                        for p in 0..P {
                            // SAFETY: `Tile::new` has checked that all units of all planes are in each pixel.
                            let x = unsafe { runs::word(pixels[p], at + d * tile.plane_bytes()) };
                            let x = _mm512_set1_epi32(x);
                            for b in 0..B {
                                acc[p][d][b] = $dot(acc[p][d][b], x, w[b]);
                            }
                        }
                    }
                    at += 4;
                }
            }
            for p in 0..P {
                for b in 0..B {
                    // Horner's rule over the digits, mod 2^32.
                    let mut sum = acc[p][D - 1][b];
                    for d in (0..D - 1).rev() {
                        sum = _mm512_add_epi32(_mm512_slli_epi32::<$bits>(sum), acc[p][d][b]);
                    }
                    // SAFETY: the destination is an array of 64 bytes.
                    unsafe { _mm512_storeu_si512(out[p * B + b].as_mut_ptr().cast(), sum) };
                }
            }
        }
    };
}

tiles!(
    byte_tile,
    byte_sums,
    "avx512f,avx512bw,avx512vnni",
    i8,
    64,
    8,
    |sum, x, w| _mm512_dpbusd_epi32(sum, x, w),
    [
        (1, 1, 6),
        (1, 2, 6),
        (1, 3, 6),
        (1, 4, 6),
        (2, 1, 6),
        (2, 2, 6),
        (2, 3, 4),
        (2, 4, 3),
        (3, 1, 6),
        (3, 2, 4),
        (3, 3, 2),
        (3, 4, 2),
        (4, 1, 6),
        (4, 2, 3),
        (4, 3, 2),
        (4, 4, 1)
    ]
);
tiles!(
    word_tile,
    word_sums,
    "avx512f,avx512bw,avx512vnni",
    i16,
    32,
    16,
    |sum, x, w| _mm512_dpwssd_epi32(sum, x, w),
    [(1, 1, 6), (1, 2, 6), (1, 3, 6), (1, 4, 6), (2, 1, 6), (2, 2, 6), (2, 3, 4), (2, 4, 3)]
);
tiles!(
    plain_word_tile,
    plain_word_sums,
    "avx512f,avx512bw",
    i16,
    32,
    16,
    |sum: __m512i, x: __m512i, w: __m512i| _mm512_add_epi32(sum, _mm512_madd_epi16(x, w)),
    [(1, 1, 6), (1, 2, 6), (1, 3, 6), (1, 4, 6), (2, 1, 6), (2, 2, 6), (2, 3, 4), (2, 4, 3)]
);
