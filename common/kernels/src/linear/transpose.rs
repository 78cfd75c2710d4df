//! Moving data with AVX-512. Inputs and outputs have positions as neighbours; the micro-kernels read channels as
//! neighbours and leave channels as lanes.

use std::arch::x86_64::{
    __m128i, __m512i, _MM_HINT_T0, _mm_mask_storeu_epi8, _mm_prefetch, _mm_storeu_si128, _mm512_add_epi32,
    _mm512_and_si512, _mm512_andnot_si512, _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_mask_storeu_epi32,
    _mm512_maskz_loadu_epi32, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::linear::layout::{LANES, Row};
use crate::linear::planes::{self, Digits};

/// Elements of a channel between those that are read and those that are fetched ahead: channels lie too far apart for
/// the CPU to see the pattern, and fetching ahead takes a third of the time that waiting for memory does.
const AHEAD: usize = 32;

/// Proof that the CPU has AVX-512F, BW and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        found.then_some(Self(()))
    }

    /// Writes `planes` planes of one row.
    pub(crate) fn split<D: Digits>(self, row: &Row<'_>, planes: usize, out: &mut [u8]) {
        // SAFETY: `self` proves AVX-512F, BW and VL.
        unsafe {
            match D::CHANNELS {
                4 => split::<D, 4>(row, planes, out),
                2 => split::<D, 2>(row, planes, out),
                _ => split::<D, 1>(row, planes, out),
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
        let at_once = LANES.min(count);
        for first in (0..count).step_by(LANES) {
            // At the end some pixels are done twice.
            let (first, count) = (first.min(count - at_once), at_once);
            // SAFETY: `self` proves AVX-512F, BW and VL.
            unsafe { turn(&sums[first * step..], step, channels, &mut y[first..], stride, count) }
        }
    }
}

/// `C` is [`Digits::CHANNELS`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn split<D: Digits, const C: usize>(row: &Row<'_>, planes: usize, out: &mut [u8]) {
    if row.columns == 1 && row.area == 1 {
        return planes::split::<D>(row, planes, out);
    }
    let pixel = row.pixel_bytes;
    let whole = row.channels / (4 * C) * (4 * C);
    // Channels inside, so that what is written stays in the first-level cache; the last few first, so that what their
    // whole stores write past a pixel's last channel is written again by what comes later.
    for column in (0..row.columns).step_by(LANES) {
        let count = LANES.min(row.columns);
        // At the end of a row some columns are done twice.
        let column = column.min(row.columns - count);
        for first in (whole..row.channels).step_by(4 * C).chain((0..whole).step_by(4 * C)) {
            let mut units = [[_mm512_setzero_si512(); 4]; 4];
            for (i, units) in units.iter_mut().enumerate() {
                *units = units_of(loaded::<C>(row, first + i * C, column, count));
            }
            for plane in 0..planes {
                let out = &mut out[plane * row.plane_bytes..][..row.columns * pixel];
                let fours = fours([units[0][plane], units[1][plane], units[2][plane], units[3][plane]]);
                let at = column * pixel + first * 4 / C;
                if let Some(out) = out.get_mut(at..at + (LANES - 1) * pixel + LANES) {
                    for (i, four) in fours.iter().enumerate() {
                        store(*four, &mut out[i * pixel..i * pixel + LANES]);
                    }
                    continue;
                }
                for (i, four) in fours[..count].iter().enumerate() {
                    store(*four, &mut out[at + i * pixel..]);
                }
            }
        }
    }
}

/// Writes 16 bytes, or as many as `out` has.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store(bytes: __m128i, out: &mut [u8]) {
    if out.len() >= LANES {
        // SAFETY: `out` has 16 bytes. A store with a mask takes several times as long.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
    } else {
        let keep = (0xffff_u32 >> (LANES - out.len())) as u16;
        // SAFETY: the mask lets as many bytes be written as `out` has.
        unsafe { _mm_mask_storeu_epi8(out.as_mut_ptr().cast(), keep, bytes) };
    }
}

/// `count` (1..=16) columns of `C` channels from `first` on, zero beyond the last channel; what is beyond the last
/// column is unspecified.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn loaded<const C: usize>(row: &Row<'_>, first: usize, column: usize, count: usize) -> [__m512i; C] {
    let mut x = [_mm512_setzero_si512(); C];
    for (i, x) in x.iter_mut().enumerate() {
        if first + i < row.channels {
            let rest = &row.x[(first + i) * row.area + column..];
            _mm_prefetch::<_MM_HINT_T0>(rest.as_ptr().wrapping_add(AHEAD).cast());
            if rest.len() >= LANES {
                // SAFETY: `rest` has 16 elements. A load with a mask takes several times as long.
                *x = unsafe { _mm512_loadu_si512(rest.as_ptr().cast()) };
                continue;
            }
            let source = &rest[..count];
            let mask = (0xffff_u32 >> (LANES - count)) as u16;
            // SAFETY: the mask lets `count` elements be read, as many as `source` has.
            *x = unsafe { _mm512_maskz_loadu_epi32(mask, source.as_ptr().cast()) };
        }
    }
    x
}

/// The units of 16 columns, one vector per plane, from `C` channels. Shares of 4 channels are cut into bytes, of 2 into
/// [`Words`](planes::Words), of 1 not at all.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn units_of<const C: usize>(x: [__m512i; C]) -> [__m512i; 4] {
    let zero = _mm512_setzero_si512();
    let (low, odd) = (_mm512_set1_epi32(0xffff), _mm512_set1_epi32(0x00ff_00ff));
    match x[..] {
        [a, b, c, d] => {
            // Even and odd bytes of two channels side by side, then of four.
            let even_bytes =
                |a, b| _mm512_or_si512(_mm512_and_si512(a, odd), _mm512_slli_epi32::<8>(_mm512_and_si512(b, odd)));
            let odd_bytes =
                |a, b| _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32::<8>(a), odd), _mm512_andnot_si512(odd, b));
            let (ab02, ab13, cd02, cd13) = (even_bytes(a, b), odd_bytes(a, b), even_bytes(c, d), odd_bytes(c, d));
            let lows = |a, b| _mm512_or_si512(_mm512_and_si512(a, low), _mm512_slli_epi32::<16>(b));
            let highs = |a, b| _mm512_or_si512(_mm512_srli_epi32::<16>(a), _mm512_andnot_si512(low, b));
            [lows(ab02, cd02), lows(ab13, cd13), highs(ab02, cd02), highs(ab13, cd13)]
        }
        [a, b] => {
            let half = _mm512_set1_epi32(0x8000);
            let (high_a, high_b) = (_mm512_add_epi32(a, half), _mm512_add_epi32(b, half));
            let first = _mm512_or_si512(_mm512_and_si512(a, low), _mm512_slli_epi32::<16>(b));
            let second = _mm512_or_si512(_mm512_srli_epi32::<16>(high_a), _mm512_andnot_si512(low, high_b));
            [first, second, zero, zero]
        }
        _ => [x[0], zero, zero, zero],
    }
}

/// Four units of each column side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn fours(u: [__m512i; 4]) -> [__m128i; LANES] {
    let (a, b) = (_mm512_unpacklo_epi32(u[0], u[1]), _mm512_unpackhi_epi32(u[0], u[1]));
    let (c, d) = (_mm512_unpacklo_epi32(u[2], u[3]), _mm512_unpackhi_epi32(u[2], u[3]));
    let [a0, a1, a2, a3] = lanes(_mm512_unpacklo_epi64(a, c));
    let [b0, b1, b2, b3] = lanes(_mm512_unpackhi_epi64(a, c));
    let [c0, c1, c2, c3] = lanes(_mm512_unpacklo_epi64(b, d));
    let [d0, d1, d2, d3] = lanes(_mm512_unpackhi_epi64(b, d));
    [a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn lanes(v: __m512i) -> [__m128i; 4] {
    [
        _mm512_extracti32x4_epi32::<0>(v),
        _mm512_extracti32x4_epi32::<1>(v),
        _mm512_extracti32x4_epi32::<2>(v),
        _mm512_extracti32x4_epi32::<3>(v),
    ]
}

/// Stores `count` (1..=16) pixels, `step` apart in `sums`, of `channels` lanes as rows `stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn turn(sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
    let mut r = [_mm512_setzero_si512(); LANES];
    for p in 0..LANES {
        if p < count {
            // SAFETY: the source is an array of 64 bytes.
            r[p] = unsafe { _mm512_loadu_si512(sums[p * step].as_ptr().cast()) };
        }
    }
    let columns = transposed(r);
    let mask = (0xffff_u32 >> (LANES - count)) as u16;
    for (lane, column) in columns.iter().enumerate().take(channels) {
        let out = &mut y[lane * stride..][..count];
        if count == LANES {
            // SAFETY: `out` has 16 elements. A store with a mask takes several times as long.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *column) };
            continue;
        }
        // SAFETY: the mask lets `count` elements be written, as many as `out` has.
        unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), mask, *column) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn transposed(r: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut a = [_mm512_setzero_si512(); LANES];
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    // Now lanes of 128 bits are turned: b[4i + j] holds rows 4i..4i+4 of columns j, j+4, j+8, j+12.
    let mut b = [_mm512_setzero_si512(); LANES];
    for i in 0..4 {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    let mut out = [_mm512_setzero_si512(); LANES];
    for j in 0..4 {
        let (low, high) =
            (_mm512_shuffle_i32x4::<0x88>(b[j], b[4 + j]), _mm512_shuffle_i32x4::<0x88>(b[8 + j], b[12 + j]));
        let (low2, high2) =
            (_mm512_shuffle_i32x4::<0xdd>(b[j], b[4 + j]), _mm512_shuffle_i32x4::<0xdd>(b[8 + j], b[12 + j]));
        out[j] = _mm512_shuffle_i32x4::<0x88>(low, high);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(low, high);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(low2, high2);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(low2, high2);
    }
    out
}
