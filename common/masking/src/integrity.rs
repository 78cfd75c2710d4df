//! Integrity checks (PROTOCOL.md, "Integrity"). `sample:N` recomputes N output positions per layer on each share, so
//! it knows which edge lied; positions are drawn after the answers have come. `freivalds` checks the unmasked sum as a
//! whole, with certainty for all practical purposes, and cannot tell who lied.

use std::str::FromStr;

use twinmask_gemm::Geometry;
use twinmask_model::bundle::{DeviceBundle, Rows};
use twinmask_model::plan::{Layer, Plan};
use twinmask_ring::mask;

use crate::freivalds::{LayerCheck, Secrets};
use crate::mask::Pending;
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

impl FromStr for Integrity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || {
            format!(
                "'{text}' is no integrity check: none, freivalds, sample:N or sample:N+freivalds, N from 1 to {MAX_SAMPLES}"
            )
        };
        let (sample, freivalds) = match text {
            "none" => return Ok(Self::NONE),
            "freivalds" => return Ok(Self { samples: 0, freivalds: true }),
            _ => text.strip_suffix("+freivalds").map_or((text, false), |sample| (sample, true)),
        };
        match sample.strip_prefix("sample:").map(str::parse) {
            Some(Ok(samples)) if (1..=MAX_SAMPLES).contains(&samples) => Ok(Self { samples, freivalds }),
            _ => Err(fail()),
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
pub enum IntegrityError {
    /// An answer has another length than the plan says.
    #[error("layer {layer}: {liar} answered {found} elements instead of {expected}")]
    Length {
        /// Layer name.
        layer: String,
        /// Who.
        liar: Liar,
        /// Elements answered.
        found: usize,
        /// Elements due.
        expected: usize,
    },
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

/// Whose answer is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Edge A's.
    A,
    /// Edge B's.
    B,
    /// The sum that edge B sent in mode `relay`.
    Sum,
}

/// Checks answers before they are unmasked.
pub struct Checker {
    integrity: Integrity,
    rows: Vec<Rows>,
    /// Per layer; empty when the check is off.
    freivalds: Vec<LayerCheck>,
}

impl Checker {
    /// Takes the weight rows and expands the Freivalds secrets of `bundle`, as far as `integrity` needs them.
    ///
    /// # Errors
    /// [`IntegrityError::NoRows`] when rows that `integrity` needs are missing.
    pub fn new(integrity: Integrity, bundle: &mut DeviceBundle) -> Result<Self, IntegrityError> {
        let plan = &bundle.model.plan;
        let rows = if integrity.samples > 0 { std::mem::take(&mut bundle.rows) } else { Vec::new() };
        if let Some(l) = rows.iter().position(|r| r.channels.is_empty()) {
            return Err(IntegrityError::NoRows { layer: plan.layers[l].name.clone() });
        }
        let layer = |(l, layer): (usize, &Layer)| {
            let secrets = Secrets::expand(&bundle.key, &bundle.model.digest, l as u32, &layer.geometry);
            LayerCheck::new(layer.geometry, secrets, &bundle.projections[l], layer.bound)
        };
        let checked = if integrity.freivalds { plan.layers.as_slice() } else { &[] };
        let freivalds = checked.iter().enumerate().map(layer).collect();
        Ok(Self { integrity, rows, freivalds })
    }

    /// What is checked.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// Checks the unmasked integers `y` of layer `l` for the quantized tensor `x`.
    pub(crate) fn check_opened(&self, plan: &Plan, l: usize, x: &[i32], y: &[i32]) -> Result<(), IntegrityError> {
        match self.freivalds.get(l) {
            Some(check) if !check.holds(x, y) => Err(IntegrityError::Freivalds { layer: plan.layers[l].name.clone() }),
            _ => Ok(()),
        }
    }

    /// Checks that `found` elements came for layer `l`.
    pub(crate) fn check_length(
        &self,
        plan: &Plan,
        l: usize,
        share: Share,
        found: usize,
        expected: usize,
    ) -> Result<(), IntegrityError> {
        let liar = match share {
            Share::A => Liar::A,
            Share::B | Share::Sum => Liar::B,
        };
        if found == expected {
            return Ok(());
        }
        Err(IntegrityError::Length { layer: plan.layers[l].name.clone(), liar, found, expected })
    }

    /// Spot-checks each edge's answer to its own share: `(share, answer)` of edge A and of edge B.
    pub(crate) fn check_pair(
        &self,
        plan: &Plan,
        l: usize,
        f: u32,
        edges: [(&[u32], &[u32]); 2],
    ) -> Result<(), IntegrityError> {
        let mut right = [true; 2];
        self.each_sample(plan, l, |at, row| {
            for (ok, (share, z)) in right.iter_mut().zip(&edges) {
                *ok &= row.answer(share, 0) >> f == z[at];
            }
        });
        match right {
            [true, true] => Ok(()),
            [false, true] => Err(self.sample_error(plan, l, Liar::A)),
            [true, false] => Err(self.sample_error(plan, l, Liar::B)),
            [false, false] => Err(self.sample_error(plan, l, Liar::Both)),
        }
    }

    /// Spot-checks the sum that edge B sent in mode `relay`.
    pub(crate) fn check_sum(
        &self,
        plan: &Plan,
        l: usize,
        f: u32,
        pending: &Pending,
        z: &[u32],
        t: &[u32],
    ) -> Result<(), IntegrityError> {
        let mut right = true;
        // An answer is linear in the share: that to R + v is the sum of those to R and to v.
        self.each_sample(plan, l, |at, row| {
            let sum = row.answer(&pending.r, t[at]).wrapping_add(row.answer(&pending.v, 0));
            right &= (sum & row.keep) >> f == z[at];
        });
        if right { Ok(()) } else { Err(self.sample_error(plan, l, Liar::Unknown)) }
    }

    fn sample_error(&self, plan: &Plan, l: usize, liar: Liar) -> IntegrityError {
        IntegrityError::Sample { layer: plan.layers[l].name.clone(), liar, positions: self.integrity.samples }
    }

    /// Calls `check(output index, row)` for N fresh random positions; all of them whatever is found, so that the time
    /// tells nothing.
    fn each_sample(&self, plan: &Plan, l: usize, mut check: impl FnMut(usize, &SampledRow<'_>)) {
        let n = self.integrity.samples as usize;
        if n == 0 {
            return;
        }
        let (geometry, rows) = (&plan.layers[l].geometry, &self.rows[l]);
        let (fan_in, keep) = (geometry.fan_in(), mask(plan.k_of(l)));
        let bounds = [rows.channels.len() as u64, geometry.positions() as u64];
        let drawn = random::below(2 * n, |i| bounds[i % 2]);
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
    /// What an honest edge answers for `share`, plus `addend`, mod 2^k.
    fn answer(&self, share: &[u32], addend: u32) -> u32 {
        let mut sum = addend;
        self.geometry.runs(self.channel, self.position, |w, i, n| {
            let taps = self.weights[w..w + n].iter().zip(&share[i..i + n]);
            sum = taps.fold(sum, |sum, (&w, &x)| sum.wrapping_add((i32::from(w) as u32).wrapping_mul(x)));
        });
        sum & self.keep
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
