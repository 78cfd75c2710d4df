//! How a layer is cut into tiles, and where they lie in memory.

use std::ops::Range;

use twinmask_layer::Conv;

use crate::linear::direct::{MAX_PIXELS, Micro};
use crate::linear::kernel::LINE;
use crate::linear::layout::Row;
use crate::linear::wide::WIDE;
use crate::linear::winograd::scheme::{Scheme, sides};

/// Most tiles at a time, but for one row of them: the weights do not go by for a few, and transformed tiles stay in the
/// second-level cache.
const TILES: usize = 64;
/// Bytes of an element of the laid out input.
pub(crate) const ELEMENT: usize = 4;

/// The tiles of one layer: transformed vertically if `V`, horizontally if `H`. They are computed in strips of whole
/// rows of tiles.
pub(crate) struct Grid<S: Scheme, const V: bool, const H: bool> {
    pub(crate) conv: Conv,
    /// Input channels, filled up to whole vectors.
    pub(crate) channels: usize,
    /// Tiles in one dimension: rows, columns.
    pub(crate) tiles: [usize; 2],
    strips: usize,
    /// Of the laid out input: `[row][column][channel]`, 32 bits each.
    pub(crate) pixel_bytes: usize,
    pub(crate) row_bytes: usize,
    scheme: std::marker::PhantomData<S>,
}

impl<S: Scheme, const V: bool, const H: bool> Grid<S, V, H> {
    /// Points, outputs and taps: vertically, horizontally.
    pub(crate) const N: [usize; 2] = sides::<V, H>(S::N);
    pub(crate) const M: [usize; 2] = sides::<V, H>(S::M);
    const R: [usize; 2] = sides::<V, H>(S::R);
    /// Points in all.
    pub(crate) const POINTS: usize = Self::N[0] * Self::N[1];

    pub(crate) fn new<M: Micro>(conv: Conv) -> Self {
        let channels = (conv.c_in as usize).next_multiple_of(WIDE * digits::<M>());
        let [height, width] = [conv.out_h() as usize, conv.out_w() as usize];
        let tiles = [height.div_ceil(Self::M[0]), width.div_ceil(Self::M[1])];
        // Neighbouring pixels are written together: not to the same few sets of the first-level cache.
        let apart = if (channels * ELEMENT).is_multiple_of(1024) { LINE } else { 0 };
        let pixel_bytes = channels * ELEMENT + apart;
        let row_bytes = (tiles[1] * Self::M[1] + Self::R[1] - 1) * pixel_bytes;
        let strips = tiles[0].div_ceil((TILES / tiles[1]).max(1));
        Self { conv, channels, tiles, strips, pixel_bytes, row_bytes, scheme: std::marker::PhantomData }
    }

    /// The strips, as ranges of rows of tiles.
    pub(crate) fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let (rows, strips) = (self.tiles[0], self.strips);
        (0..strips).map(move |i| i * rows / strips..(i + 1) * rows / strips)
    }

    /// Rows of tiles of the largest strip.
    pub(crate) fn most_rows(&self) -> usize {
        self.tiles[0].div_ceil(self.strips)
    }

    /// Tiles of the largest strip, at least those of a micro-kernel.
    pub(crate) fn most(&self) -> usize {
        (self.most_rows() * self.tiles[1]).max(MAX_PIXELS)
    }

    /// Bytes of the input of `rows` rows of tiles.
    pub(crate) fn bytes(&self, rows: usize) -> usize {
        (rows * Self::M[0] + Self::R[0] - 1) * self.row_bytes
    }

    /// Where the input of row `row` of tiles begins in that of all.
    pub(crate) fn start(&self, row: usize) -> usize {
        row * Self::M[0] * self.row_bytes
    }

    /// Lays out the input of the tiles in `rows`; its first rows, which the strip before has read too, are there
    /// already if this one `follows` it.
    pub(crate) fn fill<M: Micro>(&self, micro: M, x: &[u32], rows: Range<usize>, follows: bool, bytes: &mut [u8]) {
        let there = if follows { Self::R[0] - 1 } else { 0 };
        let first = rows.start * Self::M[0];
        let (_, bytes) = bytes[..self.bytes(rows.len())].split_at_mut(there * self.row_bytes);
        for (i, row) in bytes.chunks_exact_mut(self.row_bytes).enumerate() {
            let y = (first + there + i).checked_sub(self.conv.pad[0] as usize);
            self.fill_row(micro, x, y.filter(|&y| y < self.conv.h as usize), row);
        }
    }

    /// Lays out row `y` of the input, or one of zeros.
    fn fill_row<M: Micro>(&self, micro: M, x: &[u32], y: Option<usize>, row: &mut [u8]) {
        let (channels, w) = (self.conv.c_in as usize, self.conv.w as usize);
        let Some(y) = y else { return row.fill(0) };
        let left = self.conv.pad[1] as usize * self.pixel_bytes;
        let right = left + w * self.pixel_bytes;
        if self.channels > channels {
            row.fill(0); // also channels that fill up a vector
        } else {
            row[..left].fill(0);
            row[right..].fill(0);
        }
        let (area, pixel_bytes) = (self.conv.h as usize * w, self.pixel_bytes);
        let of = Row { x: &x[y * w..], area, channels, columns: w, pixel_bytes, plane_bytes: 0 };
        micro.turn(&of, &mut row[left..right]);
    }
}

/// Digits of an element, and so channels of a unit.
pub(crate) const fn digits<M: Micro>() -> usize {
    ELEMENT / M::ELEMENT
}
