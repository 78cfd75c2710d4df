//! Safe Rust, vectorised by the compiler: 16 lanes of wrapping u32 products, compiled once more for each instruction
//! set that the CPU may have.

use crate::linear::direct::{Micro, Tile};
#[cfg(not(target_arch = "aarch64"))]
use crate::linear::layout::store_plain as store;
use crate::linear::layout::{LANES, Row};
#[cfg(target_arch = "x86_64")]
use crate::linear::planes::Whole;
#[cfg(not(target_arch = "aarch64"))]
use crate::linear::planes::split_whole;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose::Avx512;
#[cfg(target_arch = "aarch64")]
use crate::linear::transpose128::{split_whole, store};
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose256::Avx2;

/// The instruction sets that the inner loop is compiled for. Only [`Wrapping::detect`] makes one.
#[derive(Clone, Copy)]
enum Isa {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The inner loop; proves that the CPU has what its instruction set needs.
#[derive(Clone, Copy)]
pub(crate) struct Wrapping(Isa);

impl Wrapping {
    /// The widest that this CPU has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(avx512) = Avx512::new() {
                return Self(Isa::Avx512(avx512));
            }
            if let Some(avx2) = Avx2::new() {
                return Self(Isa::Avx2(avx2));
            }
        }
        Self(Isa::Baseline)
    }
}

impl Micro for Wrapping {
    type Weight = i16;
    const ELEMENT: usize = 4;

    fn narrow(weight: i16) -> i16 {
        weight
    }

    fn tile_size(self, _: usize, blocks: usize) -> (usize, usize) {
        let most = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => crate::linear::direct::MAX_BLOCKS,
            _ => 1,
        };
        (blocks.min(most), 4)
    }

    fn split(self, row: &Row<'_>, _: usize, out: &mut [u8]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(avx512) => avx512.split::<Whole>(row, 1, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) => avx2.split::<Whole>(row, 1, out),
            Isa::Baseline => split_whole(row, out),
        }
    }

    fn turn(self, row: &Row<'_>, out: &mut [u8]) {
        self.split(row, 1, out);
    }

    fn tile(self, tile: &Tile<'_, i16>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
        match self.0 {
            Isa::Baseline => narrow_tile(tile, blocks, pixels, out),
            // SAFETY: the token proves AVX2.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => unsafe { avx2(tile, blocks, pixels, out) },
            // SAFETY: the token proves AVX-512F and BW.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => unsafe { avx512(tile, blocks, pixels, out) },
        }
    }

    fn store(self, sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(avx512) => avx512.store(sums, step, channels, y, stride, count),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) => avx2.store(sums, step, channels, y, stride, count),
            Isa::Baseline => store(sums, step, channels, y, stride, count),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(tile: &Tile<'_, i16>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
    narrow_tile(tile, blocks, pixels, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512(tile: &Tile<'_, i16>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
    match (blocks, pixels) {
        (1, 1) => sums::<1, 1>(tile, out),
        (2, 1) => sums::<2, 1>(tile, out),
        (3, 1) => sums::<3, 1>(tile, out),
        (4, 1) => sums::<4, 1>(tile, out),
        (1, _) => sums::<1, 4>(tile, out),
        (2, _) => sums::<2, 4>(tile, out),
        (3, _) => sums::<3, 4>(tile, out),
        _ => sums::<4, 4>(tile, out),
    }
}

#[inline(always)]
fn narrow_tile(tile: &Tile<'_, i16>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]) {
    debug_assert_eq!(blocks, 1, "16 registers hold one block");
    if pixels == 1 { sums::<1, 1>(tile, out) } else { sums::<1, 4>(tile, out) }
}

/// `out[pixel * B + block] = sum over units of weights * input`, mod 2^32.
///
/// Plain loops, because the compiler does not vectorise the same thing written with `array::map` and closures.
#[inline(always)]
fn sums<const B: usize, const P: usize>(tile: &Tile<'_, i16>, out: &mut [[u32; LANES]]) {
    let (weights, pixels) = (tile.weights::<B, LANES>(), tile.pixels::<P>());
    let mut acc = [[[0u32; LANES]; B]; P];
    for run in tile.runs().iter() {
        let mut at = run.start();
        for unit in run.units() {
            let mut x = [0u32; P];
            for p in 0..P {
                let bytes = &pixels[p][at..at + 4];
                x[p] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            at += 4;
            for b in 0..B {
                let w = &weights[b][unit];
                for p in 0..P {
                    for lane in 0..LANES {
                        acc[p][b][lane] = acc[p][b][lane].wrapping_add((i32::from(w[lane]) as u32).wrapping_mul(x[p]));
                    }
                }
            }
        }
    }
    for p in 0..P {
        out[p * B..(p + 1) * B].copy_from_slice(&acc[p]);
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::linear::direct::Direct;
    use crate::linear::kernel::Scratch;
    use crate::linear::naive;
    use twinmask_layer::{Conv, Geometry};

    /// `detect` takes the widest; the others are held against the oracle here.
    #[test]
    fn every_instruction_set_that_the_cpu_has() {
        let (stride, pad, dilation) = ([2, 1], [1, 2, 0, 1], [1, 2]);
        let geometry =
            Geometry::Conv(Conv { c_in: 10, h: 9, w: 11, c_out: 74, kh: 3, kw: 2, stride, pad, dilation, groups: 2 });
        let weights: Vec<i16> = (0..geometry.weight_len() as i32).map(|i| (i * 7919) as i16).collect();
        let x: Vec<u32> = (0..geometry.in_len() as u32).map(|i| i.wrapping_mul(2_654_435_769)).collect();
        let expected = naive::apply(&geometry, &weights, &x);
        let mut sets = vec![Isa::Baseline];
        sets.extend(Avx2::new().map(Isa::Avx2));
        sets.extend(Avx512::new().map(Isa::Avx512));
        for isa in sets {
            let mut y = vec![0; expected.len()];
            Direct::prepare(Wrapping(isa), "portable", &geometry, &weights, 32).apply(
                &x,
                &mut y,
                &mut Scratch::default(),
            );
            assert_eq!(y, expected);
        }
    }
}
