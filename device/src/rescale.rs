//! Integers back to activations: `y * s_x * s_w[channel] + bias[channel]` (PROTOCOL.md, "Ring and fixed point").

use twinmask_kernels::elementwise;
use twinmask_layer::Geometry;

/// One layer's outputs, in pieces.
pub(crate) struct Rescale<'a> {
    geometry: &'a Geometry,
    /// Of each output channel.
    scales: &'a [f32],
    shifts: &'a [f32],
    /// What one integer step of the layer's input is worth.
    step: f32,
    /// Smallest activation: 0 where a ReLU follows.
    low: f32,
}

impl<'a> Rescale<'a> {
    pub(crate) const fn new(
        geometry: &'a Geometry,
        scales: &'a [f32],
        shifts: &'a [f32],
        step: f32,
        low: f32,
    ) -> Rescale<'a> {
        Rescale { geometry, scales, shifts, step, low }
    }

    /// The activations of the integers from index `at` on. Slices of one length.
    pub(crate) fn push(&self, mut at: usize, mut y: &[i32], mut out: &mut [f32]) {
        // Rows of one channel (Conv), or rows of all channels (FC), so that the inner loops vectorise.
        let row = match self.geometry {
            Geometry::Conv(_) => self.geometry.positions(),
            Geometry::Fc(_) => self.scales.len(),
        };
        while !y.is_empty() {
            let (which, from) = (at / row, at % row);
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
            at += n;
            (y, out) = (&y[n..], &mut out[n..]);
        }
    }
}
