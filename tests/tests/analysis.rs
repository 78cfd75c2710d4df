//! The formulas of docs/theory.md are what a run counts: elements, payload bytes, and FLOPs per edge.

mod in_process;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use in_process::{InProcess, Wire};
use twinmask_device::engine::{Exchange, GroupInput, RemoteInference, RoundId, infer};
use twinmask_device::{DeviceError, Model};
use twinmask_layer::Geometry;
use twinmask_model::analysis::{Checks, analyse};
use twinmask_model::plan::Plan;
use twinmask_testkit::{Hook, Layer, numbers, wrapped};
use twinmask_tests::networks;

/// What an edge's kernel has done.
#[derive(Default)]
struct Work {
    /// Multiply-accumulates of the definition: taps on padding left out.
    taps: AtomicU64,
    /// Taps on padding.
    padding: AtomicU64,
}

/// Counts every multiplication of the definition, which the kernel's answer must be that of.
struct Counting(Arc<Work>);

thread_local! {
    /// The input of the layer that this thread computes.
    static INPUT: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

impl Hook for Counting {
    fn load(&self, _: &Layer, xs: &[&[u32]]) {
        let [x] = xs else { panic!("one device runs one inference") };
        INPUT.set(x.to_vec());
    }

    fn after(&self, layer: &Layer, channels: Range<usize>, y: &mut [u32]) {
        let g = layer.geometry;
        assert_eq!(channels, 0..g.out_channels(), "layers below the size from which edges divide them");
        let x = INPUT.take();
        for (channel, row) in channels.zip(layer.weights.chunks_exact(g.fan_in())) {
            for position in 0..g.positions() {
                let (mut sum, mut taps) = (0u32, 0);
                g.taps(channel, position, |w, i| {
                    sum = sum.wrapping_add((i32::from(row[w]) as u32).wrapping_mul(x[i]));
                    taps += 1;
                });
                let found = y[channel * g.positions() + position];
                assert_eq!((sum ^ found) & twinmask_ring::mask(layer.k), 0, "{g:?}");
                self.0.taps.fetch_add(taps, Relaxed);
                self.0.padding.fetch_add(g.fan_in() as u64 - taps, Relaxed);
            }
        }
    }
}

/// Elements that the device has put into an exchange and got out of it.
struct CountingExchange {
    remote: RemoteInference,
    up: u64,
    down: u64,
}

impl Exchange for CountingExchange {
    async fn round(
        &mut self,
        network: &Model,
        r: RoundId,
        inputs: &[GroupInput<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError> {
        self.remote.round(network, r, inputs, outputs).await?;
        self.up += inputs.iter().map(|x| x.tensor.len() as u64).sum::<u64>();
        self.down += outputs.iter().map(|y| y.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// Multiplications on padding that the formula counts, from the geometry alone: kernel rows and columns beside the
/// input.
fn padding_macs(plan: &Plan) -> u64 {
    let layer = |g: &Geometry| {
        let Geometry::Conv(c) = g else { return 0 };
        let inside = |n: u32, out: u32, kernel: u32, axis: usize| {
            let at = |o: u32, t: u32| i64::from(o * c.stride[axis] + t * c.dilation[axis]) - i64::from(c.pad[axis]);
            let hits = |o| (0..kernel).filter(|&t| (0..i64::from(n)).contains(&at(o, t))).count() as u64;
            (0..out).map(hits).sum::<u64>()
        };
        let real = inside(c.h, c.out_h(), c.kh, 0) * inside(c.w, c.out_w(), c.kw, 1);
        g.macs() - real * u64::from(c.c_out) * u64::from(c.c_in / c.groups)
    };
    plan.layers().iter().map(|l| layer(l.geometry())).sum()
}

/// If this fails, the table that `inspect` prints is not what happens: a tensor travels twice, is padded, or an edge
/// computes more than a layer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_formulas_are_what_a_run_counts() {
    let deployment = InProcess::new(&networks::mixed());
    let network = deployment.network();
    let works = [Arc::new(Work::default()), Arc::new(Work::default())];
    let kernel = |work| wrapped(twinmask_kernels::default_kernel(), Arc::new(Counting(Arc::clone(work))));
    let (wire_a, wire_b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let kernels = [kernel(&works[0]), kernel(&works[1])];
    let session = deployment.session(&network, [&wire_a, &wire_b], kernels, Duration::from_secs(20));
    let session = session.await.expect("opens");

    let mut exchange = CountingExchange { remote: session.begin().await.expect("granted"), up: 0, down: 0 };
    let input = numbers("analysis", network.inputs().tensors[0].shape.iter().product::<u32>() as usize);
    infer(&network, &mut network.values(), &[input], &mut exchange).await.expect("an inference");

    let plan = network.plan();
    let table = analyse(plan, None, Checks::default());
    let split = &table.schemes[0];
    assert_eq!(split.name, "split");
    // The device gets one sum per pair of answers.
    assert_eq!((exchange.up, 2 * exchange.down), (split.elements.up, split.elements.down));
    let carried = |wire: &Wire| {
        let frames = wire.take();
        let payload = |up| frames.iter().filter(|f| f.up == up).map(|f| f.payload as u64).sum::<u64>();
        (payload(true), payload(false))
    };
    assert_eq!(carried(&wire_a), (0, split.bytes.down / 2));
    assert_eq!(carried(&wire_b), (split.bytes.up, split.bytes.down / 2));
    let padding = padding_macs(plan);
    assert!(padding > 0, "a network with padding");
    for (work, flops) in works.iter().zip(&split.edges) {
        assert_eq!(2 * (work.taps.load(Relaxed) + padding), *flops);
        assert_eq!(work.padding.load(Relaxed), padding);
    }
    session.close().await;
}
