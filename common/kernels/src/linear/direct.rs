//! The driver of all native kernels: direct convolution (and fully connected layers as convolutions of one pixel)
//! over a [`Layout`], in tiles of a few pixels by a few blocks of 16 output channels.

use std::ops::Range;
use std::sync::Arc;

use twinmask_layer::{Conv, Geometry};

use crate::linear::kernel::{Input, LINE, Linear, Scratch, check};
use crate::linear::layout::{Block, LANES, Layout, Row, store_plain};
use crate::linear::planes::split_whole;
use crate::linear::runs::Runs;
use crate::linear::wide::Wide;

/// Vectors that every CPU of this architecture has.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) type Baseline = crate::linear::wide::Plain;
/// Vectors that every CPU of this architecture has.
#[cfg(target_arch = "aarch64")]
pub(crate) type Baseline = crate::linear::wide128::Wide128;

/// Output positions whose input is kept in cache while all weights go by, except at the end.
const PIXELS: usize = 64;
/// The last of them may be more, because weights should not go by for a few.
const MOST_PIXELS: usize = PIXELS + LANES;
/// Most blocks in a tile.
pub(crate) const MAX_BLOCKS: usize = 4;
/// Most pixels in a tile.
pub(crate) const MAX_PIXELS: usize = 6;

/// What a tile reads. In each pixel's bytes there are all units in all planes: [`Tile::new`] has checked it.
pub(crate) struct Tile<'a, W> {
    pixels: &'a [&'a [u8]],
    runs: &'a Runs,
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel has one plane")
    )]
    planes: usize,
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel has one plane")
    )]
    plane_bytes: usize,
    weights: [&'a [W]; MAX_BLOCKS],
}

impl<'a, W> Tile<'a, W> {
    /// The input's bytes from each pixel's first on, the units of the reduction, its planes and the bytes between them,
    /// and each block's weights, `[unit][lane][element]`.
    ///
    /// # Panics
    /// If a pixel is shorter than what the units reach.
    #[inline(always)]
    pub(crate) fn new(
        pixels: &'a [&'a [u8]],
        runs: &'a Runs,
        planes: usize,
        plane_bytes: usize,
        weights: [&'a [W]; MAX_BLOCKS],
    ) -> Self {
        let span = runs.reach() + (planes - 1) * plane_bytes;
        assert!(pixels.iter().all(|p| p.len() >= span), "units reach {span} bytes");
        Self { pixels, runs, planes, plane_bytes, weights }
    }

    /// Planes of the input.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) const fn planes(&self) -> usize {
        self.planes
    }

    /// Bytes between the planes of a unit.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) const fn plane_bytes(&self) -> usize {
        self.plane_bytes
    }

    /// The units.
    pub(crate) const fn runs(&self) -> &'a Runs {
        self.runs
    }

    /// The bytes of `P` pixels.
    #[inline(always)]
    pub(crate) fn pixels<const P: usize>(&self) -> [&'a [u8]; P] {
        std::array::from_fn(|p| self.pixels[p])
    }

    /// The weights of `B` blocks, `N` for each unit.
    #[inline(always)]
    pub(crate) fn weights<const B: usize, const N: usize>(&self) -> [&'a [[W; N]]; B] {
        std::array::from_fn(|b| &self.weights[b].as_chunks().0[..self.runs.units()])
    }
}

/// Loops that a micro-kernel compiles for its instruction set; `run` is to be inlined always.
pub(crate) trait Pass {
    /// Runs them.
    fn run<W: Wide>(self, isa: W::Isa);
}

/// The inner loop of a native kernel; a value of the type proves that the CPU has the instructions.
pub(crate) trait Micro: Copy + Send + Sync + 'static {
    /// A packed weight.
    type Weight: Copy + Default + Send + Sync;
    /// Bytes of an element in one plane.
    const ELEMENT: usize;
    /// Bytes of a unit of the reduction, which a lane multiplies at once.
    const UNIT: usize = 4;

    /// The largest weight, where weights have 16 bits; the smallest is 65535 less.
    const LARGEST: i16 = i16::MAX;

    /// Narrows a weight; it fits, or the micro-kernel would not have been chosen.
    fn narrow(weight: i16) -> Self::Weight;

    /// Moves packed weights to where [`tile`](Self::tile) expects them within its vectors.
    fn arrange(_: &mut [Self::Weight]) {}

    /// Planes that `Z_2^k` takes.
    fn planes(k: u32) -> usize {
        (k as usize).div_ceil(8 * Self::ELEMENT)
    }

    /// Blocks and pixels of the best tile.
    fn tile_size(self, planes: usize, blocks: usize) -> (usize, usize);

    /// Splits one row of the input into planes.
    fn split(self, row: &Row<'_>, planes: usize, out: &mut [u8]);

    /// Computes a tile: `out[pixel * blocks + block][lane]`. `blocks` and `pixels` are those of
    /// [`tile_size`](Self::tile_size), or 1 pixel.
    fn tile(self, tile: &Tile<'_, Self::Weight>, blocks: usize, pixels: usize, out: &mut [[u32; LANES]]);

    /// Writes one row of the input whole, 32 bits an element.
    fn turn(self, row: &Row<'_>, out: &mut [u8]) {
        split_whole(row, out);
    }

    /// Runs `pass` with this instruction set.
    fn pass(self, pass: impl Pass) {
        pass.run::<Baseline>(());
    }

    /// Turns the sums of `count` pixels, `step` apart in `sums`, of `channels` lanes into rows of `y`, `stride` apart.
    fn store(self, sums: &[[u32; LANES]], step: usize, channels: usize, y: &mut [u32], stride: usize, count: usize) {
        store_plain(sums, step, channels, y, stride, count);
    }
}

/// The sums of a panel: `[pixel][block][lane]`, `[u32; LANES]` each.
#[repr(align(64))]
struct Sums([[u32; LANES]; MOST_PIXELS * MAX_BLOCKS]);

/// Packed weights from the start of a line on: vectors that lie across two take twice as long. Clones share them.
#[derive(Clone)]
pub(crate) struct Packed<W> {
    values: Arc<Vec<W>>,
    start: usize,
}

impl<W: Copy + Default> Packed<W> {
    /// `len` weights, which `fill` writes.
    pub(crate) fn new(len: usize, fill: impl FnOnce(&mut [W])) -> Self {
        let spare = LINE / size_of::<W>();
        let mut values = vec![W::default(); len + spare];
        let start = values.as_ptr().align_offset(LINE).min(spare);
        fill(&mut values[start..start + len]);
        Self { values: Arc::new(values), start }
    }

    /// The weights, and a little room behind them.
    pub(crate) fn values(&self) -> &[W] {
        &self.values[self.start..]
    }
}

/// A layer packed for the micro-kernel `M`.
pub(crate) struct Direct<M: Micro> {
    micro: M,
    name: &'static str,
    layout: Layout,
    planes: usize,
    weights: Packed<M::Weight>,
}

impl<M: Micro> Direct<M> {
    /// Packs a layer.
    pub(crate) fn prepare(
        micro: M,
        name: &'static str,
        geometry: &Geometry,
        weights: &[i16],
        k: u32,
    ) -> Arc<dyn Linear> {
        check(geometry, weights, k);
        let planes = M::planes(k);
        let layout = Layout::new(geometry, M::ELEMENT, M::UNIT, planes);
        let len = layout.blocks.len() * layout.block_weights();
        let weights = Packed::new(len, |packed| {
            layout.pack(weights, M::narrow, packed);
            M::arrange(packed);
        });
        Arc::new(Self { micro, name, layout, planes, weights })
    }

    /// Computes the positions of `bases`, at most [`MOST_PIXELS`], and channels of `blocks`, all of one group, into
    /// `y`, whose rows (one per channel) are `stride` apart.
    fn panel(
        &self,
        bytes: &[u8],
        bases: &[usize],
        blocks: Range<usize>,
        sums: &mut Sums,
        y: &mut [u32],
        stride: usize,
    ) {
        let n = blocks.len();
        let group: &[Block] = &self.layout.blocks[blocks.clone()];
        let (_, best) = self.micro.tile_size(self.planes, n);
        let per_block = self.layout.block_weights();
        let weights = std::array::from_fn(|b| {
            let index = blocks.start + b.min(n - 1);
            &self.weights.values()[index * per_block..][..per_block]
        });
        let mut pixels: [&[u8]; MOST_PIXELS] = [&[]; MOST_PIXELS];
        // A tile larger than what there is repeats the last position.
        let padded = bases.iter().chain(std::iter::repeat(&bases[bases.len() - 1]));
        for (pixel, base) in pixels.iter_mut().zip(padded).take(bases.len().max(MAX_PIXELS)) {
            *pixel = &bytes[base + group[0].offset..][..self.layout.span];
        }
        let mut done = 0;
        while done < bases.len() {
            let count = if bases.len() - done == 1 { 1 } else { best };
            // A tile at the end steps back over positions that are done already.
            let first = done.min(bases.len().saturating_sub(count));
            let tile = Tile::new(
                &pixels[first..first + count],
                &self.layout.runs,
                self.planes,
                self.layout.plane_bytes,
                weights,
            );
            self.micro.tile(&tile, n, count, &mut sums.0[first * n..(first + count) * n]);
            done = first + count;
        }
        for (b, block) in group.iter().enumerate() {
            let from = (block.channel - group[0].channel) * stride;
            self.micro.store(&sums.0[b..], n, block.count, &mut y[from..], stride, bases.len());
        }
    }
}

impl<M: Micro> Linear for Direct<M> {
    fn geometry(&self) -> &Geometry {
        self.layout.geometry()
    }

    fn picked(&self) -> &'static str {
        self.name
    }

    fn channel_step(&self) -> usize {
        self.layout.channel_step()
    }

    fn of_rows(&self, part: Conv) -> Arc<dyn Linear> {
        // The order of packed weights hangs on channels and kernel alone.
        let layout = Layout::new(&Geometry::Conv(part), M::ELEMENT, M::UNIT, self.planes);
        Arc::new(Self { layout, weights: self.weights.clone(), ..*self })
    }

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        self.layout.load(xs, input, |row, out| self.micro.split(row, self.planes, out));
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], _: &mut Scratch) {
        let n = input.items() * self.layout.positions();
        assert_eq!(y.len(), channels.len() * n, "output length of {:?}", self.geometry());
        let blocks = self.layout.blocks_of(&channels);
        let (wide, _) = self.micro.tile_size(self.planes, MAX_BLOCKS);
        let (mut bases, mut sums) = ([0; MOST_PIXELS], Sums([[0; LANES]; MOST_PIXELS * MAX_BLOCKS]));
        let mut start = 0;
        while start < n {
            let count = if n - start <= MOST_PIXELS { n - start } else { PIXELS };
            let bases = &mut bases[..count];
            self.layout.bases(start, bases);
            let mut first = blocks.start;
            while first < blocks.end {
                let Block { offset, channel, .. } = self.layout.blocks[first];
                let same_group =
                    self.layout.blocks[first..blocks.end].iter().take(wide).take_while(|b| b.offset == offset);
                let last = first + same_group.count();
                let y = &mut y[(channel - channels.start) * n + start..];
                self.panel(input.bytes(), bases, first..last, &mut sums, y, n);
                first = last;
            }
            start += count;
        }
    }
}
