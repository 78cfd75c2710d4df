//! Chooses a kernel for each layer by trying all of them on a cut of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use twinmask_layer::{Conv, Fc, Geometry};

use crate::linear::kernel::{Kernel, LINE, Linear, Scratch, check};

/// Multiply-accumulates of a trial, about; under a millisecond each.
const TRIAL_MACS: u64 = 16 << 20;
/// Rows of a trial, at least: enough of Winograd's tiles to be worth transforming the weights for, as in the layer.
const TRIAL_ROWS: u32 = 16;
/// Output channels of a trial, at most, so that packing its weights is quick.
const TRIAL_CHANNELS: u32 = 256;
/// Trials of each candidate, in turn, of which the fastest counts; two more warm up.
const TRIALS: u32 = 4;
/// A candidate whose first trials take as many times those of the best is out.
const HOPELESS: u32 = 3;

/// What other layers bring through the caches between two rounds of one, bytes.
const OTHER_BYTES: usize = 16 << 20;

/// What the choice depends on: the shape, whether the weights need more than 8 bits, and the ring's width.
type Key = (Geometry, bool, u32);

/// What was found for layers of one kind.
#[derive(Clone, Copy)]
struct Pick {
    /// The candidate that is the fastest.
    fastest: usize,
    /// Spare memory that it takes, about.
    spare: usize,
    /// The fastest among those without.
    small: usize,
}

/// The kernel that picks among others.
pub(crate) struct Auto {
    candidates: Vec<Arc<dyn Kernel>>,
    /// Spare memory that all layers in use may take, bytes.
    memory: usize,
    picks: Mutex<HashMap<Key, Pick>>,
    /// Layers that take spare memory.
    spare: Mutex<Vec<Weak<dyn Linear>>>,
}

impl Auto {
    /// Picks among `candidates`, of which there is at least one, those first that are the faster as a rule; their
    /// spare memory is `memory` bytes at most.
    pub(crate) fn new(candidates: Vec<Arc<dyn Kernel>>, memory: usize) -> Self {
        Self { candidates, memory, picks: Mutex::default(), spare: Mutex::default() }
    }

    fn fastest(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Pick {
        let cut = cut(geometry);
        let weights = &weights[..cut.weight_len()];
        let mut trials: Vec<_> =
            self.candidates.iter().map(|kernel| Trial::new(kernel.prepare(&cut, weights, k))).collect();
        let best = trials.iter().map(|trial| trial.best).min().unwrap_or_default();
        let other = vec![1u8; OTHER_BYTES];
        for _ in 0..TRIALS {
            for trial in trials.iter_mut().filter(|trial| trial.best < best * HOPELESS) {
                std::hint::black_box(other.iter().step_by(LINE).fold(0u8, |sum, b| sum.wrapping_add(*b)));
                trial.run();
            }
        }
        let times: Vec<_> = trials.iter().map(|trial| (trial.best, trial.linear.spare_memory())).collect();
        let first = |spare: bool| {
            let mut of = times.iter().enumerate().filter(|(_, t)| spare || t.1 == 0).map(|(i, t)| (i, t.0));
            // Earlier ones are the faster as a rule; on a busy machine a small lead of a later one is noise.
            let first = of.next().unwrap_or_default();
            of.fold(first, |best, next| if next.1 * 10 < best.1 * 9 { next } else { best }).0
        };
        let (fastest, small) = (first(true), first(false));
        let spare = times[fastest].1.saturating_mul(geometry.weight_len()) / cut.weight_len().max(1);
        Pick { fastest, spare, small }
    }

    /// Spare memory that is taken now.
    fn taken(&self) -> usize {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|layer| layer.strong_count() > 0);
        spare.iter().filter_map(Weak::upgrade).map(|layer| layer.spare_memory()).sum()
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
        let small = || self.candidates[pick.small].prepare(geometry, weights, k);
        if pick.spare == 0 {
            return self.candidates[pick.fastest].prepare(geometry, weights, k);
        }
        let fits = |spare: usize| self.taken().saturating_add(spare) <= self.memory;
        if !fits(pick.spare) {
            return small(); // without taking it even for a moment
        }
        let linear = self.candidates[pick.fastest].prepare(geometry, weights, k);
        if !fits(linear.spare_memory()) {
            return small();
        }
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&linear));
        linear
    }
}

/// A layer that is tried.
struct Trial {
    linear: Arc<dyn Linear>,
    x: Vec<u32>,
    y: Vec<u32>,
    scratch: Scratch,
    /// The least time so far of laying out an input and computing the output.
    best: Duration,
}

impl Trial {
    /// The first times are those of a warm cache: good enough to see who is hopeless.
    fn new(linear: Arc<dyn Linear>) -> Self {
        let (x, y) = (vec![0x5555_5555; linear.geometry().in_len()], vec![0; linear.geometry().out_len()]);
        let mut trial = Self { linear, x, y, scratch: Scratch::default(), best: Duration::MAX };
        trial.run();
        trial.run();
        trial
    }

    fn run(&mut self) {
        let start = Instant::now();
        self.linear.apply(&self.x, &mut self.y, &mut self.scratch);
        self.best = self.best.min(start.elapsed());
    }
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
            let rows = conv.out_h().min(fits(per_row).max(TRIAL_ROWS));
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
                cut.weight_len() <= geometry.weight_len() && cut.macs() <= geometry.macs().min(40 * TRIAL_MACS),
                "{cut:?}"
            );
        }
    }

    /// If this fails, an edge with many models takes more memory than it may, or stays slow when one has gone.
    #[test]
    fn spare_memory_is_what_it_may_be() {
        let kernels = crate::Kernels::native();
        let geometry = Geometry::Conv(Conv::square([64, 64], 16, 3, 1, 1));
        // At four points these grow out of 16 bits.
        let weights = vec![1000; geometry.weight_len()];
        let one = kernels.named("winograd4").expect("offered").prepare(&geometry, &weights, 28).spare_memory();
        assert_eq!(one, 4 * 64 * 64 * 2);
        let candidates = || ["winograd4", "portable"].map(|name| kernels.named(name).expect("offered")).to_vec();
        let auto = Auto::new(candidates(), 2 * one);
        auto.picks
            .lock()
            .expect("not poisoned")
            .insert((geometry, true, 28), Pick { fastest: 0, spare: one, small: 1 });
        let prepared = || auto.prepare(&geometry, &weights, 28);
        let (first, second, third) = (prepared(), prepared(), prepared());
        assert_eq!([&first, &second, &third].map(|l| l.spare_memory()), [one, one, 0]);
        drop(first);
        assert_eq!(prepared().spare_memory(), one, "there is room again");
    }

    #[test]
    fn the_choice_is_kept() {
        let kernels = crate::Kernels::native();
        let ours = kernels.names().into_iter().skip(1);
        let candidates = ours.map(|name| kernels.named(name).expect("offered"));
        let auto = Auto::new(candidates.collect(), usize::MAX);
        let geometry = Geometry::Fc(Fc { rows: 1, inputs: 40, outputs: 30 });
        let narrow = auto.prepare(&geometry, &[1; 1200], 20).picked();
        auto.prepare(&geometry, &[1000; 1200], 20);
        assert_eq!(auto.picks.lock().expect("not poisoned").len(), 2);
        assert_eq!(auto.prepare(&geometry, &[-1; 1200], 20).picked(), narrow);
        assert_eq!(auto.picks.lock().expect("not poisoned").len(), 2);
    }
}
