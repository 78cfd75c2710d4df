//! A recorder of masks: whatever happens to an inference, no mask covers a second one. It knows the keys, so it sees
//! the masks themselves, not what they leave.

mod in_process;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use in_process::{InProcess, Seen, Wire};
use tokio::task::JoinSet;
use twinmask_codec::GroupId;
use twinmask_device::Model;
use twinmask_device::engine::{Session, infer};
use twinmask_kernels::default_kernel;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::{mask, pack};
use twinmask_testkit::numbers;
use twinmask_tests::networks;
use twinmask_wire::FrameType;
use twinmask_wire::frame::decode_body;
use twinmask_wire::message::{Infer, Open, Opened, Prf, Round};

/// How long a device waits for a frame that was lost.
const PATIENCE: Duration = Duration::from_millis(400);
/// Inferences that are tried in each session.
const INFERENCES: usize = 3;

/// Elements of a mask that stand for all of it.
const SOME: usize = 8;

/// What was seen so far.
#[derive(Default)]
struct Recorder {
    /// Where each mask was used: session, counter, group.
    masks: HashMap<Vec<u32>, (usize, u64, GroupId)>,
    /// `x + S_in` of the first group: it is one, as the input is.
    covered: Option<Vec<u32>>,
    uploads: usize,
}

impl Recorder {
    /// Takes in what session number `session` sent: the masks of all that has reached edge B's wire.
    fn read(&mut self, session: usize, model: &Model, key: &MaskKey, [a, b]: [&[Seen]; 2]) {
        let (mut seed, mut nonce, mut prf) = (None, None, Prf::ChaCha20);
        for seen in a {
            match seen.passed.kind {
                FrameType::Open => seed = decode_body::<Open>(&seen.body).expect("a body").seed.map(|seed| seed.0),
                FrameType::Opened => {
                    let opened: Opened = decode_body(&seen.body).expect("a body");
                    (prf, nonce) = (opened.prf, opened.part.map(|part| part.nonce));
                }
                _ => {}
            }
        }
        let (Some(seed), Some(nonce)) = (seed, nonce) else {
            return assert!(rounds(b).next().is_none(), "no keys yet");
        };
        let (keys, mut counter) = (SessionKeys::new(key, &seed, &nonce), None);
        for seen in b {
            match seen.passed.kind {
                FrameType::Infer => counter = Some(decode_body::<Infer>(&seen.body).expect("a body").counter),
                FrameType::Round => {
                    let c = counter.expect("INFER goes first").get();
                    let r = decode_body::<Round>(&seen.body).expect("a body").round;
                    let masks = keys.masks(prf.algorithm(), c);
                    let mut rest = seen.payload.as_slice();
                    for (&g, part) in model.plan().round(r).iter().zip(model.plan().upload_parts(r)) {
                        let (own, behind) = rest.split_at(part.packed_len());
                        rest = behind;
                        let used = masks.elements(g.into(), part.bits, part.len);
                        let before = self.masks.insert(used[..SOME].to_vec(), (session, c, g));
                        assert_eq!(before, None, "a mask is used again in {:?}", (session, c, g));
                        self.uploads += 1;
                        if g == GroupId::new(0) {
                            let mut v = vec![0; part.len];
                            pack::unpack(own, part.bits, &mut v).expect("packed");
                            let sum = v.iter().zip(&used).map(|(v, r)| v.wrapping_add(*r) & mask(part.bits));
                            let covered: Vec<u32> = sum.collect();
                            let first = self.covered.get_or_insert_with(|| covered.clone());
                            assert_eq!(*first, covered, "the recorder does not know the mask");
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn rounds(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|seen| seen.passed.kind == FrameType::Round)
}

/// The same input until it fails.
async fn use_up(session: &Session, model: &Model, input: &[f32]) {
    for _ in 0..INFERENCES {
        let Ok(mut remote) = session.begin().await else { return };
        if infer(model, &mut model.values(), &[input.to_vec()], &mut remote).await.is_err() {
            return; // the next one takes another counter
        }
        if remote.finish().await.is_err() {
            return;
        }
    }
}

/// A session whose wire `victim` dies after so many frames; the wires to edge A and edge B.
async fn cut_short(
    deployment: Arc<InProcess>,
    model: Arc<Model>,
    relay: bool,
    victim: usize,
    frames: usize,
) -> [Arc<Wire>; 2] {
    let wire = |i| Arc::new(if i == victim { Wire::dying(frames) } else { Wire::default() });
    let [a, b, between] = [wire(0), wire(1), wire(2)];
    let session = if relay {
        deployment.relayed(&model, [&a, &b, &between], PATIENCE).await
    } else {
        deployment.session(&model, [&a, &b], [default_kernel(), default_kernel()], PATIENCE).await
    };
    if let Ok(session) = session {
        let len = model.inputs().tensors[0].shape.iter().product::<u32>() as usize;
        let input = numbers("one", len);
        use_up(&session, &model, &input).await;
        use_up(&session, &model, &input).await;
        session.abort().await;
    }
    [a, b]
}

/// If this fails, an inference that a fault has cut short is repeated under its old mask, and who sees both sees their
/// difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mask_covers_two_inputs_whatever_is_cut_short() {
    let deployment = Arc::new(InProcess::new(&networks::mixed()));
    let model = deployment.network();
    let identity = deployment.identity();
    let key = identity.mask_key().expect("a device's key");
    let cases = [false, true].into_iter().flat_map(|relay| (0..3).map(move |victim| (relay, victim)));
    let cases: Vec<_> = cases.flat_map(|(relay, victim)| (1..9).map(move |i| (relay, victim, 2 * i))).collect();
    let (mut recorder, mut sessions) = (Recorder::default(), 0);
    for together in cases.chunks(8) {
        let mut running = JoinSet::new();
        for &(relay, victim, frames) in together {
            running.spawn(cut_short(Arc::clone(&deployment), Arc::clone(&model), relay, victim, frames));
        }
        for [a, b] in running.join_all().await {
            recorder.read(sessions, &model, key, [&a.take_whole(), &b.take_whole()]);
            sessions += 1;
        }
    }
    assert!(recorder.uploads > 200, "{} uploads in {sessions} sessions", recorder.uploads);
}
