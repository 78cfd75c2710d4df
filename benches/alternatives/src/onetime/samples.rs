//! Spot checks: a few outputs of each layer are computed anew from the weight rows that the device holds. The edge does
//! not know which rows those are.

use twinmask_codec::LayerId;
use twinmask_kernels::naive;
use twinmask_model::bundle::Rows;
use twinmask_model::plan::Plan;
use twinmask_ring::centre;
use twinmask_ring::prf::{Key, Stream};

/// Rows of some channels of each layer, and what chooses among them.
pub(super) struct Samples {
    rows: Vec<Rows>,
    count: usize,
    choice: Stream,
}

impl Samples {
    /// `count` outputs of each layer are checked with `rows`, chosen by `seed`.
    pub(super) fn new(rows: Vec<Rows>, count: usize, seed: &[u8; 32]) -> Self {
        Self { rows, count, choice: Key::derive("one-time samples", &[seed]).stream(0) }
    }

    /// Whether sampled outputs `y` of layer `l` are those of the integers `x`.
    pub(super) fn hold(&mut self, plan: &Plan, l: LayerId, x: &[u32], y: &[i32]) -> bool {
        let (geometry, k) = (plan.layer(l).geometry(), plan.k_of(l));
        let rows = &self.rows[l.index()];
        let fan_in = geometry.fan_in();
        (0..self.count).all(|_| {
            let mut below = |n: usize| (self.choice.next_u64() % n.max(1) as u64) as usize;
            let (i, position) = (below(rows.channels.len()), below(geometry.positions()));
            let Some(&channel) = rows.channels.get(i) else { return true };
            let row = &rows.weights[i * fan_in..][..fan_in];
            let expected = centre(naive::dot(geometry, row, channel as usize, position, x), k);
            expected == y[geometry.output_index(channel as usize, position)]
        })
    }
}
