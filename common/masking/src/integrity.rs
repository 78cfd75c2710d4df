//! Integrity checks (PROTOCOL.md, "Integrity"). `sample:N` recomputes N output positions per layer on each share, so
//! it knows which edge lied; positions are drawn after the answers have come. `freivalds` checks the unmasked sum as a
//! whole, with certainty for all practical purposes, and cannot tell who lied.

use std::str::FromStr;

use twinmask_codec::LayerId;
use twinmask_layer::Geometry;
use twinmask_model::bundle::{DeviceBundle, Rows};
use twinmask_model::plan::{Layer, Plan};
use twinmask_ring::mask;
use zeroize::Zeroize;

use crate::freivalds::{LayerCheck, Left, Running, Secrets};
use crate::random;

/// Most positions per layer that may be asked for.
pub const MAX_SAMPLES: u32 = 65_536;

/// Which checks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integrity {
    /// Output positions recomputed per layer; 0 for none.
    pub samples: u32,
    /// Whether every unmasked answer passes the [`freivalds`](crate::freivalds) check.
    pub freivalds: bool,
}

impl Integrity {
    /// No check at all.
    pub const NONE: Self = Self { samples: 0, freivalds: false };
}

impl Default for Integrity {
    /// `sample:16+freivalds`: certainty, and the name of the liar.
    fn default() -> Self {
        Self { samples: 16, freivalds: true }
    }
}

/// A text that names no integrity check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no integrity check: none, freivalds, sample:N or sample:N+freivalds, N from 1 to {MAX_SAMPLES}")]
pub struct ParseIntegrityError(String);

impl FromStr for Integrity {
    type Err = ParseIntegrityError;

    fn from_str(text: &str) -> Result<Self, ParseIntegrityError> {
        let (sample, freivalds) = match text {
            "none" => return Ok(Self::NONE),
            "freivalds" => return Ok(Self { samples: 0, freivalds: true }),
            _ => text.strip_suffix("+freivalds").map_or((text, false), |sample| (sample, true)),
        };
        match sample.strip_prefix("sample:").map(str::parse) {
            Some(Ok(samples)) if (1..=MAX_SAMPLES).contains(&samples) => Ok(Self { samples, freivalds }),
            _ => Err(ParseIntegrityError(text.into())),
        }
    }
}

impl std::fmt::Display for Integrity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.samples, self.freivalds) {
            (0, false) => f.write_str("none"),
            (0, true) => f.write_str("freivalds"),
            (n, false) => write!(f, "sample:{n}"),
            (n, true) => write!(f, "sample:{n}+freivalds"),
        }
    }
}

/// Whom a failed check points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liar {
    /// Edge A answered wrongly.
    A,
    /// Edge B answered wrongly.
    B,
    /// Both did.
    Both,
    /// One of them; in mode `relay` their answers come as one sum.
    Unknown,
}

impl std::fmt::Display for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "edge A",
            Self::B => "edge B",
            Self::Both => "both edges",
            Self::Unknown => "an edge",
        })
    }
}

/// A wrong answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntegrityError {
    /// A spot check failed.
    #[error(
        "layer {layer}: {liar} answered wrongly (spot check at {positions} positions); the result was discarded, do not trust that edge"
    )]
    Sample {
        /// Layer name.
        layer: String,
        /// Who.
        liar: Liar,
        /// Positions that were checked.
        positions: u32,
    },
    /// The Freivalds check failed: one of the edges (or both) answered wrongly.
    #[error(
        "layer {layer}: an edge answered wrongly (Freivalds check); the result was discarded. `--integrity sample:N+freivalds` may tell which edge it is"
    )]
    Freivalds {
        /// Layer name.
        layer: String,
    },
    /// The device holds no weight rows to check with.
    #[error(
        "layer {layer}: this device holds no weight rows to spot-check with; issue it with --sample-rows, or run with --integrity none"
    )]
    NoRows {
        /// Layer name.
        layer: String,
    },
}

/// One layer's opened answer, for spot checks.
pub(crate) struct Sampled<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) l: LayerId,
    /// Bits that were dropped.
    pub(crate) f: u32,
    /// The tensor that was masked.
    pub(crate) x: &'a [i16],
    /// What was opened, `[out_len]`.
    pub(crate) y: &'a [i32],
}

/// What is known of the two shares of a layer's answer.
pub(crate) struct Shares<'a> {
    /// Edge A's share of the input.
    pub(crate) r: &'a [u32],
    /// What edge A answered, without the bits that were dropped: `W·R + T`.
    pub(crate) z_a: &'a [u32],
    /// `W·S_in`.
    pub(crate) s_out: &'a [u32],
    /// `S_out + T`.
    pub(crate) sum: &'a [u32],
}

/// Checks answers before what was opened of them is used.
pub struct Checker {
    integrity: Integrity,
    rows: Vec<Rows>,
    /// Per layer; empty when the check is off.
    freivalds: Vec<LayerCheck>,
}

/// Which rows a device holds is its secret: an edge that knew could falsify the others.
impl Drop for Checker {
    fn drop(&mut self) {
        for Rows { channels, weights } in &mut self.rows {
            channels.zeroize();
            weights.zeroize();
        }
    }
}

impl Checker {
    /// Takes the weight rows and expands the Freivalds secrets of `bundle`, as far as `integrity` needs them.
    ///
    /// # Errors
    /// [`IntegrityError::NoRows`] when rows that `integrity` needs are missing.
    pub fn new(integrity: Integrity, bundle: &mut DeviceBundle) -> Result<Self, IntegrityError> {
        let plan = &bundle.model.plan;
        let rows = if integrity.samples > 0 { std::mem::take(&mut bundle.rows) } else { Vec::new() };
        if let Some((_, layer)) = rows.iter().zip(plan.layers()).find(|(r, _)| r.channels.is_empty()) {
            return Err(IntegrityError::NoRows { layer: layer.name().into() });
        }
        let layer = |(l, layer): (LayerId, &Layer)| {
            let secrets = Secrets::expand(&bundle.key, &bundle.model.digest, l, layer.geometry());
            LayerCheck::new(*layer.geometry(), secrets, &bundle.projections[l.index()], layer.bound())
        };
        let freivalds = plan.numbered_layers().filter(|_| integrity.freivalds).map(layer).collect();
        Ok(Self { integrity, rows, freivalds })
    }

    /// What is checked.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// The Freivalds check of layer `l`, if it is on.
    pub(crate) fn left(&self, l: LayerId) -> Option<Left<'_>> {
        self.freivalds.get(l.index()).map(LayerCheck::left)
    }

    /// Adds what the integers `x` from index `at` on of a group's tensor give for each of its `layers` to `right`.
    pub(crate) fn count(&self, layers: &[LayerId], at: usize, x: &[i32], right: &mut [Running]) {
        for (l, right) in layers.iter().zip(right) {
            if let Some(check) = self.freivalds.get(l.index()) {
                check.add_right(at, x, right);
            }
        }
    }

    /// Spot-checks what was opened of the sum that edge B sent in mode `relay`. With `f` dropped bits
    /// `W·x - y + 2^(f-1)` is what the bits were: under `2^f`; without, 0. `S_out` and T are part of both sides.
    pub(crate) fn check_sum(&self, sampled: &Sampled<'_>) -> Result<(), IntegrityError> {
        let (mut right, f) = (true, sampled.f);
        self.each_sample(sampled, |at, row| {
            let off = row.sum(|i| sampled.x[i] as u32).wrapping_sub(sampled.y[at] as u32);
            right &= (off.wrapping_add((1 << f) >> 1) & row.keep) >> f == 0;
        });
        if right { Ok(()) } else { Err(self.sample_error(sampled, Liar::Unknown)) }
    }

    /// Spot-checks each edge's answer to its own share; edge B's is what makes `y` of edge A's, to `x + S_in - r`.
    pub(crate) fn check_pair(&self, sampled: &Sampled<'_>, shares: &Shares<'_>) -> Result<(), IntegrityError> {
        let (mut right, f) = ([true; 2], sampled.f);
        self.each_sample(sampled, |at, row| {
            let (of_r, of_x) = (row.sum(|i| shares.r[i]), row.sum(|i| sampled.x[i] as u32));
            let (z_a, s_out, sum) = (shares.z_a[at], shares.s_out[at], shares.sum[at]);
            let masked = (sampled.y[at] as u32).wrapping_add(sum).wrapping_sub((1 << f) - 1);
            let z_b = (masked.wrapping_sub(z_a << f) & row.keep) >> f;
            right[0] &= (of_r.wrapping_add(sum).wrapping_sub(s_out) & row.keep) >> f == z_a;
            right[1] &= (of_x.wrapping_add(s_out).wrapping_sub(of_r) & row.keep) >> f == z_b;
        });
        match right {
            [true, true] => Ok(()),
            [false, true] => Err(self.sample_error(sampled, Liar::A)),
            [true, false] => Err(self.sample_error(sampled, Liar::B)),
            [false, false] => Err(self.sample_error(sampled, Liar::Both)),
        }
    }

    fn sample_error(&self, sampled: &Sampled<'_>, liar: Liar) -> IntegrityError {
        let layer = sampled.plan.layer(sampled.l).name().into();
        IntegrityError::Sample { layer, liar, positions: self.integrity.samples }
    }

    /// Calls `check(output index, row)` for N fresh random positions; all of them whatever is found, so that the time
    /// tells nothing.
    fn each_sample(&self, sampled: &Sampled<'_>, mut check: impl FnMut(usize, &SampledRow<'_>)) {
        let (geometry, rows) = (sampled.plan.layer(sampled.l).geometry(), &self.rows[sampled.l.index()]);
        let (fan_in, keep) = (geometry.fan_in(), mask(sampled.plan.k_of(sampled.l)));
        let bounds = [rows.channels.len() as u64, geometry.positions() as u64];
        let drawn = random::below(2 * self.integrity.samples as usize, |i| bounds[i % 2]);
        for pair in drawn.chunks_exact(2) {
            let (row, position) = (pair[0], pair[1]);
            let channel = rows.channels[row] as usize;
            let weights = &rows.weights[row * fan_in..][..fan_in];
            let at = geometry.output_index(channel, position);
            check(at, &SampledRow { geometry, weights, channel, position, keep });
        }
    }
}

/// One output position that is recomputed.
struct SampledRow<'a> {
    geometry: &'a Geometry,
    weights: &'a [i16],
    channel: usize,
    position: usize,
    keep: u32,
}

impl SampledRow<'_> {
    /// The output at this position, mod 2^32, for the share whose element i is `share(i)`.
    fn sum(&self, share: impl Fn(usize) -> u32) -> u32 {
        let mut sum = 0u32;
        self.geometry.runs(self.channel, self.position, |w, i, n| {
            for (j, &w) in self.weights[w..w + n].iter().enumerate() {
                sum = sum.wrapping_add((i32::from(w) as u32).wrapping_mul(share(i + j)));
            }
        });
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_parse_and_print() {
        for text in ["none", "sample:1", "sample:16", "freivalds", "sample:3+freivalds"] {
            assert_eq!(text.parse::<Integrity>().expect("valid").to_string(), text);
        }
        for text in ["", "sample", "sample:0", "sample:x", "sample:70000", "all", "none+freivalds", "+freivalds"] {
            assert!(text.parse::<Integrity>().is_err(), "{text}");
        }
        assert_eq!(Integrity::default().to_string(), "sample:16+freivalds");
    }
}
