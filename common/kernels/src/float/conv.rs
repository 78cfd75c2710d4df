//! Convolutions in f32, as the device computes those that do not leave it.

use twinmask_layer::Conv;

use crate::float::micro::{Start, VECTORS};
use crate::float::set::{Places, Set, Tile};
use crate::float::source::Source;

/// Most numbers of a tile.
const TILE: usize = 14 * VECTORS * 16;
/// Numbers of the input that stay in the second cache while the weights pass by.
const NEAR: usize = 1 << 16;
/// What turning a tile's sums around costs, in steps.
const TURN: f64 = 12.0;

/// A convolution with its weights arranged for this processor.
///
/// A sum begins with the bias; products are added one after the other in the order of the weights (channel, row,
/// column), fused where the processor can (AVX-512, AVX2 with FMA, NEON), so that these three give the same bits.
#[derive(Debug, Clone)]
pub struct FloatConv {
    conv: Conv,
    set: Set,
    source: Source,
    /// Whether a vector's lanes are neighbouring outputs of one channel; else one output of neighbouring channels.
    across: bool,
    /// Stretches of outputs that one tile holds.
    spans: Vec<Span>,
    /// Channels of a group that one tile holds.
    blocks: Vec<Block>,
    /// Where a step's inputs lie.
    inputs: Places,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// A stretch of outputs: where its inputs begin, where it goes, and how long it is.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
    len: usize,
    /// Vectors that hold it, if lanes are outputs.
    vectors: usize,
}

/// Some channels of a group.
#[derive(Debug, Clone)]
struct Block {
    first: usize,
    channels: usize,
    /// With those that only fill vectors.
    width: usize,
    /// Where its weights begin in those of the group.
    weights: usize,
    places: Places,
}

impl FloatConv {
    /// Arranges `weights` (`[c_out, c_in / groups, kh, kw]`) and `bias` (`[c_out]`) of the valid shape `conv`.
    ///
    /// # Panics
    /// If `weights` or `bias` have another length.
    #[must_use]
    pub fn new(conv: &Conv, weights: &[f32], bias: Option<&[f32]>) -> Self {
        Self::with(Set::all()[0], conv, weights, bias)
    }

    /// [`new`](Self::new) for an instruction set.
    pub(crate) fn with(set: Set, conv: &Conv, weights: &[f32], bias: Option<&[f32]>) -> Self {
        // A stride beyond the input is never taken.
        let width = conv.w + conv.pad[1] + conv.pad[3];
        let conv = &Conv { stride: [conv.stride[0], conv.stride[1].min(width)], ..*conv };
        let (channels, steps) = ((conv.c_out / conv.groups) as usize, steps(conv));
        assert!(weights.len() == conv.c_out as usize * steps, "weights of another layer");
        let bias = bias.map_or_else(|| vec![0.0; conv.c_out as usize], <[f32]>::to_vec);
        assert!(bias.len() == conv.c_out as usize, "bias of another layer");
        let lanes = set.lanes();
        let run = Source::run(conv);
        let filled = |n: usize| n.next_multiple_of(lanes) as f64 / n as f64;
        let across = filled(run) <= filled(channels) * (1.0 + TURN / steps as f64);
        let source = Source::new(conv, across, VECTORS * lanes);
        let spans = if across { spans(conv, &source, lanes) } else { stretches(conv, &source, set.rows()) };
        let blocks = if across { rows(channels, steps, set.rows()) } else { panels(channels, steps, lanes) };
        let inputs = Places::new(source.places(conv));
        let weights = arranged(weights, channels, steps, &blocks);
        Self { conv: *conv, set, source, across, spans, blocks, inputs, weights, bias }
    }

    /// `out = conv(x)`, kept between the numbers of `clamp`; `x` is `[c_in, h, w]`, `out` `[c_out, out_h, out_w]`.
    /// `scratch` is overwritten.
    ///
    /// # Panics
    /// If `x` or `out` have another length.
    pub fn apply(&self, x: &[f32], out: &mut [f32], clamp: [f32; 2], scratch: &mut Vec<f32>) {
        let conv = &self.conv;
        let area = conv.out_h() as usize * conv.out_w() as usize;
        assert!(
            x.len() == [conv.c_in, conv.h, conv.w].map(|n| n as usize).iter().product::<usize>(),
            "input of another layer"
        );
        assert!(out.len() == conv.c_out as usize * area, "output of another layer");
        let groups = conv.groups as usize;
        let (channels, weights) = (conv.c_out as usize / groups, self.weights.len() / groups);
        self.source.clear(conv, scratch);
        let inputs = x.chunks_exact(x.len() / groups).zip(out.chunks_exact_mut(channels * area));
        for (g, (x, out)) in inputs.enumerate() {
            let job = Job {
                own: self,
                source: self.source.lay(conv, x, scratch),
                weights: &self.weights[g * weights..][..weights],
                bias: &self.bias[g * channels..][..channels],
                area,
                clamp,
            };
            match self.across {
                true if channels == 1 => job.lines(out),
                true => job.across(out),
                false => job.along(out),
            }
        }
    }
}

/// One group of an application.
struct Job<'a> {
    own: &'a FloatConv,
    source: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    area: usize,
    clamp: [f32; 2],
}

impl Job<'_> {
    /// Lanes are neighbouring outputs.
    fn across(&self, out: &mut [f32]) {
        let own = self.own;
        let lanes = VECTORS * own.set.lanes();
        let near = (NEAR / (steps(&own.conv) * lanes)).max(1);
        let mut sums = [0.0; TILE];
        for spans in own.spans.chunks(near) {
            for block in &own.blocks {
                for span in spans {
                    let tile = Tile {
                        rows: block.channels,
                        vectors: span.vectors,
                        vector: (&self.source[span.from..], &own.inputs),
                        lines: None,
                        scalar: (&self.weights[block.weights..], &block.places),
                        start: (&self.bias[block.first..], Start::Rows),
                        clamp: self.clamp,
                    };
                    let out = &mut out[block.first * self.area + span.to..];
                    if span.len == span.vectors * own.set.lanes() {
                        own.set.tile(&tile, out, self.area);
                        continue;
                    }
                    own.set.tile(&tile, &mut sums, lanes);
                    for (c, sums) in sums.chunks_exact(lanes).take(block.channels).enumerate() {
                        out[c * self.area..][..span.len].copy_from_slice(&sums[..span.len]);
                    }
                }
            }
        }
    }

    /// The one channel of a group: lanes are neighbouring outputs, rows are lines.
    fn lines(&self, out: &mut [f32]) {
        let (own, conv) = (self.own, &self.own.conv);
        let (lanes, lines, run) = (VECTORS * own.set.lanes(), own.source.lines(conv), Source::run(conv));
        let mut sums = [0.0; TILE];
        for (line, rows) in equal(lines, own.set.rows()) {
            for span in own.spans.iter().take_while(|s| s.to < run) {
                let tile = Tile {
                    rows,
                    vectors: span.vectors,
                    vector: (&self.source[own.source.line(conv, line) + span.from..], &own.inputs),
                    lines: Some(own.source.line(conv, 1)),
                    scalar: (self.weights, &own.blocks[0].places),
                    start: (self.bias, Start::Rows),
                    clamp: self.clamp,
                };
                let out = &mut out[line * run + span.to..];
                if span.len == span.vectors * own.set.lanes() {
                    own.set.tile(&tile, out, run);
                    continue;
                }
                own.set.tile(&tile, &mut sums, lanes);
                for (row, sums) in sums.chunks_exact(lanes).take(rows).enumerate() {
                    out[row * run..][..span.len].copy_from_slice(&sums[..span.len]);
                }
            }
        }
    }

    /// Lanes are neighbouring channels.
    fn along(&self, out: &mut [f32]) {
        let own = self.own;
        let (mut sums, mut start) = ([0.0; TILE], [0.0; TILE]);
        for block in &own.blocks {
            start[..block.channels].copy_from_slice(&self.bias[block.first..][..block.channels]);
            for span in &own.spans {
                let tile = Tile {
                    rows: span.len,
                    vectors: block.width / own.set.lanes(),
                    vector: (&self.weights[block.weights..], &block.places),
                    lines: None,
                    scalar: (&self.source[span.from..], &own.inputs),
                    start: (&start, Start::Lanes),
                    clamp: self.clamp,
                };
                own.set.tile(&tile, &mut sums, block.width);
                turn(
                    &sums,
                    block.width,
                    span.len,
                    &mut out[block.first * self.area + span.to..],
                    self.area,
                    block.channels,
                );
            }
        }
    }
}

/// Products of one sum.
fn steps(conv: &Conv) -> usize {
    (conv.c_in / conv.groups * conv.kh * conv.kw) as usize
}

/// The stretches of outputs of one line each, where they begin in it and how long they are, by `divide`.
fn of_lines(conv: &Conv, source: &Source, divide: impl Fn(usize) -> Vec<(usize, usize, usize)>) -> Vec<Span> {
    let lines = source.lines(conv);
    let run = (conv.out_h() * conv.out_w()) as usize / lines;
    let of_line = |line: usize| {
        let at = move |(first, len, vectors)| Span {
            from: source.line(conv, line) + first,
            to: line * run + first,
            len,
            vectors,
        };
        divide(run).into_iter().map(at)
    };
    (0..lines).flat_map(of_line).collect()
}

/// Spans of whole vectors: at a line's end some outputs are computed twice, or lanes computed for nothing.
fn spans(conv: &Conv, source: &Source, lanes: usize) -> Vec<Span> {
    let divide = |run: usize| {
        let (mut all, mut at) = (Vec::new(), 0);
        while at < run {
            let vectors = if run - at > lanes { VECTORS } else { 1 };
            let first = at.min(run.saturating_sub(vectors * lanes));
            let len = (vectors * lanes).min(run - first);
            all.push((first, len, vectors));
            at = first + len;
        }
        all
    };
    of_lines(conv, source, divide)
}

/// Spans of up to `most` outputs, as equal as can be.
fn stretches(conv: &Conv, source: &Source, most: usize) -> Vec<Span> {
    let divide = |run: usize| equal(run, most).map(|(first, len)| (first, len, 0)).collect();
    of_lines(conv, source, divide)
}

/// `0..n` in parts of up to `most`, as equal as can be: (first, length).
fn equal(n: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = n.div_ceil(n.div_ceil(most));
    (0..n).step_by(size).map(move |first| (first, size.min(n - first)))
}

/// Channels in tiles' rows.
fn rows(channels: usize, steps: usize, most: usize) -> Vec<Block> {
    let block = |(first, channels)| {
        let places = Places::regular(steps, channels);
        Block { first, channels, width: channels, weights: first * steps, places }
    };
    equal(channels, most).map(block).collect()
}

/// Channels in tiles' lanes.
fn panels(channels: usize, steps: usize, lanes: usize) -> Vec<Block> {
    let panel = |first: usize| {
        let own = (channels - first).min(VECTORS * lanes);
        let width = own.next_multiple_of(lanes);
        Block { first, channels: own, width, weights: first * steps, places: Places::regular(steps, width) }
    };
    (0..channels).step_by(VECTORS * lanes).map(panel).collect()
}

/// The weights of each group, block by block, those of one step side by side.
fn arranged(weights: &[f32], channels: usize, steps: usize, blocks: &[Block]) -> Vec<f32> {
    let len = blocks.last().map_or(0, |b| b.weights + b.width * steps);
    let mut out = vec![0.0; weights.len() / (channels * steps) * len];
    for (group, out) in weights.chunks_exact(channels * steps).zip(out.chunks_exact_mut(len)) {
        for block in blocks {
            let out = &mut out[block.weights..][..block.width * steps];
            for (c, row) in group[block.first * steps..].chunks_exact(steps).take(block.channels).enumerate() {
                row.iter().zip(out.chunks_exact_mut(block.width)).for_each(|(&w, out)| out[c] = w);
            }
        }
    }
    out
}

/// `out[c][i] = sums[i][c]` for `len` rows of sums, `width` apart, and `channels` rows of `out`, `area` apart.
fn turn(sums: &[f32], width: usize, len: usize, out: &mut [f32], area: usize, channels: usize) {
    for (c, out) in out.chunks_mut(area).take(channels).enumerate() {
        for (out, sums) in out[..len].iter_mut().zip(sums.chunks_exact(width)) {
            *out = sums[c];
        }
    }
}
