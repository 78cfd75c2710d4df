//! Splits rows of shares into the planes of a [`Layout`](crate::linear::layout::Layout): bytes, signed 16-bit digits,
//! or all 32 bits at once.
//!
//! Safe Rust; callers inline it into functions that enable an instruction set.

use crate::linear::layout::Row;

/// A way of cutting `N` neighbouring channels into 4-byte units, one per plane.
pub(crate) trait Digits {
    /// Channels in a unit.
    const CHANNELS: usize;

    /// The digit of `plane` of one element, in the low `4 / CHANNELS` bytes.
    fn digit(x: u32, plane: usize) -> u32;
}

/// Unsigned bytes, four channels to a unit.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Bytes;

#[cfg(target_arch = "x86_64")]
impl Digits for Bytes {
    const CHANNELS: usize = 4;

    #[inline(always)]
    fn digit(x: u32, plane: usize) -> u32 {
        x >> (8 * plane)
    }
}

/// Signed bytes, four channels to a unit: `x` is the sum of `2^(8i)` times each, mod 2^32.
pub(crate) struct SignedBytes;

impl Digits for SignedBytes {
    const CHANNELS: usize = 4;

    #[inline(always)]
    fn digit(x: u32, plane: usize) -> u32 {
        // Bytes of the sum are 128 more than the digits.
        (x.wrapping_add(0x8080_8080) ^ 0x8080_8080) >> (8 * plane)
    }
}

/// Signed 16-bit digits, two channels to a unit: `x = low + 2^16 * high` mod 2^32 with `low` in `[-2^15, 2^15)`.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Words;

#[cfg(target_arch = "x86_64")]
impl Digits for Words {
    const CHANNELS: usize = 2;

    #[inline(always)]
    fn digit(x: u32, plane: usize) -> u32 {
        if plane == 0 { x } else { x.wrapping_add(0x8000) >> 16 }
    }
}

/// All 32 bits in one plane, one channel to a unit.
pub(crate) struct Whole;

impl Digits for Whole {
    const CHANNELS: usize = 1;

    #[inline(always)]
    fn digit(x: u32, _: usize) -> u32 {
        x
    }
}

/// Writes `planes` planes of one row, digit by digit.
#[inline(always)]
pub(crate) fn split<D: Digits>(row: &Row<'_>, planes: usize, out: &mut [u8]) {
    for plane in 0..planes {
        let out = &mut out[plane * row.plane_bytes..][..row.columns * row.pixel_bytes];
        match D::CHANNELS {
            4 => split_plane(row, out, |x| [D::digit(x, plane) as u8]),
            2 => split_plane(row, out, |x| (D::digit(x, plane) as u16).to_le_bytes()),
            _ => split_plane(row, out, |x| D::digit(x, plane).to_le_bytes()),
        }
    }
}

/// Writes one row, [`Whole`].
pub(crate) fn split_whole(row: &Row<'_>, out: &mut [u8]) {
    split::<Whole>(row, 1, out);
}

#[inline(always)]
fn split_plane<const N: usize>(row: &Row<'_>, out: &mut [u8], digit: impl Fn(u32) -> [u8; N]) {
    let out = out.as_chunks_mut().0;
    if row.columns == 1 && row.area == 1 {
        // A row of a fully connected layer: channels are neighbours on both sides.
        return out.iter_mut().zip(&row.x[..row.channels]).for_each(|(o, &x)| *o = digit(x));
    }
    for (column, pixel) in out.chunks_exact_mut(row.pixel_bytes / N).enumerate() {
        for (o, &x) in pixel[..row.channels].iter_mut().zip(row.x[column..].iter().step_by(row.area)) {
            *o = digit(x);
        }
    }
}
