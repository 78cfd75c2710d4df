//! Convolutions by Winograd's minimal filtering, exact in `Z_2^k` for k up to 30: transforms mod 2^32 around the
//! products of any native micro-kernel with 16-bit weights.

mod grid;
mod packed;
mod scheme;
#[cfg(test)]
mod tests;
mod transform;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use twinmask_layer::{Conv, Geometry};

use crate::linear::direct::{MAX_BLOCKS, MAX_PIXELS, Micro, Tile};
use crate::linear::kernel::{Input, LINE, Linear, Scratch, check};
use crate::linear::layout::LANES;
use crate::linear::runs::Runs;
use grid::{Grid, digits};
use packed::{Evaluate, Points};
use scheme::{F2x3, F2x5, F2x7, F4x3, Scheme, exact_bits};
use transform::{Output, Transform};

/// What [`Linear::picked`] says of F(4x4, 3x3), F(2x2, 3x3), F(2x2, 5x5), and of F(2, 7) and F(4, 3) along one side.
pub(crate) type Names = [&'static str; 5];

/// How a layer may be computed so, if it may; 3x3 in tiles of 2x2 if `small`.
pub(crate) fn prepare<M: Micro<Weight = i16>>(
    micro: M,
    names: Names,
    small: bool,
    geometry: &Geometry,
    weights: &[i16],
    k: u32,
) -> Option<Arc<dyn Linear>> {
    check(geometry, weights, k);
    let Geometry::Conv(conv) = *geometry else { return None };
    let layer = Layer { micro, conv, weights, k };
    match (conv.kh, conv.kw) {
        _ if conv.stride != [1, 1] || conv.dilation != [1, 1] || conv.groups != 1 => None,
        (3, 3) if small => layer.by::<F2x3, true, true>(names[1]),
        (3, 3) => layer.by::<F4x3, true, true>(names[0]),
        (5, 5) => layer.by::<F2x5, true, true>(names[2]),
        (1, 7) => layer.by::<F2x7, false, true>(names[3]),
        (7, 1) => layer.by::<F2x7, true, false>(names[3]),
        (1, 3) => layer.by::<F4x3, false, true>(names[4]),
        (3, 1) => layer.by::<F4x3, true, false>(names[4]),
        _ => None,
    }
}

/// What is to be prepared.
struct Layer<'a, M> {
    micro: M,
    conv: Conv,
    weights: &'a [i16],
    k: u32,
}

impl<M: Micro<Weight = i16>> Layer<'_, M> {
    fn by<S: Scheme, const V: bool, const H: bool>(self, name: &'static str) -> Option<Arc<dyn Linear>> {
        (self.k <= exact_bits::<S, V, H>()).then(|| Winograd::<M, S, V, H>::prepare(name, self))
    }
}

/// A layer, transformed for the micro-kernel `M`: vertically if `V`, horizontally if `H`.
struct Winograd<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> {
    micro: M,
    name: &'static str,
    geometry: Geometry,
    grid: Grid<S, V, H>,
    points: Points<M, S, V, H>,
    /// The units of a transformed tile.
    runs: Runs,
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Winograd<M, S, V, H> {
    /// Packs the weights of a layer.
    fn prepare(name: &'static str, layer: Layer<'_, M>) -> Arc<dyn Linear> {
        let Layer { micro, conv, weights, .. } = layer;
        let points = Points::new(&conv, weights, Grid::<S, V, H>::new::<M>(conv).channels);
        Arc::new(Self::new(micro, name, conv, points))
    }

    /// Applies the weights `points` in the shape `conv`.
    fn new(micro: M, name: &'static str, conv: Conv, points: Points<M, S, V, H>) -> Self {
        let grid = Grid::new::<M>(conv);
        let runs = Runs::one(M::UNIT, grid.channels * M::ELEMENT / M::UNIT);
        Self { micro, name, geometry: Geometry::Conv(conv), grid, points, runs }
    }

    /// Bytes of one plane of a transformed tile, and from one point's tiles to the next point's, moved apart by a line.
    fn plane_bytes(&self) -> usize {
        self.grid.channels * M::ELEMENT
    }

    fn planes(&self) -> usize {
        digits::<M>()
    }

    fn point_bytes(&self) -> usize {
        self.grid.most() * self.planes() * self.plane_bytes() + LINE
    }

    /// From one point's products with `n` blocks to the next point's, moved apart by a line: those of one tile are read
    /// together.
    fn sums_step(&self, n: usize) -> usize {
        self.grid.most() * n + 1
    }

    /// The products of `count` tiles at all points with `blocks`, whose transformed weights are `u`:
    /// `[point][tile][block]`.
    fn products(&self, v: &[u8], u: &[i16], count: usize, blocks: Range<usize>, sums: &mut [[u32; LANES]]) {
        let (n, tile_bytes) = (blocks.len(), self.planes() * self.plane_bytes());
        for point in 0..Grid::<S, V, H>::POINTS {
            let v = &v[point * self.point_bytes()..][..count.max(MAX_PIXELS) * tile_bytes];
            let sums = &mut sums[point * self.sums_step(n)..][..self.grid.most() * n];
            let low = std::array::from_fn(|b| self.points.low(u, point, b.min(n - 1), n));
            self.panel(v, low, count, n, sums);
            if self.points.high(point, blocks.start).is_some() {
                let high = |b: usize| self.points.high(point, blocks.start + b.min(n - 1)).unwrap_or_default();
                let mut extra = [[0; LANES]; MAX_PIXELS * MAX_BLOCKS];
                self.high(v, std::array::from_fn(high), count, n, sums, &mut extra);
            }
        }
    }

    fn panel(&self, v: &[u8], weights: [&[i16]; MAX_BLOCKS], count: usize, n: usize, sums: &mut [[u32; LANES]]) {
        let (_, best) = self.micro.tile_size(self.planes(), n);
        let mut done = 0;
        while done < count {
            let at_once = if count - done == 1 { 1 } else { best };
            // What is done beyond the last tile is room that is there, and read by nobody.
            let first = done.min(count.saturating_sub(at_once));
            self.tile(v, weights, self.planes(), first, at_once, n, &mut sums[first * n..(first + at_once) * n]);
            done = first + at_once;
        }
    }

    /// Adds `2^16·V·high`: of the digits of V, only those of the lowest 16 bits count.
    fn high(
        &self,
        v: &[u8],
        weights: [&[i16]; MAX_BLOCKS],
        count: usize,
        n: usize,
        sums: &mut [[u32; LANES]],
        extra: &mut [[u32; LANES]],
    ) {
        let planes = M::planes(16);
        let (_, best) = self.micro.tile_size(planes, n);
        let mut done = 0;
        while done < count {
            let at_once = if count - done < best { 1 } else { best };
            self.tile(v, weights, planes, done, at_once, n, &mut extra[..at_once * n]);
            for (sum, extra) in sums[done * n..(done + at_once) * n].iter_mut().zip(&*extra) {
                sum.iter_mut().zip(extra).for_each(|(s, e)| *s = s.wrapping_add(e << 16));
            }
            done += at_once;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a tile is, spelled out")]
    #[inline(always)]
    fn tile(
        &self,
        v: &[u8],
        weights: [&[i16]; MAX_BLOCKS],
        planes: usize,
        first: usize,
        at_once: usize,
        n: usize,
        out: &mut [[u32; LANES]],
    ) {
        let tile_bytes = self.planes() * self.plane_bytes();
        let mut pixels: [&[u8]; MAX_PIXELS] = [&[]; MAX_PIXELS];
        for (i, pixel) in pixels[..at_once].iter_mut().enumerate() {
            *pixel = &v[(first + i) * tile_bytes..][..tile_bytes];
        }
        let tile = Tile::new(&pixels[..at_once], &self.runs, planes, self.plane_bytes(), weights);
        self.micro.tile(&tile, n, at_once, out);
    }

    /// Computes the rows of tiles `rows`, whose input is `bytes`, of the output `channels` into `y`.
    fn strip(&self, bytes: &[u8], rows: Range<usize>, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        let (grid, micro, step) = (&self.grid, self.micro, |n: usize| self.sums_step(n));
        let positions = grid.conv.out_h() as usize * grid.conv.out_w() as usize;
        assert_eq!(y.len(), channels.len() * positions, "output length of {:?}", self.geometry);
        let blocks = channels.start / LANES..channels.end.div_ceil(LANES).min(self.points.blocks());
        let (wide, _) = micro.tile_size(self.planes(), MAX_BLOCKS);
        let wide = wide.min(blocks.len());
        let [v, u, sums] = [self.point_bytes(), self.points.step(wide), step(wide) * LANES];
        let points = Grid::<S, V, H>::POINTS;
        let (v, u, sums) = scratch.transformed(points * v, points * u, points * sums);
        let (sums, count) = (sums.as_chunks_mut().0, rows.len() * grid.tiles[1]);
        let point_bytes = self.point_bytes();
        micro.pass(Transform { grid, micro: PhantomData::<M>, bytes, count, point_bytes, v: &mut *v });
        for start in blocks.clone().step_by(wide) {
            let group = start..(start + wide).min(blocks.end);
            micro.pass(Evaluate { points: &self.points, blocks: group.clone(), out: &mut *u });
            self.products(v, u, count, group.clone(), sums);
            let y = &mut y[(group.start * LANES - channels.start) * positions..];
            let (blocks, channels) = (group.len(), channels.end - group.start * LANES);
            let (step, row) = (step(blocks), rows.start);
            micro.pass(Output { grid, micro, sums, step, row, count, blocks, channels, y });
        }
    }
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Linear for Winograd<M, S, V, H> {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn picked(&self) -> &'static str {
        self.name
    }

    fn channel_step(&self) -> usize {
        LANES
    }

    fn spare_memory(&self) -> usize {
        self.points.spare()
    }

    fn of_rows(&self, part: Conv) -> Arc<dyn Linear> {
        Arc::new(Self::new(self.micro, self.name, part, self.points.clone()))
    }

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        assert!(xs.len() == 1 && xs[0].len() == self.geometry.in_len(), "input of {:?}", self.geometry);
        let rows = self.grid.tiles[0];
        let bytes = input.fill_bytes(1, self.grid.bytes(rows));
        self.grid.fill(self.micro, xs[0], 0..rows, false, bytes);
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        for rows in self.grid.strips() {
            let bytes = &input.bytes()[self.grid.start(rows.start)..];
            self.strip(bytes, rows, channels.clone(), y, scratch);
        }
    }

    /// Lays out a strip at a time, which stays in the second-level cache until it is transformed.
    fn apply(&self, x: &[u32], y: &mut [u32], scratch: &mut Scratch) {
        assert_eq!(x.len(), self.geometry.in_len(), "input of {:?}", self.geometry);
        let (grid, mut input) = (&self.grid, scratch.take_input());
        let mut before: Option<Range<usize>> = None;
        for rows in grid.strips() {
            let bytes = input.fill_bytes(1, grid.bytes(grid.most_rows()));
            let follows = before.is_some();
            if let Some(before) = before {
                bytes.copy_within(grid.start(before.len())..grid.bytes(before.len()), 0);
            }
            grid.fill(self.micro, x, rows.clone(), follows, bytes);
            self.strip(input.bytes(), rows.clone(), 0..self.geometry.out_channels(), y, scratch);
            before = Some(rows);
        }
        scratch.give_input(input);
    }
}
