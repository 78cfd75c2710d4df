//! "Fix the ring, fill the bits": an upload is as wide as the ring whatever the activation's bits, so per group of
//! siblings the widths (w, a) are chosen that minimise `4^-(w-1) + 4^-a` among those whose rigorous bound fits the
//! ring (PROTOCOL.md, "Ring and fixed point").

use serde::{Deserialize, Serialize};
use twinmask_ring::fixed::{round_small, x_max};
use twinmask_ring::{MAX_BITS, width_for};

/// Widest weights that a plan uses, in bits.
pub const MAX_WEIGHT_BITS: u32 = 12;
/// Widest activations that a plan uses, in magnitude bits.
pub const MAX_ACTIVATION_BITS: u32 = 15;
/// Share of a network's elements that may travel in the wide ring whatever the profile.
const LITTLE_TRAFFIC: f64 = 0.04;
/// A layer with more weights than this and few positions is bound by memory bandwidth: its weights stay int8.
const MANY_WEIGHTS: usize = 1 << 20;
/// Positions up to which reading the weights takes longer than computing.
const FEW_POSITIONS: usize = 4;
/// Widest ring of layers that take the processor's time, where the profile does not ask for more: as many bits as exact
/// Winograd leaves of 32 (docs/theory.md).
const FAST_BITS: u32 = 30;
/// How many times larger the error (a variance) must be in the profile's ring than in the wide one: 4 is one bit.
const WORTH_WIDENING: f64 = 4.0;

/// How wide the ring may be: the trade of accuracy against bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// 24 bits, weights within 8.
    Compact,
    /// 28 bits; the default.
    Balanced,
    /// 32 bits.
    Precise,
    /// Exactly this width at most, for every group.
    Bits(u8),
}

impl Profile {
    /// Ring width of groups with much traffic, in bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Compact => 24,
            Self::Balanced => 28,
            Self::Precise => 32,
            Self::Bits(k) => k as u32,
        }
    }

    const fn max_weight_bits(self) -> u32 {
        match self {
            Self::Compact => 8,
            _ => MAX_WEIGHT_BITS,
        }
    }
}

/// A text that names no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no ring: compact, balanced, precise or 8 to 32 bits")]
pub struct ProfileError(String);

impl std::str::FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "compact" => Ok(Self::Compact),
            "balanced" => Ok(Self::Balanced),
            "precise" => Ok(Self::Precise),
            bits => match bits.parse::<u8>() {
                Ok(k) if (8..=32).contains(&k) => Ok(Self::Bits(k)),
                _ => Err(ProfileError(text.into())),
            },
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Compact => f.write_str("compact"),
            Self::Balanced => f.write_str("balanced"),
            Self::Precise => f.write_str("precise"),
            Self::Bits(k) => write!(f, "{k}"),
        }
    }
}

/// Largest ring width of each group, given its elements up and down: the profile's, but 32 bits for the smallest
/// groups as long as these together carry little of the traffic.
#[must_use]
pub fn widths(profile: Profile, traffic: &[u64]) -> Vec<u32> {
    let mut widths = vec![profile.bits(); traffic.len()];
    if matches!(profile, Profile::Bits(_)) {
        return widths;
    }
    let mut left = (traffic.iter().sum::<u64>() as f64 * LITTLE_TRAFFIC) as u64;
    let mut order: Vec<usize> = (0..traffic.len()).collect();
    order.sort_by_key(|&g| traffic[g]);
    for g in order {
        let Some(rest) = left.checked_sub(traffic[g]) else { break };
        left = rest;
        widths[g] = MAX_BITS;
    }
    widths
}

/// Float weights of one layer, `[rows, fan_in]`.
#[derive(Debug, Clone, Copy)]
pub struct FloatWeights<'a> {
    /// Row-major weights.
    pub data: &'a [f32],
    /// Output channels.
    pub rows: usize,
    /// Output positions that one set of weights serves.
    pub positions: usize,
}

impl FloatWeights<'_> {
    fn fan_in(&self) -> usize {
        self.data.len() / self.rows
    }

    /// Factor from float to integer weights of a row: `w_top / max|w|`, 0 for a row of zeros.
    fn factor(row: &[f32], bits: u32) -> f32 {
        let max = row.iter().fold(0f32, |m, v| m.max(v.abs()));
        // A row so small that the factor would overflow counts as zeros.
        if max < 1e-30 { 0.0 } else { w_top(bits) as f32 / max }
    }

    /// Largest of max(sum of positive, sum of |negative|) integer weights over the rows; for signed activations
    /// the largest sum of |w|.
    fn row_sum(&self, bits: u32, signed: bool) -> u64 {
        let sum = |row: &[f32]| {
            let factor = Self::factor(row, bits);
            // Blocks keep the partial sums within i32: 2^11 * 1024 < 2^31.
            let (mut positive, mut negative) = (0u64, 0u64);
            for block in row.chunks(1024) {
                let (mut p, mut n) = (0i32, 0i32);
                for v in block {
                    let q = round_small(v * factor);
                    p += q.max(0);
                    n -= q.min(0);
                }
                positive += p as u64;
                negative += n as u64;
            }
            if signed { positive + negative } else { positive.max(negative) }
        };
        self.data.chunks_exact(self.fan_in()).map(sum).max().unwrap_or(0)
    }

    /// The integer weights, and per row the scale `s_w` of one integer step (1 for a row of zeros).
    #[must_use]
    pub fn quantize(&self, bits: u32) -> (Vec<i16>, Vec<f32>) {
        let mut integers = Vec::with_capacity(self.data.len());
        let mut scales = Vec::with_capacity(self.rows);
        for row in self.data.chunks_exact(self.fan_in()) {
            let factor = Self::factor(row, bits);
            integers.extend(row.iter().map(|v| round_small(v * factor) as i16));
            scales.push(if factor == 0.0 { 1.0 } else { 1.0 / factor });
        }
        (integers, scales)
    }
}

const fn w_top(bits: u32) -> i32 {
    (1 << (bits - 1)) - 1
}

/// Widths of one group, as [`choose`] gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBits {
    signed: bool,
    k: u32,
    x_bits: u32,
    layers: Vec<LayerBits>,
}

/// Widths of one layer of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBits {
    /// Width of its weights, in bits.
    pub w_bits: u32,
    /// Bound `M` of its outputs.
    pub bound: u64,
}

impl GroupBits {
    /// Whether activations may be negative.
    #[must_use]
    pub const fn signed(&self) -> bool {
        self.signed
    }

    /// Ring width, in bits.
    #[must_use]
    pub const fn k(&self) -> u32 {
        self.k
    }

    /// Activation magnitude bits.
    #[must_use]
    pub const fn x_bits(&self) -> u32 {
        self.x_bits
    }

    /// Its layers' widths, in their order.
    #[must_use]
    pub fn layers(&self) -> &[LayerBits] {
        &self.layers
    }
}

/// Chooses the widths of a group whose layers have these weights, for a ring of at most `width` bits; `None` when
/// not even two-bit weights and one-bit activations fit. A ring wider than the profile's is taken where it pays.
#[must_use]
pub fn choose(layers: &[FloatWeights<'_>], signed: bool, width: u32, profile: Profile) -> Option<GroupBits> {
    // The wide ring is more work for every weight, but not where reading the weights is what takes time.
    let costs = width > profile.bits() && layers.iter().any(|l| l.positions > FEW_POSITIONS);
    let width = if costs { width.min(FAST_BITS.max(profile.bits())) } else { width };
    let (error, best) = least_error(layers, signed, width, profile)?;
    let narrow = if costs { least_error(layers, signed, profile.bits(), profile) } else { None };
    Some(narrow.filter(|(narrow, _)| *narrow <= error * WORTH_WIDENING).map_or(best, |(_, bits)| bits))
}

/// The widths of least error in a ring of at most `width` bits, and that error.
fn least_error(layers: &[FloatWeights<'_>], signed: bool, width: u32, profile: Profile) -> Option<(f64, GroupBits)> {
    let mut best: Option<(f64, GroupBits)> = None;
    for w in 2..=profile.max_weight_bits() {
        let capped: Vec<u32> = layers.iter().map(|l| w.min(weight_cap(l))).collect();
        let sums: Vec<u64> = layers.iter().zip(&capped).map(|(l, &w)| l.row_sum(w, signed)).collect();
        let largest = sums.iter().copied().max().unwrap_or(0);
        let fits = |a: &u32| width_for(largest * x_max(*a) as u64) <= width;
        let Some(a) = (1..=MAX_ACTIVATION_BITS).rev().find(fits) else { continue };
        let error = capped.iter().map(|&w| 0.25f64.powi(w as i32 - 1)).fold(0.0, f64::max) + 0.25f64.powi(a as i32);
        if best.as_ref().is_none_or(|(e, _)| error < *e) {
            let k = width_for(largest * x_max(a) as u64);
            let layer = |(&w_bits, sum): (&u32, &u64)| LayerBits { w_bits, bound: sum * x_max(a) as u64 };
            let layers = capped.iter().zip(&sums).map(layer).collect();
            best = Some((error, GroupBits { signed, k, x_bits: a, layers }));
        }
    }
    best
}

fn weight_cap(layer: &FloatWeights<'_>) -> u32 {
    if layer.data.len() > MANY_WEIGHTS && layer.positions <= FEW_POSITIONS { 8 } else { MAX_WEIGHT_BITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn the_bound_is_rigorous_and_the_ring_is_full() {
        let data = weights(8 * 300);
        let layer = FloatWeights { data: &data, rows: 8, positions: 100 };
        for (signed, width) in [(true, 24), (false, 24), (true, 28), (false, 32), (true, 16)] {
            let bits = choose(&[layer], signed, width, Profile::Precise).expect("fits");
            let (w, scales) = layer.quantize(bits.layers[0].w_bits);
            let bound = w
                .chunks_exact(300)
                .map(|row| {
                    let p: i64 = row.iter().map(|&v| i64::from(v.max(0))).sum();
                    let n: i64 = row.iter().map(|&v| -i64::from(v.min(0))).sum();
                    (if signed { p + n } else { p.max(n) }) as u64
                })
                .max()
                .expect("rows")
                * x_max(bits.x_bits) as u64;
            assert_eq!((bits.layers.len(), bits.layers[0].bound), (1, bound));
            assert!(bits.k <= width && bits.k >= width - 1, "{bits:?} in {width}");
            assert_eq!(width_for(bound), bits.k);
            for (row, (ints, s)) in data.chunks_exact(300).zip(w.chunks_exact(300).zip(&scales)) {
                assert!(row.iter().zip(ints).all(|(f, &i)| (f - f32::from(i) * s).abs() <= s * 0.5001));
                assert_eq!(ints.iter().map(|i| i.abs()).max(), Some(w_top(bits.layers[0].w_bits) as i16));
            }
        }
    }

    #[test]
    fn rows_of_zeros_have_scale_one() {
        let layer = FloatWeights { data: &[0.0, 0.0, 1e-38, 0.0, 1.0, -1.0], rows: 3, positions: 1 };
        assert_eq!(layer.quantize(8), (vec![0, 0, 0, 0, 127, -127], vec![1.0, 1.0, 1.0 / 127.0]));
        let bits = choose(&[FloatWeights { data: &[0.0; 4], rows: 2, positions: 1 }], true, 24, Profile::Compact)
            .expect("fits");
        assert_eq!((bits.k, bits.x_bits), (2, 15));
    }

    #[test]
    fn siblings_share_one_ring_and_impossible_rings_are_none() {
        let (a, b) = (weights(4 * 100), weights(4 * 2000));
        let wide = FloatWeights { data: &b, rows: 4, positions: 9 };
        let narrow = FloatWeights { data: &a, rows: 4, positions: 9 };
        let both = choose(&[narrow, wide], true, 28, Profile::Balanced).expect("fits");
        assert!(both.layers[0].bound < both.layers[1].bound);
        assert_eq!(both.k, width_for(both.layers[1].bound));
        assert_eq!(choose(&[wide], true, 8, Profile::Bits(8)), None);
    }

    #[test]
    fn the_wide_ring_must_pay_with_a_bit() {
        let few = weights(4 * 40);
        let many = weights(4 * 4608);
        let chosen = |data, positions| {
            choose(&[FloatWeights { data, rows: 4, positions }], false, 32, Profile::Compact).expect("fits")
        };
        // 8-bit weights are what limits a short sum in either ring, 24 bits what limits a long one.
        assert!(chosen(&few, 100).k <= 24);
        assert!(chosen(&many, 100).k > 24);
        // Where memory is the limit the wide ring is free.
        assert!(chosen(&few, 1).k > 24 || chosen(&few, 1).x_bits == MAX_ACTIVATION_BITS);
        assert!(chosen(&few, 1).x_bits > chosen(&few, 100).x_bits);
    }

    #[test]
    fn small_groups_get_the_wide_ring() {
        assert_eq!(widths(Profile::Compact, &[1000, 20, 500, 30]), [24, 32, 24, 32]);
        assert_eq!(widths(Profile::Balanced, &[1000, 70, 500]), [28, 28, 28]);
        assert_eq!(widths(Profile::Bits(20), &[1000, 1]), [20, 20]);
    }
}
