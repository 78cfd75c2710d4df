//! Transformed weights: `U[point] = G·g·Gᵀ`, in blocks of 16 output channels for a micro-kernel.

use std::marker::PhantomData;

use twinmask_layer::Conv;

use crate::linear::direct::{Micro, Packed};
use crate::linear::layout::LANES;
use crate::linear::winograd::scheme::{Scheme, WIDE, sides};

/// Weights of one layer at all points. They grow in the transform, up to 49-fold (F(4x4, 3x3)), 961-fold
/// (F(2x2, 5x5)) and 127-fold (F(2, 7)): points at which one leaves 16 bits have a second part, `U = low + 2^16·high`.
pub(crate) struct Points<M: Micro, S: Scheme, const V: bool, const H: bool> {
    /// `[point][block][unit][lane][element]`.
    low: Packed<M::Weight>,
    /// The same of the points that need it.
    high: Packed<M::Weight>,
    /// Where in `high` each point is, if it is.
    wide: Vec<Option<usize>>,
    blocks: usize,
    /// Elements of one block.
    block: usize,
    scheme: PhantomData<S>,
}

/// Shares them.
impl<M: Micro, S: Scheme, const V: bool, const H: bool> Clone for Points<M, S, V, H> {
    fn clone(&self) -> Self {
        let (low, high, wide) = (self.low.clone(), self.high.clone(), self.wide.clone());
        Self { low, high, wide, ..*self }
    }
}

impl<M: Micro, S: Scheme, const V: bool, const H: bool> Points<M, S, V, H> {
    /// Transforms `weights`, `[c_out, c_in, kh, kw]`. `channels` is `c_in` filled up with zeros.
    pub(crate) fn new(conv: &Conv, weights: &[i16], channels: usize) -> Self {
        let blocks = (conv.c_out as usize).div_ceil(LANES);
        let block = channels * LANES;
        let (per_point, points) = (blocks * block, sides::<V, H>(S::N).iter().product::<usize>());
        let mut all = vec![0i32; points * per_point];
        for (index, filter) in weights.chunks_exact((conv.kh * conv.kw) as usize).enumerate() {
            let (o, c) = (index / conv.c_in as usize, index % conv.c_in as usize);
            let (unit, element) = unit::<M>(c);
            let at = o / LANES * block + (unit * LANES + o % LANES) * (4 / M::ELEMENT) + element;
            for (point, value) in transformed::<S, V, H>(filter).enumerate() {
                all[point * per_point + at] = value;
            }
        }
        let mut wide = Vec::with_capacity(points);
        let mut count = 0;
        for point in all.chunks_exact(per_point) {
            let needed = point.iter().any(|&u| i16::try_from(u).is_err());
            wide.push(needed.then_some(count));
            count += usize::from(needed);
        }
        let low = Packed::new(all.len(), |low| {
            low.iter_mut().zip(&all).for_each(|(l, &u)| *l = M::narrow(u as i16));
        });
        let high = Packed::new(count * per_point, |high| {
            let needed = all.chunks_exact(per_point).zip(&wide).filter(|(_, w)| w.is_some());
            for (h, &u) in high.iter_mut().zip(needed.flat_map(|(point, _)| point)) {
                *h = M::narrow(((u - i32::from(u as i16)) >> 16) as i16);
            }
        });
        Self { low, high, wide, blocks, block, scheme: PhantomData }
    }

    /// Bytes of both parts.
    pub(crate) fn bytes(&self) -> usize {
        let points = self.wide.len() + self.wide.iter().flatten().count();
        points * self.blocks * self.block * size_of::<M::Weight>()
    }

    /// Blocks of output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The low part of block `block` at `point`.
    pub(crate) fn low(&self, point: usize, block: usize) -> &[M::Weight] {
        &self.low.values()[(point * self.blocks + block) * self.block..][..self.block]
    }

    /// The high part, if there is one.
    pub(crate) fn high(&self, point: usize, block: usize) -> Option<&[M::Weight]> {
        let at = self.wide[point]? * self.blocks + block;
        Some(&self.high.values()[at * self.block..][..self.block])
    }
}

/// The unit that channel `c` is in, and which of its elements it is: channels that lie a vector apart share one.
fn unit<M: Micro>(c: usize) -> (usize, usize) {
    let together = WIDE * (4 / M::ELEMENT);
    (c / together * WIDE + c % WIDE, c % together / WIDE)
}

/// `G·g·Gᵀ` of one filter, by points. The largest, 961·2^15, fits.
fn transformed<S: Scheme, const V: bool, const H: bool>(filter: &[i16]) -> impl Iterator<Item = i32> {
    let ([down, right], [_, width]) = (sides::<V, H>(S::N), sides::<V, H>(S::R));
    let tap = |transformed: bool, point: usize, t: usize| if transformed { S::tap(point, t) } else { 1 };
    let points = (0..down).flat_map(move |a| (0..right).map(move |b| (a, b)));
    points.map(move |(a, b)| {
        let taps = filter.iter().enumerate();
        taps.map(|(i, &w)| tap(V, a, i / width) * tap(H, b, i % width) * i32::from(w)).sum()
    })
}
