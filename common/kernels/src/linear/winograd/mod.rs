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
use scheme::{F2x3, F2x5, F4x3, MOST_OUTPUTS, MOST_POINTS, Scheme, WIDE, Wide, exact_bits};

/// Bytes of transformed input at one point that stay in the first-level cache while the weights go by.
const POINT_BYTES: usize = 24 << 10;
/// Fewest and most tiles at a time.
const TILES: (usize, usize) = (48, 192);
/// Bytes of an element of the laid out input.
const ELEMENT: usize = 4;

/// How a layer may be computed so, if it may: F(4x4, 3x3), F(2x2, 3x3) if `small`, F(2x2, 5x5).
pub(crate) fn prepare<M: Micro>(
    micro: M,
    names: [&'static str; 3],
    small: bool,
    geometry: &Geometry,
    weights: &[i16],
    k: u32,
) -> Option<Arc<dyn Linear>> {
    check(geometry, weights, k);
    let Geometry::Conv(conv) = *geometry else { return None };
    let plain = conv.stride == [1, 1] && conv.dilation == [1, 1] && conv.groups == 1;
    if !plain || k > exact_bits::<F4x3>() {
        return None;
    }
    match (conv.kh, conv.kw) {
        (3, 3) if small => Some(Winograd::<M, F2x3>::prepare(micro, names[1], geometry, conv, weights)),
        (3, 3) => Some(Winograd::<M, F4x3>::prepare(micro, names[0], geometry, conv, weights)),
        (5, 5) => Some(Winograd::<M, F2x5>::prepare(micro, names[2], geometry, conv, weights)),
        _ => None,
    }
}

/// A layer, transformed for the micro-kernel `M`.
struct Winograd<M: Micro, S: Scheme> {
    micro: M,
    name: &'static str,
    geometry: Geometry,
    conv: Conv,
    points: Points<M, S>,
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

impl<M: Micro, S: Scheme> Winograd<M, S> {
    /// Transforms the weights of a layer.
    fn prepare(micro: M, name: &'static str, geometry: &Geometry, conv: Conv, weights: &[i16]) -> Arc<dyn Linear> {
        let channels = (conv.c_in as usize).next_multiple_of(WIDE);
        let tiles = [conv.out_h(), conv.out_w()].map(|n| (n as usize).div_ceil(S::M));
        let fits = POINT_BYTES / (ELEMENT * channels);
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
            at_a_time: fits.clamp(TILES.0, TILES.1).min(tiles[0] * tiles[1]).max(MAX_PIXELS),
            pixel_bytes,
            row_bytes: (tiles[1] * S::M + S::R - 1) * pixel_bytes,
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

    /// The products of `count` tiles at all points with `blocks`: `[point][tile][block]`.
    fn products(&self, v: &[u8], count: usize, blocks: Range<usize>, sums: &mut [[u32; LANES]]) {
        let (n, tile_bytes) = (blocks.len(), self.planes() * self.plane_bytes());
        for point in 0..S::N * S::N {
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

impl<M: Micro, S: Scheme> Linear for Winograd<M, S> {
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

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        assert!(xs.len() == 1 && xs[0].len() == self.geometry.in_len(), "input of {:?}", self.geometry);
        let (conv, rows) = (&self.conv, self.tiles[0] * S::M + S::R - 1);
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
        let points = S::N * S::N;
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
struct Transform<'a, M: Micro, S: Scheme> {
    layer: &'a Winograd<M, S>,
    bytes: &'a [u8],
    first: usize,
    count: usize,
    v: &'a mut [u8],
}

impl<M: Micro, S: Scheme> Pass for Transform<'_, M, S> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "indices into several arrays at once")]
    fn run(self) {
        let layer = self.layer;
        let (tile_bytes, point_bytes) = (layer.planes() * layer.plane_bytes(), layer.point_bytes());
        for t in 0..self.count {
            let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
            let corner = &self.bytes[S::M * (row * layer.row_bytes + column * layer.pixel_bytes)..];
            for channel in (0..layer.channels).step_by(WIDE) {
                let mut half = [[Wide::ZERO; MOST_POINTS]; MOST_POINTS];
                for j in 0..S::N {
                    let mut d = [Wide::ZERO; MOST_POINTS];
                    for i in 0..S::N {
                        d[i] = read(&corner[i * layer.row_bytes + j * layer.pixel_bytes + channel * ELEMENT..]);
                    }
                    let d = S::input(&d);
                    for i in 0..S::N {
                        half[i][j] = d[i];
                    }
                }
                for i in 0..S::N {
                    let points = S::input(&half[i]);
                    for j in 0..S::N {
                        let at = (i * S::N + j) * point_bytes + t * tile_bytes;
                        write::<M>(points[j], &mut self.v[at..at + tile_bytes], channel, layer.plane_bytes());
                    }
                }
            }
        }
    }
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

/// Writes the digits of all channels, plane by plane.
#[inline(always)]
fn write<M: Micro>(x: Wide, tile: &mut [u8], channel: usize, plane_bytes: usize) {
    if M::ELEMENT == ELEMENT {
        let out = tile[channel * ELEMENT..][..WIDE * ELEMENT].as_chunks_mut().0;
        out.iter_mut().zip(x.0).for_each(|(out, x)| *out = x.to_le_bytes());
        return;
    }
    // x = low + 2^16·high mod 2^32, both signed: `planes::Words`.
    let at = channel * M::ELEMENT;
    let (low, high) = tile.split_at_mut(plane_bytes);
    let (low, high) = (low[at..][..2 * WIDE].as_chunks_mut().0, high[at..][..2 * WIDE].as_chunks_mut().0);
    low.iter_mut().zip(x.0).for_each(|(low, x)| *low = (x as u16).to_le_bytes());
    high.iter_mut().zip(x.0).for_each(|(high, x)| *high = ((x.wrapping_add(0x8000) >> 16) as u16).to_le_bytes());
}

/// Interpolates the outputs of some tiles, and stores them as rows of channels.
struct Output<'a, M: Micro, S: Scheme> {
    layer: &'a Winograd<M, S>,
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

impl<M: Micro, S: Scheme> Pass for Output<'_, M, S> {
    #[inline(always)]
    fn run(self) {
        let layer = self.layer;
        let (height, width) = (layer.conv.out_h() as usize, layer.conv.out_w() as usize);
        let mut rows = [[[0; LANES]; RUN]; MOST_OUTPUTS];
        for block in 0..self.blocks {
            let channels = LANES.min(self.channels - block * LANES);
            let mut t = 0;
            while t < self.count {
                let (row, column) = ((self.first + t) / layer.tiles[1], (self.first + t) % layer.tiles[1]);
                let run = (RUN / S::M).min(self.count - t).min(layer.tiles[1] - column);
                for i in 0..run {
                    let tile = interpolated::<M, S>(layer, self.sums, t + i, self.blocks, block);
                    for (rows, tile) in rows.iter_mut().zip(&tile).take(S::M) {
                        for (pixel, y) in rows[i * S::M..][..S::M].iter_mut().zip(tile) {
                            *pixel = y.0;
                        }
                    }
                }
                let (top, left) = (row * S::M, column * S::M);
                let pixels = (run * S::M).min(width - left);
                for (i, pixel) in rows.iter().enumerate().take(S::M.min(height - top)) {
                    let at = block * LANES * height * width + (top + i) * width + left;
                    layer.micro.store(pixel, 1, channels, &mut self.y[at..], height * width, pixels);
                }
                t += run;
            }
        }
    }
}

#[inline(always)]
fn interpolated<M: Micro, S: Scheme>(
    layer: &Winograd<M, S>,
    sums: &[[u32; LANES]],
    t: usize,
    blocks: usize,
    block: usize,
) -> [[Wide; MOST_OUTPUTS]; MOST_OUTPUTS] {
    let step = layer.sums_step(blocks);
    let mut half = [[Wide::ZERO; MOST_POINTS]; MOST_OUTPUTS];
    for j in 0..S::N {
        let mut m = [Wide::ZERO; MOST_POINTS];
        for i in 0..S::N {
            m[i] = Wide(sums[(i * S::N + j) * step + t * blocks + block]);
        }
        let m = S::output(&m);
        for i in 0..S::M {
            half[i][j] = m[i];
        }
    }
    let mut out = [[Wide::ZERO; MOST_OUTPUTS]; MOST_OUTPUTS];
    for i in 0..S::M {
        out[i] = S::output(&half[i]).map(S::finish);
    }
    out
}
