//! The cheater as a fixture: a kernel that computes most of a layer right.

use std::ops::Range;
use std::sync::Arc;

use twinmask_kernels::{Input, Kernel, Linear, Scratch};
use twinmask_layer::Geometry;

/// Adds 1 to one output in 16 of every layer.
pub struct Liar(pub Arc<dyn Kernel>);

struct LyingLayer(Arc<dyn Linear>);

impl Kernel for Liar {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        Arc::new(LyingLayer(self.0.prepare(geometry, weights, k)))
    }
}

impl Linear for LyingLayer {
    fn geometry(&self) -> &Geometry {
        self.0.geometry()
    }

    fn picked(&self) -> &'static str {
        self.0.picked()
    }

    fn channel_step(&self) -> usize {
        self.0.channel_step()
    }

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        self.0.load(xs, input);
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        let per_channel = y.len() / channels.len();
        let first = channels.start * per_channel;
        self.0.part(input, channels, y, scratch);
        y.iter_mut()
            .enumerate()
            .filter(|(i, _)| (first + i).is_multiple_of(16))
            .for_each(|(_, e)| *e = e.wrapping_add(1));
    }
}
