//! Moving data with NEON, which every aarch64 CPU has: as `transpose256`, four columns or lanes at a time.

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vdupq_n_u32, veorq_u32, vld1q_u32, vreinterpretq_u8_u32, vreinterpretq_u16_u8,
    vreinterpretq_u32_u16, vreinterpretq_u32_u64, vreinterpretq_u64_u32, vst1q_u32, vtrn1q_u8, vtrn1q_u16, vtrn1q_u32,
    vtrn1q_u64, vtrn2q_u8, vtrn2q_u16, vtrn2q_u32, vtrn2q_u64,
};

use crate::linear::layout::{LANES, Row, store_plain};
use crate::linear::planes::{self, SignedBytes};

/// Columns, or lanes, in a vector.
const WIDTH: usize = 4;
/// Bytes of four units.
const FOUR: usize = 16;

/// Writes `planes` planes of one row, of [`SignedBytes`].
pub(crate) fn split_bytes(row: &Row<'_>, planes: usize, out: &mut [u8]) {
    if row.columns == 1 && row.area == 1 {
        return planes::split::<SignedBytes>(row, planes, out);
    }
    // SAFETY: every aarch64 CPU has NEON.
    unsafe { split::<4>(row, planes, out, |x| bytes(x)) }
}

/// Writes one row, of [`Whole`](planes::Whole) elements.
pub(crate) fn split_whole(row: &Row<'_>, out: &mut [u8]) {
    if row.columns == 1 && row.area == 1 {
        return planes::split_whole(row, out);
    }
    // SAFETY: every aarch64 CPU has NEON.
    unsafe { split::<1>(row, 1, out, |[x]| [x; 4]) }
}

/// `units` makes the units of four columns, one vector per plane, from `C` channels.
#[target_feature(enable = "neon")]
fn split<const C: usize>(
    row: &Row<'_>,
    planes: usize,
    out: &mut [u8],
    units: impl Fn([uint32x4_t; C]) -> [uint32x4_t; 4],
) {
    let pixel = row.pixel_bytes;
    let whole = row.channels / (WIDTH * C) * (WIDTH * C);
    for column in (0..row.columns).step_by(WIDTH) {
        let count = WIDTH.min(row.columns);
        // At the end of a row some columns are done twice.
        let column = column.min(row.columns - count);
        // The last few channels first: what their whole stores write past a pixel's last one is written again later.
        for first in (whole..row.channels).step_by(WIDTH * C).chain((0..whole).step_by(WIDTH * C)) {
            let units: [_; WIDTH] = std::array::from_fn(|i| units(loaded(row, first + i * C, column, count)));
            for plane in 0..planes {
                let out = &mut out[plane * row.plane_bytes..][..row.columns * pixel];
                let at = column * pixel + first * 4 / C;
                let fours = transposed([units[0][plane], units[1][plane], units[2][plane], units[3][plane]]);
                for (i, four) in fours[..count].iter().enumerate() {
                    store_four(*four, &mut out[at + i * pixel..]);
                }
            }
        }
    }
}

/// Writes four units, or as much of them as `out` takes.
#[target_feature(enable = "neon")]
fn store_four(units: uint32x4_t, out: &mut [u8]) {
    if let Some(out) = out.first_chunk_mut::<FOUR>() {
        // SAFETY: the destination is an array of 16 bytes.
        unsafe { vst1q_u32(out.as_mut_ptr().cast(), units) };
    } else {
        store_few(units, out);
    }
}

/// Less than that, at the end of the row.
#[cold]
#[target_feature(enable = "neon")]
fn store_few(units: uint32x4_t, out: &mut [u8]) {
    let mut all = [0; FOUR];
    // SAFETY: the destination is an array of 16 bytes.
    unsafe { vst1q_u32(all.as_mut_ptr().cast(), units) };
    out.copy_from_slice(&all[..out.len()]);
}

/// `count` (1..=4) columns of `C` channels from `first` on, zero beyond the last channel; what is beyond the last
/// column is unspecified.
#[target_feature(enable = "neon")]
fn loaded<const C: usize>(row: &Row<'_>, first: usize, column: usize, count: usize) -> [uint32x4_t; C] {
    let mut x = [vdupq_n_u32(0); C];
    for (i, x) in x.iter_mut().enumerate().take(row.channels - first.min(row.channels)) {
        let at = (first + i) * row.area + column;
        match row.x.get(at..at + WIDTH) {
            // SAFETY: the source is 16 bytes.
            Some(four) => *x = unsafe { vld1q_u32(four.as_ptr()) },
            None => *x = loaded_few(&row.x[at..at + count]),
        }
    }
    x
}

/// Fewer than four elements, at the end of the input.
#[cold]
#[target_feature(enable = "neon")]
fn loaded_few(of: &[u32]) -> uint32x4_t {
    let mut four = [0; WIDTH];
    four[..of.len()].copy_from_slice(of);
    // SAFETY: the source is an array of 16 bytes.
    unsafe { vld1q_u32(four.as_ptr()) }
}

/// The signed bytes of four channels side by side, by planes.
#[target_feature(enable = "neon")]
pub(crate) fn bytes(x: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let half = vdupq_n_u32(0x8080_8080);
    let [a, b, c, d] = x.map(|x| vreinterpretq_u8_u32(veorq_u32(vaddq_u32(x, half), half)));
    let (left, right) = (vreinterpretq_u16_u8(vtrn1q_u8(a, b)), vreinterpretq_u16_u8(vtrn1q_u8(c, d)));
    let (left_odd, right_odd) = (vreinterpretq_u16_u8(vtrn2q_u8(a, b)), vreinterpretq_u16_u8(vtrn2q_u8(c, d)));
    let even = [vtrn1q_u16(left, right), vtrn2q_u16(left, right)].map(|v| vreinterpretq_u32_u16(v));
    let odd = [vtrn1q_u16(left_odd, right_odd), vtrn2q_u16(left_odd, right_odd)].map(|v| vreinterpretq_u32_u16(v));
    [even[0], odd[0], even[1], odd[1]]
}

#[target_feature(enable = "neon")]
fn transposed(r: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let pair = |a, b| [vtrn1q_u32(a, b), vtrn2q_u32(a, b)].map(|v| vreinterpretq_u64_u32(v));
    let ([a, b], [c, d]) = (pair(r[0], r[1]), pair(r[2], r[3]));
    [vtrn1q_u64(a, c), vtrn1q_u64(b, d), vtrn2q_u64(a, c), vtrn2q_u64(b, d)].map(|v| vreinterpretq_u32_u64(v))
}

/// See [`Micro::store`](crate::linear::direct::Micro::store).
pub(crate) fn store(sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
    if count < WIDTH {
        store_plain(sums, step, channels, y, stride, count);
    } else {
        // SAFETY: every aarch64 CPU has NEON.
        unsafe { store_fours(sums, step, channels, y, stride, count) }
    }
}

#[target_feature(enable = "neon")]
fn store_fours(sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
    for first in (0..count).step_by(WIDTH) {
        // At the end some pixels are done twice.
        let first = first.min(count - WIDTH);
        for quarter in 0..channels.div_ceil(WIDTH) {
            let rows = std::array::from_fn(|p| {
                let lanes: &[u32; WIDTH] = &sums[(first + p) * step].as_chunks().0[quarter];
                // SAFETY: the source is an array of 16 bytes.
                unsafe { vld1q_u32(lanes.as_ptr()) }
            });
            for (lane, of) in (quarter * WIDTH..channels).zip(transposed(rows)) {
                let out: &mut [u32] = &mut y[lane * stride + first..][..WIDTH];
                // SAFETY: `out` has 16 bytes.
                unsafe { vst1q_u32(out.as_mut_ptr(), of) };
            }
        }
    }
}
