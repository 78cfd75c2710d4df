//! Chooses a kernel for each layer by trying all of them on a cut of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use twinmask_layer::{Conv, Fc, Geometry};

use crate::linear::kernel::{Input, Kernel, Linear, Scratch, check};

/// Multiply-accumulates of a trial, about; well under a millisecond each.
const TRIAL_MACS: u64 = 8 << 20;
/// Output channels of a trial, at most, so that packing its weights is quick.
const TRIAL_CHANNELS: u32 = 256;
/// Trials, of which the fastest counts; one more warms up.
const TRIALS: u32 = 3;

/// What the choice depends on: the shape, whether the weights need more than 8 bits, and the ring's width.
type Key = (Geometry, bool, u32);

/// The kernel that picks among others.
pub(crate) struct Auto {
    candidates: Vec<Arc<dyn Kernel>>,
    picks: Mutex<HashMap<Key, usize>>,
}

impl Auto {
    /// Picks among `candidates`, of which there is at least one, those first that are the faster as a rule.
    pub(crate) fn new(candidates: Vec<Arc<dyn Kernel>>) -> Self {
        Self { candidates, picks: Mutex::default() }
    }

    fn fastest(&self, geometry: &Geometry, weights: &[i16], k: u32) -> usize {
        let cut = cut(geometry);
        let weights = &weights[..cut.weight_len()];
        let time = |kernel: &Arc<dyn Kernel>| trial(&*kernel.prepare(&cut, weights, k));
        let mut times = self.candidates.iter().map(time).enumerate();
        // Earlier ones are the faster as a rule; on a busy machine a small lead of a later one is noise.
        let first = times.next().unwrap_or_default();
        times.fold(first, |best, next| if next.1 * 10 < best.1 * 9 { next } else { best }).0
    }
}

impl Kernel for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        check(geometry, weights, k);
        let key = (*geometry, weights.iter().any(|&w| i8::try_from(w).is_err()), k);
        let known = self.picks.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let pick = known.unwrap_or_else(|| {
            // Not under the lock: layers may be prepared side by side.
            let pick = self.fastest(geometry, weights, k);
            self.picks.lock().unwrap_or_else(PoisonError::into_inner).insert(key, pick);
            pick
        });
        self.candidates[pick].prepare(geometry, weights, k)
    }
}

/// The least time of laying out an input and computing the output.
fn trial(linear: &dyn Linear) -> Duration {
    let geometry = linear.geometry();
    let (x, mut y) = (vec![0x5555_5555; geometry.in_len()], vec![0; geometry.out_len()]);
    let (mut input, mut scratch) = (Input::default(), Scratch::default());
    let mut once = || {
        let start = Instant::now();
        linear.load(&[&x], &mut input);
        linear.part(&input, 0..geometry.out_channels(), &mut y, &mut scratch);
        start.elapsed()
    };
    once();
    (0..TRIALS).map(|_| once()).min().unwrap_or_default()
}

/// A layer with the same reduction and row length as `geometry`, but fewer rows and output channels.
fn cut(geometry: &Geometry) -> Geometry {
    let fits = |macs_per_row: u64| u32::try_from(TRIAL_MACS / macs_per_row.max(1)).unwrap_or(u32::MAX).max(1);
    let cut = match *geometry {
        Geometry::Fc(fc) => {
            let outputs = fc.outputs.min(TRIAL_CHANNELS);
            let rows = fc.rows.min(fits(u64::from(fc.inputs) * u64::from(outputs)));
            Geometry::Fc(Fc { rows, outputs, ..fc })
        }
        Geometry::Conv(conv) => {
            let c_out = if conv.groups == 1 { conv.c_out.min(TRIAL_CHANNELS) } else { conv.c_out };
            let per_row = geometry.fan_in() as u64 * u64::from(c_out) * u64::from(conv.out_w());
            let rows = conv.out_h().min(fits(per_row));
            // As many input rows as that many output rows read, the padding counted in.
            let read = (rows - 1) * conv.stride[0] + (conv.kh - 1) * conv.dilation[0] + 1;
            let h = read.saturating_sub(conv.pad[0] + conv.pad[2]).clamp(1, conv.h);
            Geometry::Conv(Conv { c_out, h, ..conv })
        }
    };
    if cut.validate().is_ok() { cut } else { *geometry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_small_and_keep_the_reduction() {
        let (stride, pad, dilation, groups) = ([1, 1], [2, 1, 2, 1], [2, 1], 1);
        for geometry in [
            Geometry::Conv(Conv { c_in: 64, h: 224, w: 224, c_out: 512, kh: 3, kw: 3, stride, pad, dilation, groups }),
            Geometry::Conv(Conv { c_in: 3, h: 2, w: 5, c_out: 8, kh: 3, kw: 3, stride, pad, dilation, groups }),
            Geometry::Fc(Fc { rows: 4000, inputs: 9216, outputs: 4096 }),
        ] {
            let cut = cut(&geometry);
            cut.validate().expect("valid");
            assert_eq!(cut.fan_in(), geometry.fan_in());
            assert!(
                cut.weight_len() <= geometry.weight_len() && cut.macs() <= geometry.macs().min(4 * TRIAL_MACS),
                "{cut:?}"
            );
        }
    }

    #[test]
    fn the_choice_is_kept() {
        let kernels = crate::Kernels::native();
        let ours = kernels.names().into_iter().skip(1);
        let candidates = ours.map(|name| kernels.named(name).expect("offered"));
        let auto = Auto::new(candidates.collect());
        let geometry = Geometry::Fc(Fc { rows: 1, inputs: 40, outputs: 30 });
        let narrow = auto.prepare(&geometry, &[1; 1200], 20).picked();
        auto.prepare(&geometry, &[1000; 1200], 20);
        assert_eq!(auto.picks.lock().expect("not poisoned").len(), 2);
        assert_eq!(auto.prepare(&geometry, &[-1; 1200], 20).picked(), narrow);
        assert_eq!(auto.picks.lock().expect("not poisoned").len(), 2);
    }
}
