//! Weights of a layer, and their transform: `U[point] = G·g·Gᵀ`, in blocks of 16 output channels for a micro-kernel.
//!
//! What is kept are the weights. They are transformed whenever they are multiplied, 32 filters at a time: that takes a
//! fraction of the time in which a fourfold amount of them would come from memory.

use std::marker::PhantomData;
use std::ops::Range;

use twinmask_layer::Conv;

use crate::linear::direct::{Micro, Packed, Pass};
use crate::linear::layout::LANES;
use crate::linear::wide::{SHORT, Short, WIDE, Wide};
use crate::linear::winograd::scheme::{MOST_POINTS, MOST_TAPS, Scheme, sides};

/// Weights of one layer. They grow in the transform, up to 49-fold (F(4x4, 3x3)), 961-fold (F(2x2, 5x5)) and 127-fold
/// (F(2, 7)): points at which one leaves 16 bits have a second part, `U = low + 2^16·high`.
pub(crate) struct Points<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> {
    /// `[block][vector][tap][element]`, where the elements of a block are `[unit][lane][element]`.
    taps: Packed<i16>,
    /// High parts of the points that need it: `[point][block][unit][lane][element]`.
    high: Packed<i16>,
    /// Where in `high` each point is, if it is.
    wide: Vec<Option<usize>>,
    blocks: usize,
    /// Elements of one block at one point.
    block: usize,
    scheme: PhantomData<(M, S)>,
}

/// Shares them.
impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Clone for Points<M, S, V, H> {
    fn clone(&self) -> Self {
        let (taps, high, wide) = (self.taps.clone(), self.high.clone(), self.wide.clone());
        Self { taps, high, wide, ..*self }
    }
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Points<M, S, V, H> {
    const TAPS: usize = sides::<V, H>(S::R)[0] * sides::<V, H>(S::R)[1];

    /// Packs `weights`, `[c_out, c_in, kh, kw]`. `channels` is `c_in` filled up with zeros.
    pub(crate) fn new(conv: &Conv, weights: &[i16], channels: usize) -> Self {
        let blocks = (conv.c_out as usize).div_ceil(LANES);
        let block = channels * LANES;
        let filters = || {
            weights.chunks_exact(Self::TAPS).enumerate().map(|(index, filter)| {
                let (o, c) = (index / conv.c_in as usize, index % conv.c_in as usize);
                let (unit, element) = unit::<M>(c);
                (o / LANES * block + (unit * LANES + o % LANES) * (M::UNIT / M::ELEMENT) + element, filter)
            })
        };
        let taps = Packed::new(blocks * block * Self::TAPS, |taps| {
            for (at, filter) in filters() {
                for (t, &w) in filter.iter().enumerate() {
                    taps[(at / SHORT * Self::TAPS + t) * SHORT + at % SHORT] = w;
                }
            }
        });
        let mut wide = vec![None; sides::<V, H>(S::N).iter().product()];
        let most = weights.iter().map(|w| i32::from(w.unsigned_abs())).max().unwrap_or(0);
        let mut count = 0;
        for (point, wide) in wide.iter_mut().enumerate() {
            let grown = |filter: &[i16]| parts::<M>(transformed::<S, V, H>(point, filter))[1] != 0;
            if most * growth::<S, V, H>(point) > i32::from(M::LARGEST) && filters().any(|(_, filter)| grown(filter)) {
                *wide = Some(count);
                count += 1;
            }
        }
        let high = Packed::new(count * blocks * block, |high| {
            let needed = wide.iter().enumerate().filter(|(_, w)| w.is_some());
            for ((point, _), high) in needed.zip(high.chunks_exact_mut(blocks * block)) {
                for (at, filter) in filters() {
                    high[at] = parts::<M>(transformed::<S, V, H>(point, filter))[1] as i16;
                }
            }
            M::arrange(high);
        });
        Self { taps, high, wide, blocks, block, scheme: PhantomData }
    }

    /// Bytes above those of the weights.
    pub(crate) fn spare(&self) -> usize {
        self.wide.iter().flatten().count() * self.blocks * self.block * size_of::<i16>()
    }

    /// Blocks of output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Elements from one point to the next of `n` transformed blocks, moved apart by a line: those of one filter are
    /// written together.
    pub(crate) fn step(&self, n: usize) -> usize {
        n * self.block + SHORT
    }

    /// The low part of the `b`-th of `n` blocks at `point`, of what [`Evaluate`] wrote.
    pub(crate) fn low<'a>(&self, evaluated: &'a [i16], point: usize, b: usize, n: usize) -> &'a [i16] {
        &evaluated[point * self.step(n) + b * self.block..][..self.block]
    }

    /// The high part of block `block` at `point`, if there is one.
    pub(crate) fn high(&self, point: usize, block: usize) -> Option<&[i16]> {
        let at = self.wide[point]? * self.blocks + block;
        Some(&self.high.values()[at * self.block..][..self.block])
    }
}

/// Transforms the weights of some blocks, mod 2^16: `[point][block][unit][lane][element]`.
pub(crate) struct Evaluate<'a, M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> {
    pub(crate) points: &'a Points<M, S, V, H>,
    pub(crate) blocks: Range<usize>,
    pub(crate) out: &'a mut [i16],
}

impl<M: Micro<Weight = i16>, S: Scheme, const V: bool, const H: bool> Pass for Evaluate<'_, M, S, V, H> {
    #[inline(always)]
    fn run<W: Wide>(self, isa: W::Isa) {
        let (points, [_, width]) = (self.points, sides::<V, H>(S::R));
        let ([down, right], taps) = (sides::<V, H>(S::N), Points::<M, S, V, H>::TAPS);
        let step = points.step(self.blocks.len());
        let of = self.blocks.start * points.block..self.blocks.end * points.block;
        let (vectors, _) = points.taps.values()[of.start * taps..of.end * taps].as_chunks::<SHORT>();
        let mut half = [[W::Short::of(isa, &[0; SHORT]); MOST_TAPS]; MOST_POINTS];
        for (vector, filter) in vectors.chunks_exact(taps).enumerate() {
            for t in 0..width {
                let column = |i: usize| W::Short::of(isa, &filter[i * width + t]);
                for (i, half) in half.iter_mut().enumerate().take(down) {
                    half[t] = if V { evaluated::<_, S>(i, column) } else { column(0) };
                }
            }
            for (i, half) in half.iter().enumerate().take(down) {
                for j in 0..right {
                    let u = if H { evaluated::<_, S>(j, |t| half[t]) } else { half[0] };
                    let at = (i * right + j) * step + vector * SHORT;
                    let out = &mut self.out[at..].as_chunks_mut().0[0];
                    u.put(out);
                    M::arrange(out);
                }
            }
        }
    }
}

/// The taps of one line in point `i`. The factors are known to the compiler, powers of 2 all of them.
#[inline(always)]
fn evaluated<W: Short, S: Scheme>(i: usize, taps: impl Fn(usize) -> W) -> W {
    let mut sum = taps(0).mul(S::tap(i, 0) as i16);
    for t in 1..S::R {
        sum = sum.add(taps(t).mul(S::tap(i, t) as i16));
    }
    sum
}

/// The unit that channel `c` is in, and which of its elements it is: channels that lie a vector apart share four bytes.
fn unit<M: Micro>(c: usize) -> (usize, usize) {
    let together = WIDE * (4 / M::ELEMENT);
    let byte = (c / together * WIDE + c % WIDE) * 4 + c % together / WIDE * M::ELEMENT;
    (byte / M::UNIT, byte % M::UNIT / M::ELEMENT)
}

/// The low and the high part of a transformed weight, `low + 2^16·high`.
fn parts<M: Micro>(u: i32) -> [i32; 2] {
    let over = i32::from(i16::MAX - M::LARGEST);
    let low = i32::from((u + over) as i16) - over;
    [low, (u - low) >> 16]
}

/// The factor of tap `i` of a filter at `point`.
fn factor<S: Scheme, const V: bool, const H: bool>(point: usize, i: usize) -> i32 {
    let ([_, right], [_, width]) = (sides::<V, H>(S::N), sides::<V, H>(S::R));
    let tap = |transformed: bool, point: usize, t: usize| if transformed { S::tap(point, t) } else { 1 };
    tap(V, point / right, i / width) * tap(H, point % right, i % width)
}

/// How many times larger than the largest weight one may be at `point`.
fn growth<S: Scheme, const V: bool, const H: bool>(point: usize) -> i32 {
    (0..sides::<V, H>(S::R).iter().product()).map(|i| factor::<S, V, H>(point, i).abs()).sum()
}

/// `G·g·Gᵀ` of one filter at `point`. The largest, 961·2^15, fits.
fn transformed<S: Scheme, const V: bool, const H: bool>(point: usize, filter: &[i16]) -> i32 {
    filter.iter().enumerate().map(|(i, &w)| factor::<S, V, H>(point, i) * i32::from(w)).sum()
}
