//! The loops around the products: the evaluation of tiles of the input, and the interpolation of the outputs.

use crate::linear::direct::{Micro, Pass};
use crate::linear::layout::LANES;
use crate::linear::wide::{WIDE, Wide};
use crate::linear::winograd::grid::{ELEMENT, Grid, digits};
use crate::linear::winograd::scheme::{MOST_OUTPUTS, MOST_POINTS, Scheme, sides};

/// Transforms the input of `count` tiles, `bytes`: `V[point][tile][plane][channel]`.
pub(crate) struct Transform<'a, M: Micro, S: Scheme, const V: bool, const H: bool> {
    pub(crate) grid: &'a Grid<S, V, H>,
    pub(crate) micro: std::marker::PhantomData<M>,
    pub(crate) bytes: &'a [u8],
    pub(crate) count: usize,
    pub(crate) point_bytes: usize,
    pub(crate) v: &'a mut [u8],
}

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Pass for Transform<'_, M, S, V, H> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "indices into two arrays at once")]
    fn run<W: Wide>(self, isa: W::Isa) {
        let (grid, point_bytes) = (self.grid, self.point_bytes);
        let (tile_bytes, plane_bytes) = (grid.channels * ELEMENT, grid.channels * M::ELEMENT);
        let ([top, left], [down, right]) = (Grid::<S, V, H>::M, Grid::<S, V, H>::N);
        let mut half = [[[W::of(isa, &[0; WIDE]); MOST_POINTS]; MOST_POINTS]; ELEMENT];
        for t in 0..self.count {
            let (row, column) = (t / grid.tiles[1], t % grid.tiles[1]);
            let corner = &self.bytes[top * row * grid.row_bytes + left * column * grid.pixel_bytes..];
            for channel in (0..grid.channels).step_by(WIDE * digits::<M>()) {
                let (corner, at) = (&corner[channel * ELEMENT..], t * tile_bytes + channel * M::ELEMENT);
                for (v, half) in half[..digits::<M>()].iter_mut().enumerate() {
                    let corner = &corner[v * WIDE * ELEMENT..];
                    across::<W, S, V, H>(isa, corner, grid.row_bytes, grid.pixel_bytes, half);
                }
                for i in 0..down {
                    let mut lines = [half[0][i]; ELEMENT];
                    for (line, half) in lines[..digits::<M>()].iter_mut().zip(&half) {
                        *line = if H { S::input(&half[i]) } else { half[i] };
                    }
                    for j in 0..right {
                        let to = &mut self.v[(i * right + j) * point_bytes + at..];
                        write::<W, M>([lines[0][j], lines[1][j], lines[2][j], lines[3][j]], to, plane_bytes);
                    }
                }
            }
        }
    }
}

/// Evaluates the columns of a tile, of one vector of channels.
#[inline(always)]
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

/// Writes the digits of all channels, plane by plane. Four bytes of a plane are one channel of each of as many vectors
/// `of` channels as there are digits, which takes no moving of lanes; `packed::unit` orders the weights so.
#[inline(always)]
fn write<W: Wide, M: Micro>(of: [W; ELEMENT], out: &mut [u8], plane_bytes: usize) {
    if digits::<M>() == 1 {
        of[0].write(&mut out.as_chunks_mut().0[0]);
    } else if digits::<M>() == 2 {
        let [low, high] = of[0].digits(of[1]);
        low.write(&mut out.as_chunks_mut().0[0]);
        high.write(&mut out[plane_bytes..].as_chunks_mut().0[0]);
    } else {
        for (d, bytes) in W::bytes(of).into_iter().enumerate() {
            out[d * plane_bytes..].as_chunks_mut().0[0] = bytes;
        }
    }
}

/// Interpolates the outputs of `count` tiles from row `row` of the grid on, and stores them as rows of channels.
pub(crate) struct Output<'a, M: Micro, S: Scheme, const V: bool, const H: bool> {
    pub(crate) grid: &'a Grid<S, V, H>,
    pub(crate) micro: M,
    /// `[point][tile][block]`, points `step` apart.
    pub(crate) sums: &'a [[u32; LANES]],
    pub(crate) step: usize,
    pub(crate) row: usize,
    pub(crate) count: usize,
    pub(crate) blocks: usize,
    /// Output channels from the first block's on.
    pub(crate) channels: usize,
    pub(crate) y: &'a mut [u32],
}

/// Pixels of a row that are stored at a time.
const RUN: usize = 16;

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Pass for Output<'_, M, S, V, H> {
    #[inline(always)]
    fn run<W: Wide>(self, isa: W::Isa) {
        let (grid, [down, right]) = (self.grid, Grid::<S, V, H>::M);
        let (height, width) = (grid.conv.out_h() as usize, grid.conv.out_w() as usize);
        let mut rows = [[[0; LANES]; RUN]; MOST_OUTPUTS];
        let mut half = [[W::of(isa, &[0; WIDE]); MOST_POINTS]; MOST_OUTPUTS];
        for block in 0..self.blocks {
            let channels = LANES.min(self.channels - block * LANES);
            let mut t = 0;
            while t < self.count {
                let (row, column) = (self.row + t / grid.tiles[1], t % grid.tiles[1]);
                let run = (RUN / right).min(self.count - t).min(grid.tiles[1] - column);
                for i in 0..run {
                    let sums = &self.sums[(t + i) * self.blocks + block..];
                    interpolate::<W, S, V, H>(isa, sums, self.step, &mut half, &mut rows, i * right);
                }
                let (top, left) = (row * down, column * right);
                let pixels = (run * right).min(width - left);
                for (i, pixel) in rows.iter().enumerate().take(down.min(height - top)) {
                    let at = block * LANES * height * width + (top + i) * width + left;
                    self.micro.store(pixel, 1, channels, &mut self.y[at..], height * width, pixels);
                }
                t += run;
            }
        }
    }
}

/// Makes of one tile's products, `step` apart, the outputs from pixel `at` of `rows` on.
#[inline(always)]
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
