//! Rounds whose uploads and answers flow at the same time: what may leave when, and edges that lie or fall silent in
//! the middle.

mod in_process;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use in_process::{InProcess, Seen, Wire};
use twinmask_codec::RoundId;
use twinmask_device::DeviceError;
use twinmask_device::engine::infer;
use twinmask_device::{Model, Output};
use twinmask_kernels::{Kernel, default_kernel};
use twinmask_testkit::{Hook, Layer, numbers, wrapped};
use twinmask_tests::networks::striped;
use twinmask_wire::FrameType;
use twinmask_wire::frame::decode_body;
use twinmask_wire::message::Round;

const LONG: Duration = Duration::from_secs(20);

/// An inference with edge B behind `wire`, computing with `kernel`.
async fn run(
    wire: &Arc<Wire>,
    kernel: Arc<dyn Kernel>,
    timeout: Duration,
) -> (Arc<Model>, Result<Vec<Output>, DeviceError>) {
    let deployment = InProcess::new(&striped());
    let model = deployment.network();
    assert!((0..3).all(|r| model.plan().stripes(RoundId::new(r)) > 1), "the fixture's convolutions are large enough");
    let to_a = Arc::new(Wire::default());
    let kernels = [default_kernel(), kernel];
    let session = deployment.session(&model, [&to_a, wire], kernels, timeout).await.expect("opens");
    let mut remote = session.begin().await.expect("begins");
    let input = numbers("striped", 3 * 100 * 90);
    let done = infer(&model, &mut model.values(), &[input], &mut remote).await;
    if done.is_ok() {
        remote.finish().await.expect("both edges are there");
    }
    (model, done.map(|outcome| outcome.outputs))
}

/// Frames of this kind.
fn count(seen: &[Seen], kind: FrameType) -> usize {
    seen.iter().filter(|s| s.passed.kind == kind).count()
}

/// If this fails, uploads wait for answers or answers for uploads, or a round begins before all of the one before has
/// been read and checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_flow_both_ways_and_rounds_do_not_mix() {
    let wire = Arc::new(Wire::default());
    let (model, outputs) = run(&wire, default_kernel(), LONG).await;
    assert_eq!(outputs.expect("honest").len(), 1);
    let seen = wire.take_whole();
    let mut answered = 0;
    for s in &seen {
        match s.passed.kind {
            FrameType::Round => {
                let r: Round = decode_body(&s.body).expect("ROUND");
                let before: usize = (0..r.round.index()).map(|r| model.plan().stripes(RoundId::at(r))).sum();
                assert!(answered >= before, "round {} begins after {answered} answers", r.round);
            }
            FrameType::Answer => answered += 1,
            _ => {}
        }
    }
    let stripes: usize = model.plan().round_ids().map(|r| model.plan().stripes(r)).sum();
    assert_eq!((count(&seen, FrameType::Round), answered), (stripes, stripes));
}

/// Adds 1 to an element of one of the parts that are computed of the first layer.
struct LiesOnce {
    part: usize,
    seen: AtomicUsize,
}

impl Hook for LiesOnce {
    fn after(&self, layer: &Layer, _: Range<usize>, y: &mut [u32]) {
        if layer.index == 0 && self.seen.fetch_add(1, Relaxed) == self.part {
            y[7] = y[7].wrapping_add(1);
        }
    }
}

/// If this fails, an edge that lies in one stripe is found too early (it learns where), too late or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_in_any_stripe_is_found_behind_the_last_and_before_anything_follows() {
    for part in 0..2 {
        let (wire, liar) = (Arc::new(Wire::default()), Arc::new(LiesOnce { part, seen: AtomicUsize::new(0) }));
        let (model, outputs) = run(&wire, wrapped(default_kernel(), Arc::clone(&liar)), LONG).await;
        let error = outputs.expect_err("a lie");
        assert!(error.exit_code() == 6, "{error}");
        let (seen, stripes) = (wire.take_whole(), model.plan().stripes(RoundId::new(0)));
        assert!(liar.seen.load(Relaxed) > part);
        assert_eq!((count(&seen, FrameType::Round), count(&seen, FrameType::Answer)), (stripes, stripes));
    }
}

/// If this fails, a device waits for ever for an edge that takes all of an upload and answers nothing, or that hears
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_edge_is_given_up() {
    for lost in [FrameType::Answer, FrameType::Round] {
        let wire = Arc::new(Wire::losing(lost));
        let (model, outputs) = run(&wire, default_kernel(), Duration::from_millis(400)).await;
        let error = outputs.expect_err("nothing came");
        assert!(matches!(error, DeviceError::Unreachable { .. }), "{error}");
        assert_eq!(count(&wire.take_whole(), FrameType::Round), model.plan().stripes(RoundId::new(0)));
    }
}
