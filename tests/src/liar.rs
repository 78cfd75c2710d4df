//! The cheater as a fixture: a kernel that computes most of a layer right.

use std::ops::Range;
use std::sync::Arc;

use twinmask_kernels::{Kernel, default_kernel};
use twinmask_testkit::{Hook, Layer, wrapped};

struct Liar;

impl Hook for Liar {
    fn after(&self, _: &Layer, channels: Range<usize>, y: &mut [u32]) {
        let per_channel = y.len() / channels.len();
        let first = channels.start * per_channel;
        y.iter_mut()
            .enumerate()
            .filter(|(i, _)| (first + i).is_multiple_of(16))
            .for_each(|(_, e)| *e = e.wrapping_add(1));
    }
}

/// A kernel that adds 1 to one output in 16 of every layer.
#[must_use]
pub fn liar() -> Arc<dyn Kernel> {
    wrapped(default_kernel(), Arc::new(Liar))
}
