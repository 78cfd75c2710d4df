//! The transforms, and what they are exact for: one description each, held against the points by `tests`.
//!
//! Winograd's minimal filtering evaluates at N points of the projective line, multiplies there, and interpolates, which
//! divides. A ring of integers mod 2^32 cannot divide by 2, but by odd numbers. The points 0, 1, -1, 2, 1/2 and
//! infinity fall two by two into the three classes of the projective line over F_2, so that each denominator has one
//! factor 2: with `input` and `output` integer, one dimension gives `c·y` with c = 2 times an odd number, both give
//! `c²·y`, and y mod 2^30 follows from that mod 2^32 (docs/theory.md, "Exact Winograd").

use crate::linear::wide::Wide;
#[cfg(test)]
use crate::linear::wide::{Plain, WIDE};

/// Points of the largest scheme, in one dimension.
pub(crate) const MOST_POINTS: usize = 8;

/// Taps of the largest filter, in one dimension.
pub(crate) const MOST_TAPS: usize = 7;

/// Outputs of the largest scheme, in one dimension.
pub(crate) const MOST_OUTPUTS: usize = 4;

/// One way F(MxM, RxR) of computing M by M outputs from N by N inputs with N² products a channel.
pub(crate) trait Scheme: Copy + Default + Send + Sync + 'static {
    /// Outputs in one dimension.
    const M: usize;
    /// Taps in one dimension.
    const R: usize;
    /// Inputs, and points, in one dimension: M + R - 1.
    const N: usize = Self::M + Self::R - 1;
    /// What one dimension multiplies results with.
    const FACTOR: u32;

    /// A tap's weight in point `i`: the evaluation of the filter, `[N, R]`.
    fn tap(i: usize, t: usize) -> i32;

    /// The evaluation of the input in one dimension, up to signs that [`output`](Self::output) turns back.
    fn input<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS];

    /// The interpolation in one dimension: [`FACTOR`](Self::FACTOR) times the outputs.
    fn output<W: Wide>(m: &[W; MOST_POINTS]) -> [W; MOST_OUTPUTS];

    /// Takes off what the dimensions, vertical if `V` and horizontal if `H`, have multiplied with.
    #[inline(always)]
    fn finish<W: Wide, const V: bool, const H: bool>(y: W) -> W {
        let factor = Self::FACTOR.pow(V as u32 + H as u32);
        let (bits, odd) = (factor.trailing_zeros(), factor >> factor.trailing_zeros());
        y.mul(inverse(odd)).shr(bits)
    }
}

/// `n`, vertically if `V` and horizontally if `H`; otherwise 1.
pub(crate) const fn sides<const V: bool, const H: bool>(n: usize) -> [usize; 2] {
    [if V { n } else { 1 }, if H { n } else { 1 }]
}

/// Bits that results have left of 32.
pub(crate) const fn exact_bits<S: Scheme, const V: bool, const H: bool>() -> u32 {
    32 - (V as u32 + H as u32) * S::FACTOR.trailing_zeros()
}

/// The inverse of an odd number mod 2^32, by Newton's iteration: each step doubles the bits that are right.
pub(crate) const fn inverse(odd: u32) -> u32 {
    let (mut x, mut step) = (odd, 0);
    while step < 5 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

/// F(2x2, 3x3) at 0, 1, -1 and infinity: 2.25 times fewer products.
#[derive(Clone, Copy, Default)]
pub(crate) struct F2x3;

impl Scheme for F2x3 {
    const M: usize = 2;
    const R: usize = 3;
    const FACTOR: u32 = 2;

    fn tap(i: usize, t: usize) -> i32 {
        [[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]][i][t]
    }

    #[inline(always)]
    fn input<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS] {
        filled([d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[3].sub(d[1])])
    }

    #[inline(always)]
    fn output<W: Wide>(m: &[W; MOST_POINTS]) -> [W; MOST_OUTPUTS] {
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        filled([m[0].shl(1).add(sum), m[3].shl(1).add(difference)])
    }
}

/// The evaluation at 0, 1, -1, 2, 1/2 and infinity. The signs of the third to fifth are turned.
#[inline(always)]
fn six_points<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS] {
    let (a, b) = (d[1].sub(d[3]), d[2].sub(d[4]));
    let (five_a, five_b) = (a.add(a.shl(2)), b.add(b.shl(2)));
    let (outer, inner) = (d[1].add(d[4]), d[2].add(d[3]));
    let (p, q) = (d[4].sub(d[1]), d[2].sub(d[3]));
    filled([
        d[0].sub(d[4]).shl(1).sub(five_a),
        inner.sub(outer).shl(1).add(inner),
        p.add(q.shl(2)).shl(1).sub(q),
        a.sub(b.shl(1)),
        a.shl(1).sub(b),
        d[5].sub(d[1]).shl(1).add(five_b),
    ])
}

/// The values of a scheme, and anything behind them.
#[inline(always)]
fn filled<W: Wide, const N: usize, const TO: usize>(of: [W; N]) -> [W; TO] {
    let mut all = [of[0]; TO];
    all[..N].copy_from_slice(&of);
    all
}

#[inline(always)]
fn times_9<W: Wide>(x: W) -> W {
    x.add(x.shl(3))
}

/// F(4x4, 3x3): 4 times fewer products.
#[derive(Clone, Copy, Default)]
pub(crate) struct F4x3;

impl Scheme for F4x3 {
    const M: usize = 4;
    const R: usize = 3;
    const FACTOR: u32 = 18;

    fn tap(i: usize, t: usize) -> i32 {
        [[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [4, 2, 1], [0, 0, 1]][i][t]
    }

    #[inline(always)]
    fn input<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS] {
        six_points(d)
    }

    #[inline(always)]
    fn output<W: Wide>(m: &[W; MOST_POINTS]) -> [W; MOST_OUTPUTS] {
        let nine = times_9(m[1]);
        let (sum, difference, p, h) = (nine.add(m[2]), nine.sub(m[2]), m[3], m[4]);
        [
            sum.add(times_9(m[0])).add(p.add(h.shl(3))),
            difference.add(p.add(h.shl(1)).shl(1)),
            sum.add(p.shl(1).add(h).shl(1)),
            difference.add(times_9(m[5])).add(p.shl(3).add(h)),
        ]
    }
}

/// F(2x2, 5x5), at the same points: 2.8 times fewer products.
#[derive(Clone, Copy, Default)]
pub(crate) struct F2x5;

impl Scheme for F2x5 {
    const M: usize = 2;
    const R: usize = 5;
    const FACTOR: u32 = 18;

    fn tap(i: usize, t: usize) -> i32 {
        const TAPS: [[i32; 5]; 6] =
            [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, -1, 1, -1, 1], [1, 2, 4, 8, 16], [16, 8, 4, 2, 1], [0, 0, 0, 0, 1]];
        TAPS[i][t]
    }

    #[inline(always)]
    fn input<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS] {
        six_points(d)
    }

    #[inline(always)]
    fn output<W: Wide>(m: &[W; MOST_POINTS]) -> [W; MOST_OUTPUTS] {
        let nine = times_9(m[1]);
        let (sum, difference, p, h) = (nine.add(m[2]), nine.sub(m[2]), m[3], m[4]);
        filled([sum.add(times_9(m[0])).add(p.add(h.shl(1))), difference.add(times_9(m[5])).add(p.shl(1).add(h))])
    }
}

/// F(2, 7), at 2 and 1/2 with both signs besides: 1.75 times fewer products along one side. Three points in each of two
/// classes lose three bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct F2x7;

impl Scheme for F2x7 {
    const M: usize = 2;
    const R: usize = 7;
    const FACTOR: u32 = 360;

    fn tap(i: usize, t: usize) -> i32 {
        const TAPS: [[i32; 7]; 8] = [
            [1, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 1, 1],
            [1, -1, 1, -1, 1, -1, 1],
            [1, 2, 4, 8, 16, 32, 64],
            [1, -2, 4, -8, 16, -32, 64],
            [64, 32, 16, 8, 4, 2, 1],
            [64, -32, 16, -8, 4, -2, 1],
            [0, 0, 0, 0, 0, 0, 1],
        ];
        TAPS[i][t]
    }

    #[inline(always)]
    fn input<W: Wide>(d: &[W; MOST_POINTS]) -> [W; MOST_POINTS] {
        // Even and odd parts of the points that differ in their sign.
        let ones = |outer: W, inner: W| inner.add(inner.shl(4)).sub(outer.shl(2));
        let twos = |a: W, b: W, c: W| b.add(b.shl(2)).sub(a).sub(c.shl(2));
        let (even_1, odd_1) = (ones(d[2].add(d[6]), d[4]), ones(d[1].add(d[5]), d[3]));
        let (even_2, odd_2) = (twos(d[2], d[4], d[6]), twos(d[1], d[3], d[5]).shl(1));
        let (even_h, odd_h) = (twos(d[6], d[4], d[2]).shl(1), twos(d[5], d[3], d[1]));
        let ends = |outer: W, inner: W| outer.sub(inner.shl(2)).shl(2).sub(inner.add(inner.shl(2)));
        filled([
            ends(d[0].sub(d[6]), d[2].sub(d[4])),
            even_1.add(odd_1),
            even_1.sub(odd_1),
            even_2.add(odd_2),
            even_2.sub(odd_2),
            even_h.add(odd_h),
            even_h.sub(odd_h),
            ends(d[7].sub(d[1]), d[5].sub(d[3])),
        ])
    }

    #[inline(always)]
    fn output<W: Wide>(m: &[W; MOST_POINTS]) -> [W; MOST_OUTPUTS] {
        let (times_20, times_90) = (|x: W| x.add(x.shl(2)).shl(2), |x: W| times_9(x.add(x.shl(2))).shl(1));
        let (one, two, half) = (m[1].add(m[2]), m[3].add(m[4]), m[5].add(m[6]));
        let (minus_one, minus_two, minus_half) = (m[1].sub(m[2]), m[3].sub(m[4]), m[5].sub(m[6]));
        filled([
            times_90(m[0]).add(times_20(one)).sub(two).sub(half.shl(1)),
            times_90(m[7]).add(times_20(minus_one)).sub(minus_two.shl(1)).sub(minus_half),
        ])
    }
}

/// What `transform` makes of the unit vectors: its matrix, a column for each.
#[cfg(test)]
pub(crate) fn matrix<const FROM: usize, const TO: usize>(
    transform: impl Fn(&[Plain; FROM]) -> [Plain; TO],
) -> [[i32; TO]; FROM] {
    use std::array::from_fn;
    let first = |w: Plain| {
        let mut lanes = [0; WIDE];
        w.put(&mut lanes);
        lanes[0] as i32
    };
    from_fn(|j| transform(&from_fn(|i| Plain::of((), &[u32::from(i == j); WIDE]))).map(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point of the projective line, p : q.
    type Point = (i32, i32);

    const FOUR: [Point; 4] = [(0, 1), (1, 1), (-1, 1), (1, 0)];
    const SIX: [Point; 6] = [(0, 1), (1, 1), (-1, 1), (2, 1), (1, 2), (1, 0)];

    const EIGHT: [Point; 8] = [(0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2), (1, 0)];

    /// The filter is evaluated at the points, as a homogeneous polynomial; and whole, the scheme is a correlation times
    /// its factor, over the integers: for each output, tap and input.
    fn hold<S: Scheme>(points: &[Point]) {
        assert_eq!(points.len(), S::N);
        for (i, &(p, q)) in points.iter().enumerate() {
            for t in 0..S::R {
                assert_eq!(S::tap(i, t), p.pow(t as u32) * q.pow((S::R - 1 - t) as u32), "point {i}, tap {t}");
            }
        }
        let (input, output) = (matrix(S::input), matrix(S::output));
        for (o, t, d) in (0..S::M).flat_map(|o| (0..S::R).flat_map(move |t| (0..S::N).map(move |d| (o, t, d)))) {
            let sum: i32 = (0..S::N).map(|i| output[i][o] * S::tap(i, t) * input[d][i]).sum();
            assert_eq!(sum, if d == o + t { S::FACTOR as i32 } else { 0 }, "output {o}, tap {t}, input {d}");
        }
    }

    #[test]
    fn schemes_are_correlations_times_their_factor() {
        hold::<F2x3>(&FOUR);
        hold::<F4x3>(&SIX);
        hold::<F2x5>(&SIX);
        hold::<F2x7>(&EIGHT);
        let both =
            [exact_bits::<F2x3, true, true>(), exact_bits::<F4x3, true, true>(), exact_bits::<F2x5, true, true>()];
        assert_eq!(both, [30; 3]);
        assert_eq!([exact_bits::<F2x7, true, false>(), exact_bits::<F4x3, false, true>()], [29, 31]);
    }

    #[test]
    fn odd_numbers_have_inverses() {
        for odd in [1, 3, 81, 0xffff_ffff, 0x1234_5677] {
            assert_eq!(inverse(odd).wrapping_mul(odd), 1);
        }
    }
}
