//! The `freivalds` check (PROTOCOL.md, "Integrity"): for secrets s (channels) and t (positions), uniform mod
//! q = 2^61 - 1 and unknown to the edges, the exact integers y = W·x satisfy `<s ⊗ t, y> = <a, x>` mod q with
//! `a = W^T (s ⊗ t)`. An answer that differs from W·x anywhere passes with probability at most 2/q, whatever the data.
//!
//! The bundle stores `W^T s`, one number per weight of one channel; `a` is expanded from it when the bundle is loaded.

use twinmask_codec::LayerId;
use twinmask_kernels::elementwise;
use twinmask_layer::Geometry;
use twinmask_model::bundle::Digest;
use twinmask_ring::prf::Key;
use zeroize::{Zeroize, Zeroizing};

/// The field's prime, 2^61 - 1.
pub const Q: u64 = (1 << 61) - 1;

/// `v mod q` of a number below 2q. Without a branch, which `make bench-timing` has told answers of zeros by.
const fn once(v: u64) -> u64 {
    let less = v.wrapping_sub(Q);
    less.wrapping_add(Q & ((less as i64 >> 63) as u64))
}

/// `v mod q` of a number below 2^124.
const fn reduce(v: u128) -> u64 {
    let folded = (v & Q as u128) as u64 + (v >> 61) as u64;
    once((folded & Q) + (folded >> 61))
}

/// `v mod q` of a signed number of magnitude below 2^122.
const fn reduce_signed(v: i128) -> u64 {
    reduce((v + ((Q as i128) << 62)) as u128)
}

const fn mul(a: u64, b: u64) -> u64 {
    reduce(a as u128 * b as u128)
}

const fn add(a: u64, b: u64) -> u64 {
    once(a + b)
}

/// The secrets of one device, model and layer: s per output channel, t per output position.
pub struct Secrets {
    s: Zeroizing<Vec<u64>>,
    t: Zeroizing<Vec<u64>>,
}

impl Secrets {
    /// Expands the secrets of layer `l` from the device key: first s, then t.
    #[must_use]
    pub fn expand(device_key: &[u8; 32], digest: &Digest, l: LayerId, geometry: &Geometry) -> Self {
        let mut stream = Key::derive("u", &[device_key, digest]).stream(l.into());
        let mut draw = |n: usize| {
            let uniform = || loop {
                let v = stream.next_u64() & Q;
                if v != Q {
                    return v;
                }
            };
            Zeroizing::new(std::iter::repeat_with(uniform).take(n).collect::<Vec<u64>>())
        };
        let s = draw(geometry.out_channels());
        let t = draw(geometry.positions());
        Self { s, t }
    }

    /// `W^T s` of integer weights `[out_channels, fan_in]`: `[groups, fan_in]` for a convolution, `[inputs]` for a
    /// fully connected layer. What the owner puts into the bundle.
    #[must_use]
    pub fn project(&self, geometry: &Geometry, weights: &[i16]) -> Zeroizing<Vec<u64>> {
        let (fan_in, groups) = (geometry.fan_in(), geometry.groups());
        let per_group = geometry.out_channels() / groups;
        let mut out = Zeroizing::new(Vec::with_capacity(groups * fan_in));
        for g in 0..groups {
            let mut sums = Zeroizing::new(vec![0i128; fan_in]);
            for o in g * per_group..(g + 1) * per_group {
                let (s, row) = (i128::from(self.s[o]), &weights[o * fan_in..][..fan_in]);
                sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += s * i128::from(w));
            }
            out.extend(sums.iter().copied().map(reduce_signed));
        }
        out
    }
}

/// Elements of `W^T s`.
#[must_use]
pub fn projection_len(geometry: &Geometry) -> usize {
    geometry.groups() * geometry.fan_in()
}

/// A tensor of rows as an outer product: element (r, i) is `outer[r] * inner[i]`.
struct Outer {
    outer: Zeroizing<Vec<u64>>,
    inner: Zeroizing<Vec<u64>>,
}

impl Outer {
    /// The factor along channels and that along positions, in the order in which `geometry` stores its rows: all
    /// positions of a channel (Conv) or all channels of a position (FC).
    fn new(geometry: &Geometry, channels: Zeroizing<Vec<u64>>, positions: Zeroizing<Vec<u64>>) -> Self {
        match geometry {
            Geometry::Conv(_) => Self { outer: channels, inner: positions },
            Geometry::Fc(_) => Self { outer: positions, inner: channels },
        }
    }
}

/// Rows shorter than this cost more one by one than as one long vector.
const SHORT_ROW: usize = 48;

/// What a tensor is multiplied with: `s ⊗ t` on one side, `a = W^T (s ⊗ t)` on the other.
enum Factors {
    /// Stays in the nearest cache, which a vector as long as the tensor does not. Of `a` only where every output
    /// position reads one input position of its own: fully connected layers and convolutions of one tap.
    Outer(Outer),
    /// As long as the tensor.
    Dense(Zeroizing<Vec<u64>>),
}

impl Factors {
    fn new(geometry: &Geometry, channels: Zeroizing<Vec<u64>>, positions: Zeroizing<Vec<u64>>) -> Self {
        let rows = Outer::new(geometry, channels, positions);
        if rows.inner.len() >= SHORT_ROW {
            return Self::Outer(rows);
        }
        let row = |&o: &u64| rows.inner.iter().map(move |&i| mul(o, i));
        Self::Dense(Zeroizing::new(rows.outer.iter().flat_map(row).collect()))
    }
}

/// The check of one layer, ready to be run.
pub struct LayerCheck {
    geometry: Geometry,
    secrets: Factors,
    projected: Factors,
    bound: u64,
}

impl LayerCheck {
    /// Expands `a` from the bundle's projection `W^T s`; `bound` is the layer's `M`.
    ///
    /// # Panics
    /// If `projection` is not [`projection_len`] long.
    #[must_use]
    pub fn new(geometry: Geometry, secrets: Secrets, projection: &[u64], bound: u64) -> Self {
        assert_eq!(projection.len(), projection_len(&geometry), "projection of {geometry:?}");
        let Secrets { s, t } = secrets;
        // A bundle that the owner has signed may still hold anything: what follows is for numbers below q.
        let projection = Zeroizing::new(projection.iter().map(|&p| reduce(p.into())).collect::<Vec<u64>>());
        let one_tap = match &geometry {
            Geometry::Fc(_) => true,
            Geometry::Conv(c) => (c.kh, c.kw, c.stride, c.pad) == (1, 1, [1, 1], [0; 4]),
        };
        let projected = if one_tap {
            Factors::new(&geometry, projection, t.clone())
        } else {
            Factors::Dense(expand(&geometry, &t, &projection))
        };
        Self { geometry, secrets: Factors::new(&geometry, s, t), projected, bound }
    }

    /// Whether `y` passes for `x`: first the range `|y| <= M`, then the identity mod q.
    #[must_use]
    pub fn holds(&self, x: &[i32], y: &[i32]) -> bool {
        if x.len() != self.geometry.in_len() || y.len() != self.geometry.out_len() {
            return false;
        }
        let (mut left, mut right) = (self.left(), Running::default());
        left.push(0, y);
        self.add_right(0, x, &mut right);
        left.holds(&right)
    }

    /// Adds what the integers `x` from index `at` on of the tensor give of `<a, x>`.
    pub(crate) fn add_right(&self, at: usize, x: &[i32], right: &mut Running) {
        right.push(&self.projected, at, x);
    }

    /// The other side of the identity, and the range, while the answer comes.
    pub(crate) fn left(&self) -> Left<'_> {
        Left { check: self, sum: Running::default(), largest: 0 }
    }
}

/// An inner product mod q with a tensor that comes in pieces, in any order.
#[derive(Default, Zeroize)]
pub(crate) struct Running(u64);

impl Running {
    /// Adds what the elements `v` from index `at` on give.
    fn push(&mut self, factors: &Factors, mut at: usize, mut v: &[i32]) {
        let Outer { outer, inner } = match factors {
            Factors::Outer(outer) => outer,
            Factors::Dense(a) => {
                self.0 = add(self.0, dot(&a[at..][..v.len()], v));
                return;
            }
        };
        while !v.is_empty() {
            let (row, from) = (at / inner.len(), at % inner.len());
            let (part, rest) = v.split_at(v.len().min(inner.len() - from));
            self.0 = add(self.0, mul(outer[row], dot(&inner[from..][..part.len()], part)));
            (at, v) = (at + part.len(), rest);
        }
    }
}

/// `<s ⊗ t, y>` and the range of y, for as much of y as has come.
pub(crate) struct Left<'a> {
    check: &'a LayerCheck,
    sum: Running,
    largest: u32,
}

impl Left<'_> {
    /// Takes the elements from index `at` on.
    pub(crate) fn push(&mut self, at: usize, y: &[i32]) {
        self.largest = self.largest.max(elementwise::largest(y));
        self.sum.push(&self.check.secrets, at, y);
    }

    /// Whether the answer was in range and its inner product is `right`. All of both has been computed whatever was
    /// found, so that the time tells nothing.
    pub(crate) fn holds(&self, right: &Running) -> bool {
        (u64::from(self.largest) <= self.check.bound) & (self.sum.0 == right.0)
    }
}

/// `sum a[i] * v[i] mod q`, for a below q.
fn dot(a: &[u64], v: &[i32]) -> u64 {
    let pieces = a.chunks(elementwise::MOST_TERMS).zip(v.chunks(elementwise::MOST_TERMS));
    let sum = pieces.fold(0i128, |sum, (a, v)| {
        let [low, middle, high] = elementwise::dot(a, v).map(i128::from);
        sum + low + (middle << 21) + (high << 42)
    });
    reduce_signed(sum)
}

/// `a = W^T (s ⊗ t)`: the projection spread over the input by every output position's taps.
fn expand(geometry: &Geometry, t: &[u64], projection: &[u64]) -> Zeroizing<Vec<u64>> {
    let mut a = Zeroizing::new(vec![0u64; geometry.in_len()]);
    let fan_in = geometry.fan_in();
    let per_group = geometry.out_channels() / geometry.groups();
    for g in 0..geometry.groups() {
        let row = &projection[g * fan_in..][..fan_in];
        for (position, &t) in t.iter().enumerate() {
            // The taps are those of any channel of the group.
            geometry.taps(g * per_group, position, |w, i| a[i] = add(a[i], mul(row[w], t)));
        }
    }
    a
}

#[cfg(test)]
#[path = "freivalds_tests.rs"]
mod tests;
