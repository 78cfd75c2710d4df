//! Convolutions by Winograd's minimal filtering, exact in `Z_2^k` for k up to 30: transforms mod 2^32 around the
//! products of any native micro-kernel with 16-bit weights.

mod packed;
mod scheme;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use twinmask_layer::{Conv, Geometry};

use crate::linear::direct::{MAX_BLOCKS, MAX_PIXELS, Micro, Pass, Tile};
use crate::linear::kernel::{Input, LINE, Linear, Scratch, check};
use crate::linear::layout::{LANES, Row};
use crate::linear::runs::Runs;
use crate::linear::wide::{WIDE, Wide};
use packed::{Evaluate, Points};
use scheme::{F2x3, F2x5, F2x7, F4x3, MOST_OUTPUTS, MOST_POINTS, Scheme, exact_bits, sides};

/// Most tiles at a time: the weights do not go by for a few, and transformed tiles stay in the second-level cache.
const TILES: usize = 64;
/// Bytes of an element of the laid out input.
const ELEMENT: usize = 4;

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
    let layer = Layer { micro, geometry, conv, weights, k };
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
    geometry: &'a Geometry,
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
    conv: Conv,
    points: Points<M, S, V, H>,
    /// Input channels, filled up to whole vectors.
    channels: usize,
    /// Tiles in one dimension: rows, columns.
    tiles: [usize; 2],
    /// Tiles at a time.
    at_a_time: usize,
    /// Of the laid out input: `[row][column][channel]`, 32 bits each.
    pixel_bytes: usize,
    row_bytes: usize,
    /// The units of a transformed tile.
    runs: Runs,
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Winograd<M, S, V, H> {
    /// Points, outputs and taps: vertically, horizontally.
    const N: [usize; 2] = sides::<V, H>(S::N);
    const M: [usize; 2] = sides::<V, H>(S::M);
    const R: [usize; 2] = sides::<V, H>(S::R);
    /// Points in all.
    const POINTS: usize = Self::N[0] * Self::N[1];

    /// Transforms the weights of a layer.
    fn prepare(name: &'static str, layer: Layer<'_, M>) -> Arc<dyn Linear> {
        let Layer { micro, geometry, conv, weights, .. } = layer;
        let channels = (conv.c_in as usize).next_multiple_of(WIDE * digits::<M>());
        let [height, width] = [conv.out_h() as usize, conv.out_w() as usize];
        let tiles = [height.div_ceil(Self::M[0]), width.div_ceil(Self::M[1])];
        let total = tiles[0] * tiles[1];
        // Neighbouring pixels are written together: not to the same few sets of the first-level cache.
        let apart = if (channels * ELEMENT).is_multiple_of(1024) { LINE } else { 0 };
        let pixel_bytes = channels * ELEMENT + apart;
        Arc::new(Self {
            micro,
            name,
            geometry: *geometry,
            conv,
            points: Points::new(&conv, weights, channels),
            channels,
            tiles,
            at_a_time: total.div_ceil(total.div_ceil(TILES)).max(MAX_PIXELS),
            pixel_bytes,
            row_bytes: (tiles[1] * Self::M[1] + Self::R[1] - 1) * pixel_bytes,
            runs: Runs::one(channels * M::ELEMENT / 4),
        })
    }

    /// Bytes of one plane of a transformed tile, and from one point's tiles to the next point's, moved apart by a line.
    fn plane_bytes(&self) -> usize {
        self.channels * M::ELEMENT
    }

    fn planes(&self) -> usize {
        ELEMENT / M::ELEMENT
    }

    fn point_bytes(&self) -> usize {
        self.at_a_time * self.planes() * self.plane_bytes() + LINE
    }

    /// From one point's products with `n` blocks to the next point's, moved apart by a line: those of one tile are read
    /// together.
    fn sums_step(&self, n: usize) -> usize {
        self.at_a_time * n + 1
    }

    /// The products of `count` tiles at all points with `blocks`, whose transformed weights are `u`:
    /// `[point][tile][block]`.
    fn products(&self, v: &[u8], u: &[i16], count: usize, blocks: Range<usize>, sums: &mut [[u32; LANES]]) {
        let (n, tile_bytes) = (blocks.len(), self.planes() * self.plane_bytes());
        for point in 0..Self::POINTS {
            let v = &v[point * self.point_bytes()..][..count.max(MAX_PIXELS) * tile_bytes];
            let sums = &mut sums[point * self.sums_step(n)..][..self.at_a_time * n];
            let low = std::array::from_fn(|b| self.points.low(u, point, b.min(n - 1), n));
            self.panel(v, low, count, n, sums);
            if self.points.high(point, blocks.start).is_some() {
                let high = |b: usize| self.points.high(point, blocks.start + b.min(n - 1)).unwrap_or_default();
                let mut extra = [[0; LANES]; MAX_PIXELS * MAX_BLOCKS];
                self.high(v, std::array::from_fn(high), count, n, sums, &mut extra);
            }
        }
    }

    fn panel(
        &self,
        v: &[u8],
        weights: [&[i16]; MAX_BLOCKS],
        count: usize,
        n: usize,
        sums: &mut [[u32; LANES]],
    ) {
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

    /// Adds `2^16·V·high`: of the digits of V, only those of the lowest plane count.
    fn high(
        &self,
        v: &[u8],
        weights: [&[i16]; MAX_BLOCKS],
        count: usize,
        n: usize,
        sums: &mut [[u32; LANES]],
        extra: &mut [[u32; LANES]],
    ) {
        let (_, best) = self.micro.tile_size(1, n);
        let mut done = 0;
        while done < count {
            let at_once = if count - done < best { 1 } else { best };
            self.tile(v, weights, 1, done, at_once, n, &mut extra[..at_once * n]);
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

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        assert!(xs.len() == 1 && xs[0].len() == self.geometry.in_len(), "input of {:?}", self.geometry);
        let (conv, rows) = (&self.conv, self.tiles[0] * Self::M[0] + Self::R[0] - 1);
        let (h, w) = (conv.h as usize, conv.w as usize);
        let [top, left] = [conv.pad[0], conv.pad[1]].map(|p| p as usize);
        let bytes = input.fill_bytes(1, rows * self.row_bytes);
        if self.channels > conv.c_in as usize {
            bytes.fill(0); // also channels that fill up a vector
        } else {
            // Borders. What is to the right is to the left of the next row.
            let (first, last) = (top * self.row_bytes, (top + h - 1) * self.row_bytes);
            let (from, to) = (left * self.pixel_bytes, (left + w) * self.pixel_bytes);
            bytes[..first + from].fill(0);
            for y in 0..h - 1 {
                bytes[first + y * self.row_bytes + to..][..self.row_bytes - (to - from)].fill(0);
            }
            bytes[last + to..].fill(0);
        }
        for y in 0..h {
            let row = Row {
                x: &xs[0][y * w..],
                area: h * w,
                channels: conv.c_in as usize,
                columns: w,
                pixel_bytes: self.pixel_bytes,
                plane_bytes: 0,
            };
            let at = (y + top) * self.row_bytes + left * self.pixel_bytes;
            self.micro.turn(&row, &mut bytes[at..at + w * self.pixel_bytes]);
        }
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        let positions = self.conv.out_h() as usize * self.conv.out_w() as usize;
        assert_eq!(y.len(), channels.len() * positions, "output length of {:?}", self.geometry);
        let blocks = channels.start / LANES..channels.end.div_ceil(LANES).min(self.points.blocks());
        let (wide, _) = self.micro.tile_size(self.planes(), MAX_BLOCKS);
        let points = Self::POINTS;
        let wide = wide.min(blocks.len());
        let [v, u, sums] = [self.point_bytes(), self.points.step(wide), self.sums_step(wide) * LANES];
        let (v, u, sums) = scratch.transformed(points * v, points * u, points * sums);
        let sums = sums.as_chunks_mut().0;
        let total = self.tiles[0] * self.tiles[1];
        for first in (0..total).step_by(self.at_a_time) {
            let count = self.at_a_time.min(total - first);
            self.micro.pass(Transform { layer: self, bytes: input.bytes(), first, count, v: &mut *v });
            for start in blocks.clone().step_by(wide) {
                let group = start..(start + wide).min(blocks.end);
                self.micro.pass(Evaluate { points: &self.points, blocks: group.clone(), out: &mut *u });
                self.products(v, u, count, group.clone(), sums);
                let from = (group.start * LANES - channels.start) * positions;
                let y = &mut y[from..];
                let last = channels.end - group.start * LANES;
                self.micro.pass(Output { layer: self, sums, first, count, blocks: group.len(), channels: last, y });
            }
        }
    }
}

/// Transforms the input of some tiles: `V[point][tile][plane][channel]`.
struct Transform<'a, M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> {
    layer: &'a Winograd<M, S, V, H>,
    bytes: &'a [u8],
    first: usize,
    count: usize,
    v: &'a mut [u8],
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Pass for Transform<'_, M, S, V, H> {
    #[inline(always)]
    fn run<W: Wide>(self, isa: W::Isa) {
        let layer = self.layer;
        let (tile_bytes, point_bytes, plane_bytes) =
            (layer.planes() * layer.plane_bytes(), layer.point_bytes(), layer.plane_bytes());
        let [top, left] = Winograd::<M, S, V, H>::M;
        let mut half = [[[W::of(isa, &[0; WIDE]); MOST_POINTS]; MOST_POINTS]; 2];
        for t in 0..self.count {
            let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
            let corner = &self.bytes[top * row * layer.row_bytes + left * column * layer.pixel_bytes..];
            for channel in (0..layer.channels).step_by(WIDE * digits::<M>()) {
                let (corner, at) = (&corner[channel * ELEMENT..], t * tile_bytes + channel * M::ELEMENT);
                for (v, half) in half[..digits::<M>()].iter_mut().enumerate() {
                    let corner = &corner[v * WIDE * ELEMENT..];
                    across::<W, S, V, H>(isa, corner, layer.row_bytes, layer.pixel_bytes, half);
                }
                for i in 0..Winograd::<M, S, V, H>::N[0] {
                    let first = if H { S::input(&half[0][i]) } else { half[0][i] };
                    let second = if H { S::input(&half[1][i]) } else { half[1][i] };
                    for j in 0..Winograd::<M, S, V, H>::N[1] {
                        let point = i * Winograd::<M, S, V, H>::N[1] + j;
                        let to = &mut self.v[point * point_bytes + at..];
                        write::<W, M>(first[j], second[j], to, plane_bytes);
                    }
                }
            }
        }
    }
}

/// Evaluates the columns of a tile, of one vector of channels.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
fn across<W: Wide, S: Scheme, const V: bool, const H: bool>(
    isa: W::Isa,
    corner: &[u8],
    row_bytes: usize,
    pixel_bytes: usize,
    half: &mut [[W; MOST_POINTS]; MOST_POINTS],
) {
    let [down, right] = sides::<V, H>(S::N);
    for j in 0..right {
        let mut d = [read::<W>(isa, &corner[j * pixel_bytes..]); MOST_POINTS];
        for i in 1..down {
            d[i] = read(isa, &corner[i * row_bytes + j * pixel_bytes..]);
        }
        let d = if V { S::input(&d) } else { d };
        for i in 0..down {
            half[i][j] = d[i];
        }
    }
}

#[inline(always)]
fn read<W: Wide>(isa: W::Isa, bytes: &[u8]) -> W {
    W::read(isa, &bytes.as_chunks().0[0])
}

/// Digits of an element, and so channels of a unit.
const fn digits<M: Micro<Weight = i16>>() -> usize {
    ELEMENT / M::ELEMENT
}

/// Writes the digits of all channels, plane by plane. A unit of two digits is one channel of `first` and the same of
/// `second`, which takes no moving of lanes; `packed::unit` orders the weights so.
#[inline(always)]
fn write<W: Wide, M: Micro<Weight = i16>>(first: W, second: W, out: &mut [u8], plane_bytes: usize) {
    if digits::<M>() == 1 {
        return first.write(&mut out.as_chunks_mut().0[0]);
    }
    let [low, high] = first.digits(second);
    low.write(&mut out.as_chunks_mut().0[0]);
    high.write(&mut out[plane_bytes..].as_chunks_mut().0[0]);
}

/// Interpolates the outputs of some tiles, and stores them as rows of channels.
struct Output<'a, M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> {
    layer: &'a Winograd<M, S, V, H>,
    sums: &'a [[u32; LANES]],
    first: usize,
    count: usize,
    blocks: usize,
    /// Output channels from the first block's on.
    channels: usize,
    y: &'a mut [u32],
}

/// Pixels of a row that are stored at a time.
const RUN: usize = 16;

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Pass for Output<'_, M, S, V, H> {
    #[inline(always)]
    fn run<W: Wide>(self, isa: W::Isa) {
        let layer = self.layer;
        let [down, right] = Winograd::<M, S, V, H>::M;
        let (height, width) = (layer.conv.out_h() as usize, layer.conv.out_w() as usize);
        let step = layer.sums_step(self.blocks);
        let mut rows = [[[0; LANES]; RUN]; MOST_OUTPUTS];
        let mut half = [[W::of(isa, &[0; WIDE]); MOST_POINTS]; MOST_OUTPUTS];
        for block in 0..self.blocks {
            let channels = LANES.min(self.channels - block * LANES);
            let mut t = 0;
            while t < self.count {
                let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
                let run = (RUN / right).min(self.count - t).min(layer.tiles[1] - column);
                for i in 0..run {
                    let sums = &self.sums[(t + i) * self.blocks + block..];
                    interpolate::<W, S, V, H>(isa, sums, step, &mut half, &mut rows, i * right);
                }
                let (top, left) = (row * down, column * right);
                let pixels = (run * right).min(width - left);
                for (i, pixel) in rows.iter().enumerate().take(down.min(height - top)) {
                    let at = block * LANES * height * width + (top + i) * width + left;
                    layer.micro.store(pixel, 1, channels, &mut self.y[at..], height * width, pixels);
                }
                t += run;
            }
        }
    }
}

/// Makes of one tile's products, `step` apart, the outputs from pixel `at` of `rows` on.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
fn interpolate<W: Wide, S: Scheme, const V: bool, const H: bool>(
    isa: W::Isa,
    sums: &[[u32; LANES]],
    step: usize,
    half: &mut [[W; MOST_POINTS]; MOST_OUTPUTS],
    rows: &mut [[[u32; LANES]; RUN]; MOST_OUTPUTS],
    at: usize,
) {
    let ([down, right], outputs) = (sides::<V, H>(S::N), sides::<V, H>(S::M));
    for j in 0..right {
        let mut m = [W::of(isa, &sums[j * step]); MOST_POINTS];
        for i in 1..down {
            m[i] = W::of(isa, &sums[(i * right + j) * step]);
        }
        let m: [W; MOST_OUTPUTS] = if V { S::output(&m) } else { [m[0]; MOST_OUTPUTS] };
        for i in 0..outputs[0] {
            half[i][j] = m[i];
        }
    }
    for i in 0..outputs[0] {
        let y: [W; MOST_OUTPUTS] = if H { S::output(&half[i]) } else { [half[i][0]; MOST_OUTPUTS] };
        for j in 0..outputs[1] {
            S::finish::<W, V, H>(y[j]).put(&mut rows[i][at + j]);
        }
    }
}
