//! How the native kernels see a layer: the input as rows of bytes, spatially padded, channels innermost, and the
//! reduction as a list of units of 4 or 8 bytes read at fixed offsets from each output position. There is no im2col
//! copy.
//!
//! A row holds its planes one after the other; an element takes `element` bytes of each plane (one byte of the share,
//! one 16-bit digit, or all four bytes), so a unit is 1 to 8 neighbouring elements. Units may start at any byte.

use twinmask_layer::{Conv, Fc, Geometry};

use crate::linear::kernel::{Input, LINE};
use crate::linear::runs::Runs;

/// Lanes of a block: output channels that share one weight vector of 16 units.
pub(crate) const LANES: usize = 16;

/// Stands for a weight of zero that fills up a unit.
const FILL: u32 = u32::MAX;

/// Up to [`LANES`] neighbouring output channels of one group.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// First output channel.
    pub(crate) channel: usize,
    /// Channels, 1..=16.
    pub(crate) count: usize,
    /// Bytes from the start of a pixel to the first channel that the group reads.
    pub(crate) offset: usize,
}

/// Pixels that lie a multiple of this apart share a few sets of the first-level cache, too few for those that are
/// written at a time: then they are moved apart by a line.
const CONFLICT: usize = 1024;

/// One row of an input: element (channel, column) is `x[channel * area + column]`. It becomes element `channel` of the
/// pixel at `column * pixel_bytes` of each plane, planes `plane_bytes` apart.
pub(crate) struct Row<'a> {
    pub(crate) x: &'a [u32],
    pub(crate) area: usize,
    pub(crate) channels: usize,
    pub(crate) columns: usize,
    pub(crate) pixel_bytes: usize,
    pub(crate) plane_bytes: usize,
}

/// The layout of one layer for one element size.
pub(crate) struct Layout {
    geometry: Geometry,
    conv: Conv,
    /// Bytes per element in one plane.
    element: usize,
    /// Bytes from one pixel of a plane to the next.
    pixel_bytes: usize,
    /// Bytes from one plane of a row to the next.
    pub(crate) plane_bytes: usize,
    row_bytes: usize,
    item_bytes: usize,
    /// The units of the reduction.
    pub(crate) runs: Runs,
    /// Weight of each element of each unit, as an index into the channel's row, or [`FILL`].
    taps: Vec<u32>,
    /// Blocks in channel order.
    pub(crate) blocks: Vec<Block>,
    /// Bytes from a position's first to the end of its last unit, over all planes.
    pub(crate) span: usize,
}

impl Layout {
    /// Lays out a validated `geometry` for `planes` planes of `element` bytes, read in units of `unit` bytes.
    pub(crate) fn new(geometry: &Geometry, element: usize, unit: usize, planes: usize) -> Self {
        let conv = match *geometry {
            // Pixels that nothing but their order relates are one row.
            Geometry::Conv(c) if (c.kh, c.kw, c.stride, c.pad) == (1, 1, [1, 1], [0; 4]) => {
                Conv { h: 1, w: c.h * c.w, ..c }
            }
            Geometry::Conv(conv) => conv,
            Geometry::Fc(fc) => one_pixel(fc),
        };
        let padded = |size: u32, before: u32, after: u32| (size + before + after) as usize;
        let channels = conv.c_in as usize * element;
        let apart = if channels.is_multiple_of(CONFLICT) && conv.w > 1 { LINE } else { 0 };
        let pixel_bytes = channels + apart;
        let plane_bytes = padded(conv.w, conv.pad[1], conv.pad[3]) * pixel_bytes;
        let row_bytes = planes * plane_bytes;
        let mut layout = Self {
            geometry: *geometry,
            conv,
            element,
            pixel_bytes,
            plane_bytes,
            row_bytes,
            item_bytes: padded(conv.h, conv.pad[0], conv.pad[2]) * row_bytes,
            runs: Runs::new(unit),
            taps: Vec::new(),
            blocks: blocks(&conv, element),
            span: 0,
        };
        layout.list_units();
        layout.span = layout.runs.reach() + (planes - 1) * plane_bytes;
        layout
    }

    /// Fills `runs` and `taps`: kernel rows are contiguous bytes where neither groups nor dilation nor space between
    /// pixels cut them.
    fn list_units(&mut self) {
        let c = self.conv;
        let per_group = c.c_in / c.groups;
        let contiguous = self.pixel_bytes == c.c_in as usize * self.element && c.dilation[1] == 1;
        let whole_rows = c.groups == 1 && (contiguous || c.kw == 1);
        for ky in 0..c.kh {
            let row = ky as usize * c.dilation[0] as usize * self.row_bytes;
            if whole_rows {
                self.run(row, c.kw * per_group, |j| (j % per_group * c.kh + ky) * c.kw + j / per_group);
            } else {
                for kx in 0..c.kw {
                    let start = row + kx as usize * c.dilation[1] as usize * self.pixel_bytes;
                    self.run(start, per_group, |j| (j * c.kh + ky) * c.kw + kx);
                }
            }
        }
    }

    /// Adds a run of `len` neighbouring elements at byte `start`; `tap` names the weight of its j-th.
    fn run(&mut self, start: usize, len: u32, tap: impl Fn(u32) -> u32) {
        let per_unit = self.unit_elements() as u32;
        self.runs.push(start, len.div_ceil(per_unit) as usize);
        for first in (0..len).step_by(per_unit as usize) {
            self.taps.extend((first..first + per_unit).map(|j| if j < len { tap(j) } else { FILL }));
        }
    }

    /// Elements in a unit.
    const fn unit_elements(&self) -> usize {
        self.runs.unit() / self.element
    }

    /// Weights of one block: units x 16 lanes x elements of a unit.
    pub(crate) fn block_weights(&self) -> usize {
        self.taps.len() * LANES
    }

    /// Packs `weights` (`[out_channels, fan_in]`) as `[block][unit][lane][element]` into zeros.
    pub(crate) fn pack<W>(&self, weights: &[i16], narrow: impl Fn(i16) -> W, packed: &mut [W]) {
        let (fan_in, per_unit) = (self.geometry.fan_in(), self.unit_elements());
        for (block, out) in self.blocks.iter().zip(packed.chunks_exact_mut(self.block_weights())) {
            for lane in 0..block.count {
                let row = &weights[(block.channel + lane) * fan_in..][..fan_in];
                for (unit, taps) in self.taps.chunks_exact(per_unit).enumerate() {
                    let at = (unit * LANES + lane) * per_unit;
                    for (w, &tap) in out[at..at + per_unit].iter_mut().zip(taps) {
                        if tap != FILL {
                            *w = narrow(row[tap as usize]);
                        }
                    }
                }
            }
        }
    }

    /// Indices of the blocks that make up `channels`.
    ///
    /// # Panics
    /// If a block lies across an end of the range.
    pub(crate) fn blocks_of(&self, channels: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let index = |channel: usize| self.blocks.partition_point(|b| b.channel < channel);
        let (first, last) = (index(channels.start), index(channels.end));
        let end = if last == 0 { 0 } else { self.blocks[last - 1].channel + self.blocks[last - 1].count };
        let starts = self.blocks.get(first).is_none_or(|b| b.channel == channels.start);
        assert!(
            first < last && starts && end == channels.end,
            "channels {channels:?} cut a block of {:?}",
            self.geometry
        );
        first..last
    }

    /// Output channels between which work can be divided.
    pub(crate) fn channel_step(&self) -> usize {
        let per_group = (self.conv.c_out / self.conv.groups) as usize;
        if self.conv.groups == 1 || per_group.is_multiple_of(LANES) { LANES } else { per_group }
    }

    /// Output positions of one item.
    pub(crate) const fn positions(&self) -> usize {
        self.conv.out_h() as usize * self.conv.out_w() as usize
    }

    /// The first bytes that the outputs from `index` (item, then position) on read, for channel groups at offset 0.
    pub(crate) fn bases(&self, index: usize, bases: &mut [usize]) {
        let (out_h, out_w) = (self.conv.out_h() as usize, self.conv.out_w() as usize);
        let down = self.conv.stride[0] as usize * self.row_bytes;
        let right = self.conv.stride[1] as usize * self.pixel_bytes;
        let leftmost = |row: usize| row / out_h * self.item_bytes + row % out_h * down;
        let (mut row, mut column) = (index / out_w, index % out_w);
        let mut left = leftmost(row);
        for base in bases {
            *base = left + column * right;
            column += 1;
            if column == out_w {
                (row, column) = (row + 1, 0);
                left = leftmost(row);
            }
        }
    }

    /// Writes the inputs `xs`, padded and split into planes by `split`, into `input`.
    pub(crate) fn load(&self, xs: &[&[u32]], input: &mut Input, split: impl Fn(&Row<'_>, &mut [u8])) {
        let per_input = self.geometry.in_len();
        let item_len = self.conv.c_in as usize * self.conv.h as usize * self.conv.w as usize;
        assert!(matches!(self.geometry, Geometry::Fc(_)) || xs.len() == 1, "a convolution takes one input at a time");
        assert!(xs.iter().all(|x| x.len() == per_input), "input length of {:?}", self.geometry);
        let items = xs.len() * (per_input / item_len);
        // Units at the end of a row may reach past it, by less than a unit.
        let bytes = input.fill_bytes(items, items * self.item_bytes + self.runs.unit());
        let items = xs.iter().flat_map(|x| x.chunks_exact(item_len));
        for (x, bytes) in items.zip(bytes.chunks_exact_mut(self.item_bytes)) {
            self.load_item(x, bytes, &split);
        }
    }

    fn load_item(&self, x: &[u32], bytes: &mut [u8], split: &impl Fn(&Row<'_>, &mut [u8])) {
        let c = &self.conv;
        let (w, area) = (c.w as usize, c.w as usize * c.h as usize);
        for (py, row) in bytes.chunks_exact_mut(self.row_bytes).enumerate() {
            let Some(y) = py.checked_sub(c.pad[0] as usize).filter(|&y| y < c.h as usize) else {
                row.fill(0);
                continue;
            };
            let (left, right) =
                (c.pad[1] as usize * self.pixel_bytes, self.plane_bytes - c.pad[3] as usize * self.pixel_bytes);
            for plane in row.chunks_exact_mut(self.plane_bytes) {
                plane[..left].fill(0);
                plane[right..].fill(0);
            }
            let source = Row {
                x: &x[y * w..],
                area,
                channels: c.c_in as usize,
                columns: w,
                pixel_bytes: self.pixel_bytes,
                plane_bytes: self.plane_bytes,
            };
            split(&source, &mut row[left..]);
        }
    }

    /// The shape.
    pub(crate) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

/// A fully connected layer is a 1x1 convolution of one pixel, each row an item.
const fn one_pixel(fc: Fc) -> Conv {
    Conv::square([fc.inputs, fc.outputs], 1, 1, 1, 0)
}

fn blocks(conv: &Conv, element: usize) -> Vec<Block> {
    let (per_group_out, per_group_in) = ((conv.c_out / conv.groups) as usize, (conv.c_in / conv.groups) as usize);
    (0..conv.groups as usize)
        .flat_map(|group| {
            (0..per_group_out).step_by(LANES).map(move |first| Block {
                channel: group * per_group_out + first,
                count: LANES.min(per_group_out - first),
                offset: group * per_group_in * element,
            })
        })
        .collect()
}

/// [`Micro::store`](crate::linear::direct::Micro::store) without special instructions.
pub(crate) fn store_plain(
    sums: &[[u32; LANES]],
    step: usize,
    channels: usize,
    y: &mut [u32],
    stride: usize,
    count: usize,
) {
    for lane in 0..channels {
        for (out, sums) in y[lane * stride..][..count].iter_mut().zip(sums.iter().step_by(step)) {
            *out = sums[lane];
        }
    }
}
