//! Integers back to activations: `y * s_x * s_w[channel] + bias[channel]` (PROTOCOL.md, "Ring and fixed point").

use twinmask_kernels::elementwise;
use twinmask_layer::Geometry;

/// One layer's outputs, in pieces from the first to the last.
pub(crate) struct Rescale<'a> {
    geometry: &'a Geometry,
    /// Of each output channel.
    scales: &'a [f32],
    shifts: &'a [f32],
    /// What one integer step of the layer's input is worth.
    step: f32,
    /// Smallest activation: 0 where a ReLU follows.
    low: f32,
    at: usize,
}

impl<'a> Rescale<'a> {
    pub(crate) const fn new(
        geometry: &'a Geometry,
        scales: &'a [f32],
        shifts: &'a [f32],
        step: f32,
        low: f32,
    ) -> Rescale<'a> {
        Rescale { geometry, scales, shifts, step, low, at: 0 }
    }

    /// The activations of the next integers. Slices of one length.
    pub(crate) fn push(&mut self, mut y: &[i32], mut out: &mut [f32]) {
        // Rows of one channel (Conv), or rows of all channels (FC), so that the inner loops vectorise.
        let row = match self.geometry {
            Geometry::Conv(_) => self.geometry.positions(),
            Geometry::Fc(_) => self.scales.len(),
        };
        while !y.is_empty() {
            let (which, from) = (self.at / row, self.at % row);
            let n = y.len().min(row - from);
            let (part, into) = (&y[..n], &mut out[..n]);
            match self.geometry {
                Geometry::Conv(_) => {
                    let factor = self.step * self.scales[which];
                    elementwise::rescale(part, factor, self.shifts[which], self.low, into);
                }
                Geometry::Fc(_) => {
                    let (scales, shifts) = (&self.scales[from..from + n], &self.shifts[from..from + n]);
                    elementwise::rescale_each(part, self.step, scales, shifts, self.low, into);
                }
            }
            self.at += n;
            (y, out) = (&y[n..], &mut out[n..]);
        }
    }
}
