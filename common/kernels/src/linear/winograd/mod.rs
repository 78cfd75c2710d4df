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
use crate::linear::kernel::{Input, Linear, Scratch, check};
use crate::linear::layout::{LANES, LINE, Row};
use crate::linear::runs::Runs;
use packed::Points;
use scheme::{F2x3, F2x5, F2x7, F4x3, MOST_OUTPUTS, MOST_POINTS, Scheme, WIDE, Wide, exact_bits, sides};

/// Bytes of transformed input at one point that stay in the first-level cache while the weights go by.
const POINT_BYTES: usize = 24 << 10;
/// Fewest and most tiles at a time.
const TILES: (usize, usize) = (48, 192);
/// Bytes of an element of the laid out input.
const ELEMENT: usize = 4;

/// What [`Linear::picked`] says of F(4x4, 3x3), F(2x2, 3x3), F(2x2, 5x5), and of F(2, 7) and F(4, 3) along one side.
pub(crate) type Names = [&'static str; 5];

/// How a layer may be computed so, if it may; 3x3 in tiles of 2x2 if `small`.
pub(crate) fn prepare<M: Micro>(
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

impl<M: Micro> Layer<'_, M> {
    fn by<S: Scheme, const V: bool, const H: bool>(self, name: &'static str) -> Option<Arc<dyn Linear>> {
        (self.k <= exact_bits::<S, V, H>()).then(|| Winograd::<M, S, V, H>::prepare(name, self))
    }
}

/// A layer, transformed for the micro-kernel `M`: vertically if `V`, horizontally if `H`.
struct Winograd<M: Micro, S: Scheme, const V: bool, const H: bool> {
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

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Winograd<M, S, V, H> {
    /// Points, outputs and taps: vertically, horizontally.
    const N: [usize; 2] = sides::<V, H>(S::N);
    const M: [usize; 2] = sides::<V, H>(S::M);
    const R: [usize; 2] = sides::<V, H>(S::R);
    /// Points in all.
    const POINTS: usize = Self::N[0] * Self::N[1];

    /// Transforms the weights of a layer.
    fn prepare(name: &'static str, layer: Layer<'_, M>) -> Arc<dyn Linear> {
        let Layer { micro, conv, weights, .. } = layer;
        let channels = (conv.c_in as usize).next_multiple_of(WIDE * digits::<M>());
        Arc::new(Self::new(micro, name, conv, Points::new(&conv, weights, channels), channels))
    }

    /// Applies the transformed weights `points` in the shape `conv`.
    fn new(micro: M, name: &'static str, conv: Conv, points: Points<M, S, V, H>, channels: usize) -> Self {
        let [height, width] = [conv.out_h() as usize, conv.out_w() as usize];
        let tiles = [height.div_ceil(Self::M[0]), width.div_ceil(Self::M[1])];
        let fits = POINT_BYTES / (ELEMENT * channels);
        // Neighbouring pixels are written together: not to the same few sets of the first-level cache.
        let apart = if (channels * ELEMENT).is_multiple_of(1024) { LINE } else { 0 };
        let pixel_bytes = channels * ELEMENT + apart;
        Self {
            micro,
            name,
            geometry: Geometry::Conv(conv),
            conv,
            points,
            channels,
            tiles,
            at_a_time: fits.clamp(TILES.0, TILES.1).min(tiles[0] * tiles[1]).max(MAX_PIXELS),
            pixel_bytes,
            row_bytes: (tiles[1] * Self::M[1] + Self::R[1] - 1) * pixel_bytes,
            runs: Runs::one(channels * M::ELEMENT / 4),
        }
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

    /// The products of `count` tiles at all points with `blocks`: `[point][tile][block]`.
    fn products(&self, v: &[u8], count: usize, blocks: Range<usize>, sums: &mut [[u32; LANES]]) {
        let (n, tile_bytes) = (blocks.len(), self.planes() * self.plane_bytes());
        for point in 0..Self::POINTS {
            let v = &v[point * self.point_bytes()..][..count.max(MAX_PIXELS) * tile_bytes];
            let sums = &mut sums[point * self.sums_step(n)..][..self.at_a_time * n];
            let low = std::array::from_fn(|b| self.points.low(point, blocks.start + b.min(n - 1)));
            self.panel(v, low, self.planes(), count, n, sums);
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
        weights: [&[M::Weight]; MAX_BLOCKS],
        planes: usize,
        count: usize,
        n: usize,
        sums: &mut [[u32; LANES]],
    ) {
        let (_, best) = self.micro.tile_size(planes, n);
        let mut done = 0;
        while done < count {
            let at_once = if count - done == 1 { 1 } else { best };
            // What is done beyond the last tile is room that is there, and read by nobody.
            let first = done.min(count.saturating_sub(at_once));
            self.tile(v, weights, planes, first, at_once, n, &mut sums[first * n..(first + at_once) * n]);
            done = first + at_once;
        }
    }

    /// Adds `2^16·V·high`: of the digits of V, only those of the lowest plane count.
    fn high(
        &self,
        v: &[u8],
        weights: [&[M::Weight]; MAX_BLOCKS],
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
        weights: [&[M::Weight]; MAX_BLOCKS],
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

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Linear for Winograd<M, S, V, H> {
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
        self.points.bytes()
    }

    fn of_rows(&self, part: Conv) -> Arc<dyn Linear> {
        Arc::new(Self::new(self.micro, self.name, part, self.points.clone(), self.channels))
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
        let (v, sums) = scratch.transformed(points * self.point_bytes(), points * self.sums_step(wide) * LANES);
        let sums = sums.as_chunks_mut().0;
        let total = self.tiles[0] * self.tiles[1];
        for first in (0..total).step_by(self.at_a_time) {
            let count = self.at_a_time.min(total - first);
            self.micro.pass(Transform { layer: self, bytes: input.bytes(), first, count, v: &mut *v });
            for start in blocks.clone().step_by(wide) {
                let group = start..(start + wide).min(blocks.end);
                self.products(v, count, group.clone(), sums);
                let from = (group.start * LANES - channels.start) * positions;
                let y = &mut y[from..];
                let last = channels.end - group.start * LANES;
                self.micro.pass(Output { layer: self, sums, first, count, blocks: group.len(), channels: last, y });
            }
        }
    }
}

/// Transforms the input of some tiles: `V[point][tile][plane][channel]`.
struct Transform<'a, M: Micro, S: Scheme, const V: bool, const H: bool> {
    layer: &'a Winograd<M, S, V, H>,
    bytes: &'a [u8],
    first: usize,
    count: usize,
    v: &'a mut [u8],
}

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Pass for Transform<'_, M, S, V, H> {
    #[inline(always)]
    fn run(self) {
        let layer = self.layer;
        let (tile_bytes, point_bytes) = (layer.planes() * layer.plane_bytes(), layer.point_bytes());
        let [top, left] = Winograd::<M, S, V, H>::M;
        for t in 0..self.count {
            let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
            let corner = &self.bytes[top * row * layer.row_bytes + left * column * layer.pixel_bytes..];
            for channel in (0..layer.channels).step_by(WIDE * digits::<M>()) {
                let mut put = |point: usize, first: Wide, second: Wide| {
                    let at = point * point_bytes + t * tile_bytes;
                    let tile = &mut self.v[at..at + tile_bytes];
                    write::<M>(first, second, tile, channel, layer.plane_bytes());
                };
                if V && H {
                    square::<M, S>(&corner[channel * ELEMENT..], layer.row_bytes, layer.pixel_bytes, &mut put);
                } else {
                    let step = if V { layer.row_bytes } else { layer.pixel_bytes };
                    line::<M, S>(&corner[channel * ELEMENT..], step, &mut put);
                }
            }
        }
    }
}

/// Evaluates a tile in both dimensions, of as many vectors of channels as an element has digits; `put` gets each point.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
fn square<M: Micro, S: Scheme>(
    corner: &[u8],
    row_bytes: usize,
    pixel_bytes: usize,
    put: &mut impl FnMut(usize, Wide, Wide),
) {
    let mut half = [[[Wide::ZERO; MOST_POINTS]; MOST_POINTS]; 2];
    for (v, half) in half[..digits::<M>()].iter_mut().enumerate() {
        for j in 0..S::N {
            let d = column::<S>(&corner[j * pixel_bytes + v * WIDE * ELEMENT..], row_bytes);
            for i in 0..S::N {
                half[i][j] = d[i];
            }
        }
    }
    for i in 0..S::N {
        let first = S::input(&half[0][i]);
        let second = if digits::<M>() == 2 { S::input(&half[1][i]) } else { first };
        for j in 0..S::N {
            put(i * S::N + j, first[j], second[j]);
        }
    }
}

/// The same in one dimension, whose neighbours lie `step` bytes apart.
#[inline(always)]
fn line<M: Micro, S: Scheme>(corner: &[u8], step: usize, put: &mut impl FnMut(usize, Wide, Wide)) {
    let first = column::<S>(corner, step);
    let second = if digits::<M>() == 2 { column::<S>(&corner[WIDE * ELEMENT..], step) } else { first };
    for i in 0..S::N {
        put(i, first[i], second[i]);
    }
}

/// Evaluates one line of inputs.
#[inline(always)]
fn column<S: Scheme>(corner: &[u8], step: usize) -> [Wide; MOST_POINTS] {
    let mut d = [Wide::ZERO; MOST_POINTS];
    for i in 0..S::N {
        d[i] = read(&corner[i * step..]);
    }
    S::input(&d)
}

#[inline(always)]
fn read(bytes: &[u8]) -> Wide {
    let (elements, _) = bytes[..WIDE * ELEMENT].as_chunks::<ELEMENT>();
    let mut wide = Wide::ZERO;
    for (x, element) in wide.0.iter_mut().zip(elements) {
        *x = u32::from_le_bytes(*element);
    }
    wide
}

/// Digits of an element, and so channels of a unit.
const fn digits<M: Micro>() -> usize {
    ELEMENT / M::ELEMENT
}

/// Writes the digits of all channels, plane by plane. A unit of two digits is one channel of `first` and the same of
/// `second`, which takes no moving of lanes; `packed::unit` orders the weights so.
#[inline(always)]
fn write<M: Micro>(first: Wide, second: Wide, tile: &mut [u8], channel: usize, plane_bytes: usize) {
    // x = low + 2^16·high mod 2^32, both signed: `planes::Words`.
    let (mut low, mut high) = (first, first);
    if digits::<M>() == 2 {
        for i in 0..WIDE {
            let (x, y) = (first.0[i], second.0[i]);
            low.0[i] = x & 0xffff | y << 16;
            high.0[i] = x.wrapping_add(0x8000) >> 16 | y.wrapping_add(0x8000) & 0xffff_0000;
        }
        put(high, &mut tile[plane_bytes + channel * M::ELEMENT..]);
    }
    put(low, &mut tile[channel * M::ELEMENT..]);
}

#[inline(always)]
fn put(x: Wide, out: &mut [u8]) {
    let out = out[..WIDE * ELEMENT].as_chunks_mut().0;
    out.iter_mut().zip(x.0).for_each(|(out, x)| *out = x.to_le_bytes());
}

/// Interpolates the outputs of some tiles, and stores them as rows of channels.
struct Output<'a, M: Micro, S: Scheme, const V: bool, const H: bool> {
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

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Pass for Output<'_, M, S, V, H> {
    #[inline(always)]
    fn run(self) {
        let layer = self.layer;
        let [down, right] = Winograd::<M, S, V, H>::M;
        let (height, width) = (layer.conv.out_h() as usize, layer.conv.out_w() as usize);
        let mut rows = [[[0; LANES]; RUN]; MOST_OUTPUTS];
        for block in 0..self.blocks {
            let channels = LANES.min(self.channels - block * LANES);
            let mut t = 0;
            while t < self.count {
                let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
                let run = (RUN / right).min(self.count - t).min(layer.tiles[1] - column);
                for i in 0..run {
                    let tile = interpolated(layer, self.sums, t + i, self.blocks, block);
                    for (rows, tile) in rows.iter_mut().zip(&tile).take(down) {
                        for (pixel, y) in rows[i * right..][..right].iter_mut().zip(tile) {
                            *pixel = y.0;
                        }
                    }
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

#[inline(always)]
fn interpolated<M: Micro, S: Scheme, const V: bool, const H: bool>(
    layer: &Winograd<M, S, V, H>,
    sums: &[[u32; LANES]],
    t: usize,
    blocks: usize,
    block: usize,
) -> [[Wide; MOST_OUTPUTS]; MOST_OUTPUTS] {
    let ([down, right], step) = (Winograd::<M, S, V, H>::N, layer.sums_step(blocks));
    let mut half = [[Wide::ZERO; MOST_POINTS]; MOST_OUTPUTS];
    for j in 0..right {
        let mut m = [Wide::ZERO; MOST_POINTS];
        for i in 0..down {
            m[i] = Wide(sums[(i * right + j) * step + t * blocks + block]);
        }
        if V {
            let m = S::output(&m);
            for i in 0..S::M {
                half[i][j] = m[i];
            }
        } else {
            half[0][j] = m[0];
        }
    }
    let mut out = [[Wide::ZERO; MOST_OUTPUTS]; MOST_OUTPUTS];
    for i in 0..Winograd::<M, S, V, H>::M[0] {
        let y = if H { S::output(&half[i]) } else { [half[i][0], Wide::ZERO, Wide::ZERO, Wide::ZERO] };
        out[i] = y.map(S::finish::<V, H>);
    }
    out
}
