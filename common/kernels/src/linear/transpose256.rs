//! Moving data with AVX2: as [`transpose`](crate::linear::transpose), eight columns or lanes at a time.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_storeu_si128, _mm256_add_epi32, _mm256_blend_epi16, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_maskload_epi32, _mm256_maskstore_epi32,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use crate::linear::layout::{LANES, Row};
use crate::linear::planes::{self, Digits};

/// Columns, or lanes, in a vector.
const WIDTH: usize = 8;
/// Bytes of four units.
const FOUR: usize = 16;

/// Proof that the CPU has AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Writes `planes` planes of one row, of 16-bit digits or whole elements.
    pub(crate) fn split<D: Digits>(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
        // SAFETY: `self` proves AVX2.
        unsafe {
            match D::CHANNELS {
                2 => split::<D, 2>(row, planes, out),
                1 => split::<D, 1>(row, planes, out),
                _ => planes::split::<D>(row, planes, out),
            }
        }
    }

    /// See [`Micro::store`](crate::linear::direct::Micro::store).
    pub(crate) fn store(
        self,
        sums: &[[u32; LANES]],
        step: usize,
        channels: usize,
        y: &mut [u32],
        stride: usize,
        count: usize,
    ) {
        let at_once = WIDTH.min(count);
        for first in (0..count).step_by(WIDTH) {
            // At the end some pixels are done twice.
            let first = first.min(count - at_once);
            for (half, lane) in (0..channels).step_by(WIDTH).enumerate() {
                let (rows, y) = (WIDTH.min(channels - lane), &mut y[lane * stride + first..]);
                // SAFETY: `self` proves AVX2.
                unsafe { turn(&sums[first * step..], step, half, rows, y, stride, at_once) }
            }
        }
    }
}

/// `C` is [`Digits::CHANNELS`].
#[target_feature(enable = "avx2")]
fn split<D: Digits, const C: usize>(row: &Row<'_>, planes: usize, out: &mut [u8]) {
    if row.columns == 1 && row.area == 1 {
        return planes::split::<D>(row, planes, out);
    }
    let pixel = row.pixel_bytes;
    let whole = row.channels / (4 * C) * (4 * C);
    // The last few channels first, so that what their whole stores write past a pixel's last channel is written again
    // by what comes later.
    for column in (0..row.columns).step_by(WIDTH) {
        let count = WIDTH.min(row.columns);
        // At the end of a row some columns are done twice.
        let column = column.min(row.columns - count);
        for first in (whole..row.channels).step_by(4 * C).chain((0..whole).step_by(4 * C)) {
            let mut units = [[_mm256_setzero_si256(); 2]; 4];
            for (i, units) in units.iter_mut().enumerate() {
                *units = units_of(loaded::<C>(row, first + i * C, column, count));
            }
            for plane in 0..planes {
                let out = &mut out[plane * row.plane_bytes..][..row.columns * pixel];
                let fours = fours([units[0][plane], units[1][plane], units[2][plane], units[3][plane]]);
                let at = column * pixel + first * 4 / C;
                for (i, four) in fours[..count].iter().enumerate() {
                    store(*four, &mut out[at + i * pixel..]);
                }
            }
        }
    }
}

/// Writes 16 bytes, or as many as `out` has.
#[target_feature(enable = "avx2")]
fn store(bytes: __m128i, out: &mut [u8]) {
    if out.len() >= FOUR {
        // SAFETY: `out` has 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
    } else {
        let mut all = [0; FOUR];
        // SAFETY: the destination is an array of 16 bytes.
        unsafe { _mm_storeu_si128(all.as_mut_ptr().cast(), bytes) };
        out.copy_from_slice(&all[..out.len()]);
    }
}

/// The first `count` (1..=8) lanes.
#[target_feature(enable = "avx2")]
fn mask(count: usize) -> __m256i {
    const EDGE: [i32; 2 * WIDTH] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let from: &[i32; WIDTH] = EDGE[WIDTH - count..].first_chunk().unwrap_or(&[0; WIDTH]);
    // SAFETY: the source is an array of 32 bytes.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// `count` (1..=8) columns of `C` channels from `first` on, zero beyond the last channel; what is beyond the last
/// column is unspecified.
#[target_feature(enable = "avx2")]
fn loaded<const C: usize>(row: &Row<'_>, first: usize, column: usize, count: usize) -> [__m256i; C] {
    let mut x = [_mm256_setzero_si256(); C];
    for (i, x) in x.iter_mut().enumerate() {
        if first + i < row.channels {
            let rest = &row.x[(first + i) * row.area + column..];
            if rest.len() >= WIDTH {
                // SAFETY: `rest` has 8 elements.
                *x = unsafe { _mm256_loadu_si256(rest.as_ptr().cast()) };
                continue;
            }
            let source = &rest[..count];
            // SAFETY: the mask lets `count` elements be read, as many as `source` has.
            *x = unsafe { _mm256_maskload_epi32(source.as_ptr().cast(), mask(count)) };
        }
    }
    x
}

/// The units of 8 columns, one vector per plane, from `C` channels. Shares of 2 channels are cut into
/// [`Words`](planes::Words), of 1 not at all.
#[target_feature(enable = "avx2")]
fn units_of<const C: usize>(x: [__m256i; C]) -> [__m256i; 2] {
    match x[..] {
        [a, b] => {
            let half = _mm256_set1_epi32(0x8000);
            let (high_a, high_b) = (_mm256_add_epi32(a, half), _mm256_add_epi32(b, half));
            let low = _mm256_blend_epi16::<0xaa>(a, _mm256_slli_epi32::<16>(b));
            [low, _mm256_blend_epi16::<0xaa>(_mm256_srli_epi32::<16>(high_a), high_b)]
        }
        _ => [x[0], _mm256_setzero_si256()],
    }
}

/// Four units of each column side by side.
#[target_feature(enable = "avx2")]
fn fours(u: [__m256i; 4]) -> [__m128i; WIDTH] {
    let (a, b) = (_mm256_unpacklo_epi32(u[0], u[1]), _mm256_unpackhi_epi32(u[0], u[1]));
    let (c, d) = (_mm256_unpacklo_epi32(u[2], u[3]), _mm256_unpackhi_epi32(u[2], u[3]));
    let [a0, a1] = lanes(_mm256_unpacklo_epi64(a, c));
    let [b0, b1] = lanes(_mm256_unpackhi_epi64(a, c));
    let [c0, c1] = lanes(_mm256_unpacklo_epi64(b, d));
    let [d0, d1] = lanes(_mm256_unpackhi_epi64(b, d));
    [a0, b0, c0, d0, a1, b1, c1, d1]
}

#[target_feature(enable = "avx2")]
fn lanes(v: __m256i) -> [__m128i; 2] {
    [_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v)]
}

/// Stores `count` (1..=8) pixels, `step` apart in `sums`, of `channels` (1..=8) lanes of that half as rows `stride`
/// apart.
#[target_feature(enable = "avx2")]
fn turn(sums: &[[u32; LANES]], step: usize, half: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
    let mut r = [_mm256_setzero_si256(); WIDTH];
    for (p, r) in r.iter_mut().enumerate().take(count) {
        let lanes: &[u32; WIDTH] = &sums[p * step].as_chunks().0[half];
        // SAFETY: the source is an array of 32 bytes.
        *r = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
    }
    for (lane, column) in transposed(r).iter().enumerate().take(channels) {
        let out = &mut y[lane * stride..][..count];
        if count == WIDTH {
            // SAFETY: `out` has 8 elements.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *column) };
            continue;
        }
        // SAFETY: the mask lets `count` elements be written, as many as `out` has.
        unsafe { _mm256_maskstore_epi32(out.as_mut_ptr().cast(), mask(count), *column) };
    }
}

#[target_feature(enable = "avx2")]
fn transposed(r: [__m256i; WIDTH]) -> [__m256i; WIDTH] {
    let mut a = [_mm256_setzero_si256(); WIDTH];
    for i in 0..4 {
        a[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    // Now lanes of 128 bits are turned: b[4i + j] holds rows 4i..4i+4 of columns j and j+4.
    let mut b = [_mm256_setzero_si256(); WIDTH];
    for i in 0..2 {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    let mut out = [_mm256_setzero_si256(); WIDTH];
    for j in 0..4 {
        out[j] = _mm256_permute2x128_si256::<0x20>(b[j], b[4 + j]);
        out[4 + j] = _mm256_permute2x128_si256::<0x31>(b[j], b[4 + j]);
    }
    out
}
