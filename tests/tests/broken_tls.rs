//! What remains when TLS does not: somebody has recorded all three links and can read them (docs/security-argument.md,
//! L12). He has the weights, too. Two inferences of one input look to him like two of different ones, until he gets the
//! key that the owner gave to the device and edge A, or `T` is left out of what edge A answers.

mod in_process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use in_process::{InProcess, Wire};
use twinmask_codec::{Part, RoundId};
use twinmask_device::Model;
use twinmask_device::engine::{Session, infer};
use twinmask_kernels::default_kernel;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::{mask, pack};
use twinmask_testkit::numbers;
use twinmask_tests::networks;
use twinmask_wire::FrameType;
use twinmask_wire::frame::decode_body;
use twinmask_wire::message::{Answer, Correction, Open, Opened, Prf, Round};

const LONG: Duration = Duration::from_secs(20);

/// Elements by round, of all of the round's groups or layers.
type Rounds = BTreeMap<RoundId, Vec<Vec<u32>>>;

/// What all three links carried.
#[derive(Default)]
struct Recording {
    seed: Option<[u8; 32]>,
    nonce: Option<[u8; 32]>,
    prf: Option<Prf>,
    inferences: Vec<Recorded>,
}

/// What they carried of one inference.
#[derive(Default)]
struct Recorded {
    v: Rounds,
    from_a: Rounds,
    from_b: Rounds,
    corrections: Rounds,
}

fn elements(payload: &[u8], parts: &[Part]) -> Vec<Vec<u32>> {
    let mut rest = payload;
    let unpack = |part: &Part| {
        let (own, behind) = rest.split_at(part.packed_len());
        rest = behind;
        let mut out = vec![0; part.len];
        pack::unpack(own, part.bits, &mut out).expect("packed");
        out
    };
    parts.iter().map(unpack).collect()
}

impl Recording {
    /// Reads on, in what was recorded since the last inference.
    fn read(&mut self, model: &Model, [a, b, between]: [&Wire; 3]) {
        let (plan, mut of) = (model.plan(), Recorded::default());
        let answers = |payload: &[u8], r| elements(payload, &plan.answer_parts(r));
        for seen in a.take_whole() {
            match seen.passed.kind {
                FrameType::Open => self.seed = decode_body::<Open>(&seen.body).expect("a body").seed.map(|seed| seed.0),
                FrameType::Opened => {
                    let opened: Opened = decode_body(&seen.body).expect("a body");
                    (self.prf, self.nonce) = (Some(opened.prf), opened.part.map(|part| part.nonce));
                }
                FrameType::Answer => {
                    let r = decode_body::<Answer>(&seen.body).expect("a body").round;
                    of.from_a.insert(r, answers(&seen.payload, r));
                }
                _ => {}
            }
        }
        for seen in b.take_whole() {
            match seen.passed.kind {
                FrameType::Round => {
                    let r = decode_body::<Round>(&seen.body).expect("a body").round;
                    of.v.insert(r, elements(&seen.payload, &plan.upload_parts(r)));
                }
                FrameType::Answer => {
                    let r = decode_body::<Answer>(&seen.body).expect("a body").round;
                    of.from_b.insert(r, answers(&seen.payload, r));
                }
                _ => {}
            }
        }
        for seen in between.take_whole().iter().filter(|seen| seen.passed.kind == FrameType::Correction) {
            let Correction { counter, round } = decode_body(&seen.body).expect("a body");
            // Edge A is ahead: what it sends before an inference may belong to a later one.
            let of = if counter.get() as usize == self.inferences.len() { &mut of } else { continue };
            of.corrections.insert(round, answers(&seen.payload, round));
        }
        self.inferences.push(of);
    }

    /// The session's keys, if the key that the owner gave is `key`.
    fn keys(&self, key: &MaskKey) -> SessionKeys {
        SessionKeys::new(key, &self.seed.expect("OPEN was seen"), &self.nonce.expect("OPENED was seen"))
    }
}

/// The share of elements that are the same in two inferences.
fn agreement(first: &[u32], second: &[u32]) -> f64 {
    assert!(first.len() == second.len() && first.len() > 60, "{} elements", first.len());
    first.iter().zip(second).filter(|(a, b)| a == b).count() as f64 / first.len() as f64
}

/// What somebody with the key makes of what was uploaded: `v + R = x + S_in`.
fn opened_uploads(recording: &Recording, model: &Model, keys: &SessionKeys, c: usize) -> Vec<u32> {
    let (plan, algorithm) = (model.plan(), recording.prf.expect("OPENED was seen").algorithm());
    let r_key = keys.masks(algorithm, c as u64);
    let mut out = Vec::new();
    for (&r, groups) in &recording.inferences[c].v {
        for ((v, &g), part) in groups.iter().zip(plan.round(r)).zip(plan.upload_parts(r)) {
            let masks = r_key.elements(g.into(), part.bits, part.len);
            out.extend(v.iter().zip(masks).map(|(v, r)| v.wrapping_add(r) & mask(part.bits)));
        }
    }
    out
}

/// What he makes of the answers, all that came for a layer put together: `W·x + S_out`, plus `T` unless he knows it.
fn opened_answers(recording: &Recording, model: &Model, t: Option<&SessionKeys>, c: usize) -> Vec<u32> {
    let (plan, of) = (model.plan(), &recording.inferences[c]);
    let algorithm = recording.prf.expect("OPENED was seen").algorithm();
    let mut out = Vec::new();
    for (&r, from_b) in &of.from_b {
        for (i, (l, part)) in plan.round_layers(r).zip(plan.answer_parts(r)).enumerate() {
            let from_a = of.from_a.get(&r).map_or_else(|| vec![0; part.len], |a| a[i].clone());
            let known = t.map(|keys| keys.answers(algorithm, c as u64).elements(l.into(), part.bits, part.len));
            let known = known.unwrap_or_else(|| vec![0; part.len]);
            let sum = from_b[i].iter().zip(from_a).zip(known);
            out.extend(sum.map(|((b, a), t)| b.wrapping_add(a).wrapping_sub(t) & mask(part.bits)));
        }
    }
    out
}

/// How a session was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Split,
    Relay,
    Miss,
}

async fn run(session: &Session, model: &Model, input: &[f32]) -> u32 {
    let mut remote = session.begin().await.expect("granted");
    infer(model, &mut model.values(), &[input.to_vec()], &mut remote).await.expect("an inference");
    let fallbacks = remote.fallbacks();
    remote.finish().await.expect("both edges are there");
    fallbacks
}

/// If this fails, traffic that is recorded today shows every input to whoever breaks TLS one day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_links_in_clear_do_not_tell_inputs_apart() {
    let deployment = InProcess::new(&networks::mixed());
    let model = deployment.network();
    let len = model.inputs().tensors[0].shape.iter().product::<u32>() as usize;
    let inputs = [numbers("one", len), numbers("one", len), numbers("another", len)];
    let identity = deployment.identity();
    let key = identity.mask_key().expect("a device's key");
    for way in [Way::Split, Way::Relay, Way::Miss] {
        let (a, b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
        let lost = if way == Way::Miss { Wire::losing(FrameType::Correction) } else { Wire::default() };
        let between = Arc::new(lost);
        let session = match way {
            Way::Split => deployment.session(&model, [&a, &b], [default_kernel(), default_kernel()], LONG).await,
            Way::Relay | Way::Miss => deployment.relayed(&model, [&a, &b, &between], LONG).await,
        };
        let session = session.expect("opens");
        let mut recording = Recording::default();
        for input in &inputs {
            let fallbacks = run(&session, &model, input).await;
            assert_eq!(fallbacks > 0, way == Way::Miss, "{way:?}: {fallbacks} fallbacks");
            recording.read(&model, [&a, &b, &between]);
        }
        let of = &recording.inferences[0];
        assert_eq!(of.v.len(), model.plan().rounds().len(), "{way:?}: every upload is on record");
        assert_eq!(
            of.from_a.is_empty(),
            way == Way::Relay,
            "{way:?}: edge A answers the device unless edge B has its sum"
        );

        // Whoever does not have the key: with none, and with one that is not it.
        for guess in [MaskKey::new([0; 32]), MaskKey::new([7; 32]).of_device("cam", identity.serial())] {
            let keys = recording.keys(&guess);
            let uploads = |c| opened_uploads(&recording, &model, &keys, c);
            let answers = |t, c| opened_answers(&recording, &model, t, c);
            for (first, second) in [(0, 1), (0, 2)] {
                let found = [
                    agreement(&uploads(first), &uploads(second)),
                    agreement(&answers(None, first), &answers(None, second)),
                    agreement(&answers(Some(&keys), first), &answers(Some(&keys), second)),
                ];
                assert!(found.iter().all(|&same| same < 0.01), "{way:?}, {first} and {second}: {found:?}");
            }
        }
        // The same attacks do work once there is no key to get, or no T.
        let keys = recording.keys(key);
        let uploads = |c| opened_uploads(&recording, &model, &keys, c);
        let answers = |c| opened_answers(&recording, &model, Some(&keys), c);
        assert_eq!(agreement(&uploads(0), &uploads(1)), 1.0, "{way:?}: with the key, one input is seen to be one");
        assert!(agreement(&uploads(0), &uploads(2)) < 0.9, "{way:?}: and two to be two");
        assert_eq!(agreement(&answers(0), &answers(1)), 1.0, "{way:?}: without T, one input is seen to be one");
        assert!(agreement(&answers(0), &answers(2)) < 0.9, "{way:?}: and two to be two");
        session.close().await;
    }
}
