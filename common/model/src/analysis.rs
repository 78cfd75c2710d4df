//! The paper's analysis table (ePrint 2020/155, section "Numerical analysis"), in layer geometry, for four schemes; the
//! same formulas in words, with what they leave out, are in `docs/theory.md`.
//!
//! One FLOP is one addition or multiplication; comparisons, roundings and function values of the device's own work are
//! counted as one each (as in [`cost`](crate::cost)), so that its share is not made smaller than it is. PRF words,
//! bit packing and encryption of the transport are no FLOPs. Padding counts as the kernel sees it: a tap on a zero of
//! the padding is a multiplication.

use serde::Serialize;
use twinmask_codec::packed_parts_len;
use twinmask_layer::Geometry;

use crate::plan::{Layer, Plan};

/// Bytes of one element of a one-time key of 160 bits, the size that the paper compares with.
pub const ONE_TIME_ELEMENT_BYTES: u64 = 20;
/// Bytes of one plaintext element (f32).
const PLAIN_ELEMENT_BYTES: u64 = 4;
/// Bytes of the device key that `S_in` is expanded from.
const DEVICE_KEY_BYTES: u64 = 32;

/// Which integrity checks the device runs, and what it stores for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Output positions recomputed per layer; 0 for none.
    pub samples: u64,
    /// Whether the Freivalds check runs.
    pub freivalds: bool,
    /// Most weight rows per layer stored for spot checks.
    pub rows: u64,
}

impl Default for Checks {
    /// What devices do unless told otherwise: `sample:16+freivalds`, 64 rows.
    fn default() -> Self {
        Self { samples: 16, freivalds: true, rows: 64 }
    }
}

/// FLOPs of the device in one inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DeviceFlops {
    /// `x + S_in - R`.
    pub masking: u64,
    /// `z_A + z_B - S_out`, or `z - S_out - T`.
    pub unmasking: u64,
    /// Between activations and integers, both ways.
    pub scaling: u64,
    /// The network's own operators that stay on the device, bias additions among them; absent without a graph.
    pub non_linear: Option<u64>,
    /// Integrity checks.
    pub checks: u64,
}

impl DeviceFlops {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.masking + self.unmasking + self.scaling + self.non_linear.unwrap_or(0) + self.checks
    }
}

/// What travels in one inference: elements, or bytes of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Device to edges.
    pub up: u64,
    /// Edges to device.
    pub down: u64,
    /// Edge A to edge B.
    pub between: u64,
}

impl Traffic {
    fn times(self, bytes: u64) -> Self {
        Self { up: bytes * self.up, down: bytes * self.down, between: bytes * self.between }
    }
}

/// Bytes of key material on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Masking keys, whatever the number of requests.
    pub masking: u64,
    /// Projections of the Freivalds check.
    pub freivalds: u64,
    /// Weight rows for spot checks, at their stored width and before compression.
    pub rows: u64,
    /// Masking keys that every further request needs.
    pub per_request: u64,
}

impl Storage {
    const NONE: Self = Self { masking: 0, freivalds: 0, rows: 0, per_request: 0 };

    /// Bytes that must be there for `requests` requests.
    #[must_use]
    pub const fn for_requests(&self, requests: u64) -> u64 {
        self.masking + self.freivalds + self.rows + self.per_request * requests
    }
}

/// One column of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scheme {
    /// `split`, `relay`, `one-time` or `unprotected`.
    pub name: &'static str,
    /// FLOPs of the device.
    pub device: DeviceFlops,
    /// FLOPs of each edge: A and B, or the only one.
    pub edges: Vec<u64>,
    /// Elements that travel.
    pub elements: Traffic,
    /// Their bytes: k bits each, packed (`split`, `relay`), 160 bits (`one-time`) or 32 (`unprotected`).
    pub bytes: Traffic,
    /// Key material on the device.
    pub storage: Storage,
    /// [`Storage::for_requests`] of 1,000.
    pub storage_1000_requests: u64,
    /// `100 (1 - device / network)`: what the device is spared against running the float network itself, masking,
    /// scaling and checks included; absent without a graph, negative when the device does more than before.
    pub spared_percent: Option<f64>,
}

/// The table of one network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// FLOPs of the network itself, computed in float on one machine; absent without a graph.
    pub network_flops: Option<u64>,
    /// Share of [`network_flops`](Self::network_flops) in the outsourced layers, in percent.
    pub outsourced_percent: Option<f64>,
    /// The columns: `split`, `relay`, `one-time`, `unprotected`.
    pub schemes: Vec<Scheme>,
}

/// The table for `plan`; `local_flops` are those of the device's graph
/// ([`cost::local_flops`](crate::cost::local_flops)).
#[must_use]
pub fn analyse(plan: &Plan, local_flops: Option<u64>, checks: Checks) -> Analysis {
    let network_flops = local_flops.map(|local| 2 * plan.macs() + local);
    let schemes = [split(plan, checks), relay(plan, checks), one_time(plan), unprotected(plan)];
    let finish = |mut scheme: Scheme| {
        scheme.device.non_linear = local_flops;
        scheme.storage_1000_requests = scheme.storage.for_requests(1000);
        scheme.spared_percent = network_flops.map(|all| 100.0 * (1.0 - scheme.device.total() as f64 / all as f64));
        scheme
    };
    Analysis {
        network_flops,
        outsourced_percent: network_flops.map(|all| 100.0 * 2.0 * plan.macs() as f64 / all as f64),
        schemes: schemes.map(finish).into(),
    }
}

/// A column whose derived fields [`analyse`] fills in.
fn scheme(name: &'static str, elements: Traffic, bytes: Traffic, edges: Vec<u64>, storage: Storage) -> Scheme {
    let device = DeviceFlops::default();
    Scheme { name, device, edges, elements, bytes, storage, storage_1000_requests: 0, spared_percent: None }
}

/// Per element up: largest magnitude, factor, rounding, two comparisons of the clamp; per element down: the scale.
fn scaling(plan: &Plan) -> u64 {
    let (up, down) = plan.elements();
    5 * up + down
}

/// PROTOCOL.md, "One inference, mode `split`".
fn split(plan: &Plan, checks: Checks) -> Scheme {
    let (n, m) = plan.elements();
    let elements = Traffic { up: n, down: 2 * m, between: 0 };
    let (up, down) = packed(plan);
    let bytes = Traffic { up, down: 2 * down, between: 0 };
    let device = DeviceFlops {
        masking: 2 * n,
        unmasking: 2 * m,
        scaling: scaling(plan),
        checks: check_flops(plan, checks, split_sample),
        non_linear: None,
    };
    let edges = vec![2 * plan.macs(); 2];
    Scheme { device, ..scheme("split", elements, bytes, edges, storage(plan, checks)) }
}

/// PROTOCOL.md, "One inference, mode `relay`": no fallbacks.
fn relay(plan: &Plan, checks: Checks) -> Scheme {
    let (n, m) = plan.elements();
    let elements = Traffic { up: n, down: m, between: m };
    let (up, down) = packed(plan);
    let bytes = Traffic { up, down, between: down };
    let device = DeviceFlops {
        masking: 2 * n,
        unmasking: 2 * m,
        scaling: scaling(plan),
        checks: check_flops(plan, checks, relay_sample),
        non_linear: None,
    };
    // A adds T, B adds the correction.
    let edges = vec![2 * plan.macs() + m; 2];
    Scheme { device, ..scheme("relay", elements, bytes, edges, storage(plan, checks)) }
}

/// One edge, a fresh pair `(r, W·r)` per request from the device's store (the paper's [ref], as in LEP-CNN): one
/// addition up, one subtraction down.
fn one_time(plan: &Plan) -> Scheme {
    let (n, m) = plan.elements();
    let elements = Traffic { up: n, down: m, between: 0 };
    let bytes = elements.times(ONE_TIME_ELEMENT_BYTES);
    let device = DeviceFlops { masking: n, unmasking: m, scaling: scaling(plan), ..DeviceFlops::default() };
    let storage = Storage { per_request: (n + m) * ONE_TIME_ELEMENT_BYTES, ..Storage::NONE };
    Scheme { device, ..scheme("one-time", elements, bytes, vec![2 * plan.macs()], storage) }
}

/// One edge computes layer by layer on plaintext in float.
fn unprotected(plan: &Plan) -> Scheme {
    let (n, m) = plan.elements();
    let elements = Traffic { up: n, down: m, between: 0 };
    scheme("unprotected", elements, elements.times(PLAIN_ELEMENT_BYTES), vec![2 * plan.macs()], Storage::NONE)
}

/// Payload bytes up and down (from one edge) in `packed` form; each round is a payload of its own.
fn packed(plan: &Plan) -> (u64, u64) {
    let up: usize = plan.round_ids().map(|r| packed_parts_len(&plan.upload_parts(r))).sum();
    let down: usize = plan.round_ids().map(|r| packed_parts_len(&plan.answer_parts(r))).sum();
    (up as u64, down as u64)
}

/// Recomputing `n` outputs on both shares.
fn split_sample(g: &Geometry, n: u64) -> u64 {
    2 * n * 2 * g.fan_in() as u64
}

/// Recomputing `n` outputs on both shares, and adding these and T.
fn relay_sample(g: &Geometry, n: u64) -> u64 {
    split_sample(g, n) + 2 * n
}

fn check_flops(plan: &Plan, checks: Checks, sample: fn(&Geometry, u64) -> u64) -> u64 {
    let layer = |l: &Layer| {
        let freivalds = if checks.freivalds { freivalds_flops(l.geometry()) } else { 0 };
        sample(l.geometry(), checks.samples) + freivalds
    };
    plan.layers().iter().map(layer).sum()
}

/// `<a, x>`, the range of y, and `<s ⊗ t, y>` as one inner product per row of y and one over the rows.
fn freivalds_flops(g: &Geometry) -> u64 {
    let rows = match g {
        Geometry::Conv(_) => g.out_channels(),
        Geometry::Fc(_) => g.positions(),
    };
    (2 * g.in_len() + 3 * g.out_len() + 2 * rows) as u64
}

fn storage(plan: &Plan, checks: Checks) -> Storage {
    let s_out: usize = plan.numbered_layers().map(|(l, _)| plan.answer_part(l).packed_len()).sum();
    let projection = |l: &Layer| (8 * l.geometry().groups() * l.geometry().fan_in()) as u64;
    let rows = |l: &Layer| {
        let width = if l.w_bits() <= 8 { 1 } else { 2 };
        checks.rows.min(l.geometry().out_channels() as u64) * l.geometry().fan_in() as u64 * width
    };
    Storage {
        masking: DEVICE_KEY_BYTES + s_out as u64,
        freivalds: plan.layers().iter().map(projection).sum(),
        rows: plan.layers().iter().map(rows).sum(),
        per_request: 0,
    }
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
