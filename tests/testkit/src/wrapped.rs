//! Kernels that lie, count, wait or fail: a hook around what an honest kernel does.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use twinmask_kernels::{Input, Kernel, Linear, Scratch};
use twinmask_layer::{Conv, Geometry};

/// What is done beside the work of a kernel; called by every thread that computes.
pub trait Hook: Send + Sync + 'static {
    /// Before the inputs `xs` are laid out for `layer`.
    fn load(&self, _layer: &Layer, _xs: &[&[u32]]) {}

    /// Before the kernel computes some output channels of `layer`.
    fn before(&self, _layer: &Layer) {}

    /// After the kernel has computed the output `channels` of `layer` into `y`, laid out as by [`Linear::part`].
    fn after(&self, _layer: &Layer, _channels: Range<usize>, _y: &mut [u32]) {}
}

/// A layer as a [`Hook`] sees it.
pub struct Layer {
    /// Its number among the layers that the kernel has prepared, from 0.
    pub index: usize,
    /// Its shape, or that of some rows of it.
    pub geometry: Geometry,
    /// Its weights, `[out_channels, fan_in]`.
    pub weights: Vec<i16>,
    /// Bits of its ring.
    pub k: u32,
}

/// `inner` with `hook` around all that it computes; has its name.
#[must_use]
pub fn wrapped<H: Hook>(inner: Arc<dyn Kernel>, hook: Arc<H>) -> Arc<dyn Kernel> {
    Arc::new(Wrapped { inner, hook, prepared: AtomicUsize::new(0) })
}

struct Wrapped<H> {
    inner: Arc<dyn Kernel>,
    hook: Arc<H>,
    prepared: AtomicUsize,
}

struct WrappedLayer<H> {
    inner: Arc<dyn Linear>,
    hook: Arc<H>,
    layer: Layer,
}

impl<H: Hook> Kernel for Wrapped<H> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        let index = self.prepared.fetch_add(1, Relaxed);
        let layer = Layer { index, geometry: *geometry, weights: weights.to_vec(), k };
        Arc::new(WrappedLayer { inner: self.inner.prepare(geometry, weights, k), hook: Arc::clone(&self.hook), layer })
    }
}

/// [`Linear::apply`] is the provided one, so that the hook is called there too.
impl<H: Hook> Linear for WrappedLayer<H> {
    fn geometry(&self) -> &Geometry {
        self.inner.geometry()
    }

    fn picked(&self) -> &'static str {
        self.inner.picked()
    }

    fn channel_step(&self) -> usize {
        self.inner.channel_step()
    }

    fn of_rows(&self, part: Conv) -> Arc<dyn Linear> {
        let Layer { index, ref weights, k, .. } = self.layer;
        let layer = Layer { index, geometry: Geometry::Conv(part), weights: weights.clone(), k };
        Arc::new(Self { inner: self.inner.of_rows(part), hook: Arc::clone(&self.hook), layer })
    }

    fn load(&self, xs: &[&[u32]], input: &mut Input) {
        self.hook.load(&self.layer, xs);
        self.inner.load(xs, input);
    }

    fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
        self.hook.before(&self.layer);
        self.inner.part(input, channels.clone(), y, scratch);
        self.hook.after(&self.layer, channels, y);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use twinmask_kernels::{default_kernel, naive};
    use twinmask_layer::Fc;

    use super::*;

    /// Writes down what it is called for, and adds 1 to what layer 1 answers.
    #[derive(Default)]
    struct Noting(Mutex<Vec<String>>);

    impl Noting {
        fn note(&self, text: String) {
            self.0.lock().expect("no panic").push(text);
        }
    }

    impl Hook for Noting {
        fn load(&self, layer: &Layer, xs: &[&[u32]]) {
            self.note(format!("load {}: {}", layer.index, xs.len()));
        }

        fn before(&self, layer: &Layer) {
            self.note(format!("before {}: {} weights mod 2^{}", layer.index, layer.weights.len(), layer.k));
        }

        fn after(&self, layer: &Layer, channels: Range<usize>, y: &mut [u32]) {
            self.note(format!("after {}: {}", layer.index, channels.len()));
            y.iter_mut().for_each(|y| *y += layer.index as u32);
        }
    }

    /// If this fails, tests with a kernel that lies, counts or waits test an honest one.
    #[test]
    fn hooks_see_all_that_is_computed() {
        let noting = Arc::new(Noting::default());
        let kernel = wrapped(default_kernel(), Arc::clone(&noting));
        let geometry = Geometry::Fc(Fc { rows: 1, inputs: 2, outputs: 3 });
        let (weights, x) = ([1, 2, 3, 4, 5, 6], [7, 8]);
        for index in 0..2u32 {
            let mut y = vec![0; 3];
            kernel.prepare(&geometry, &weights, 20).apply(&x, &mut y, &mut Scratch::default());
            let honest = naive::apply(&geometry, &weights, &x);
            let answers: Vec<u32> = y.iter().map(|y| y & twinmask_ring::mask(20)).collect();
            assert_eq!(answers, honest.iter().map(|y| y + index).collect::<Vec<_>>());
        }
        let first = ["load 0: 1", "before 0: 6 weights mod 2^20", "after 0: 3"];
        let second = ["load 1: 1", "before 1: 6 weights mod 2^20", "after 1: 3"];
        assert_eq!(*noting.0.lock().expect("no panic"), [first, second].concat());
    }
}
