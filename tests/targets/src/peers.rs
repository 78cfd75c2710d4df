//! A device with both edges played by a script.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use twinmask_codec::{Counter, RoundId};
use twinmask_device::engine::{Session, SessionOptions, infer};
use twinmask_device::{DeviceError, Integrity, Model};
use twinmask_model::bundle::DeviceBundle;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_transport::{Role, memory_pair};
use twinmask_wire::message::{Answer, Busy, Claimed, MaskPart, Miss, Opened, Prf, Secret};
use twinmask_wire::{CodecChoice, FrameType, frame};

use crate::lines::{Line, play, runtime};
use crate::scene::{DEVICE, scene};
use crate::script::{At, Payloads, Script, steps};
use crate::seeds::{Seed, bad, good};

// What happens without the script's doing, by bits of its first byte.
const OPENED: u8 = 1;
const CLAIMED: u8 = 2;
const CHECKS: [&str; 4] = ["none", "sample:4", "freivalds", "sample:4+freivalds"];
const SAMPLE: u8 = 1 << 2;
const FREIVALDS: u8 = 2 << 2;
const RELAY: u8 = 16;
const DROPPED_BITS: u8 = 32;
const PREFETCH: u8 = 64;

/// What the device shares with edge A.
const KEY: MaskKey = MaskKey::new([5; 32]);

struct Stage {
    runtime: Runtime,
    /// By checks.
    models: Vec<Arc<Model>>,
    /// Answers of all rounds, then the same with dropped bits.
    payloads: Payloads,
}

impl Stage {
    fn new() -> Stage {
        let scene = scene();
        let plan = scene.plan();
        let whole = scene.device.write(&scene.owner);
        let model = |checks: &str| {
            let bundle = DeviceBundle::read(&whole, &scene.public()).expect("own bundle");
            Arc::new(Model::new(bundle, checks.parse::<Integrity>().expect("checks")).expect("a good model"))
        };
        let answers = |exact| plan.round_ids().map(move |r| plan.answer_stripes(r, exact));
        let payloads = Payloads::new(answers(true).chain(answers(false)));
        Stage { runtime: runtime(), models: CHECKS.into_iter().map(model).collect(), payloads }
    }

    async fn scripted(&self, how: u8, script: &[u8]) -> bool {
        let device = || Role::device(DEVICE).expect("a name");
        let (to_a, at_a) = memory_pair(device(), Role::EdgeA);
        let (to_b, at_b) = memory_pair(device(), Role::EdgeB);
        let checks = usize::from(how >> 2 & 3);
        let options = SessionOptions {
            codec: CodecChoice::Packed,
            timeout: Duration::from_secs(2),
            relay: how & RELAY != 0,
            drop_bits: how & DROPPED_BITS != 0 && checks < 2,
            prefetch: usize::from(how & PREFETCH != 0),
        };
        let model = &self.models[checks];
        let inference = async {
            let session = Session::over(Arc::clone(model), &KEY, to_a, to_b, options).await?;
            let mut remote = session.begin().await?;
            let spec = &model.inputs().tensors[0];
            let input = vec![0.5; spec.shape.iter().product::<u32>() as usize];
            let outcome = infer(model, &mut model.values(), &[input], &mut remote).await?;
            remote.finish().await?;
            Ok::<_, DeviceError>(outcome)
        };
        let mut lines = [Line::accepting(at_a), Line::accepting(at_b)];
        let playing = async {
            for (line, counted) in lines.iter_mut().zip([true, false]) {
                if how & OPENED != 0 {
                    line.listen(0).await;
                    let part = line.seen.open().and_then(|open| open.seed.as_ref()).map(part);
                    let opened = Opened { part, ..opened(how & RELAY != 0) };
                    line.send(0, &frame::encode(FrameType::Opened, &opened)).await;
                }
                if how & CLAIMED != 0 && counted {
                    line.send(0, &frame::encode(FrameType::Claimed, &Claimed { counter: Counter::new(0) })).await;
                }
            }
            play(&mut lines, steps(script, &self.payloads)).await;
        };
        let (outcome, ()) = tokio::join!(inference, playing);
        match outcome {
            Ok(outcome) => {
                assert!(checks < 2, "rubbish passes {}", CHECKS[checks]);
                assert_eq!(outcome.outputs.len(), model.outputs().len());
                true
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && error.exit_code() > 1, "{error:?}");
                assert!(!text.contains(char::is_control), "what an edge says reaches the terminal: {text:?}");
                false
            }
        }
    }
}

fn opened(relay: bool) -> Opened {
    Opened { prf: Prf::ChaCha20, max_in_flight: 4, kernel: "portable".into(), relay, part: None }
}

/// What edge A says of the masks of a session with this seed.
fn part(seed: &Secret) -> MaskPart {
    let nonce = [6; 32];
    MaskPart { nonce, proof: SessionKeys::new(&KEY, &seed.0, &nonce).proof() }
}

/// A session and an inference of a device: the first byte of `data` says how, the script is edge A's on its first line
/// and edge B's on its second.
pub(crate) fn device(data: &[u8]) -> bool {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    let stage = STAGE.get_or_init(Stage::new);
    let Some((&how, script)) = data.split_first() else { return false };
    stage.runtime.block_on(stage.scripted(how, script))
}

fn answer(r: u32) -> Answer {
    Answer { round: RoundId::new(r), compute_us: 10, queue_us: 1 }
}

impl Script {
    fn answers(mut self, lines: &[At], codec: u8, first: u32) -> Script {
        for r in 0..scene().plan().rounds().len() as u32 {
            for &at in lines {
                self = self.round(at, FrameType::Answer, &answer(r), first + r, codec);
            }
            self = self.wait();
        }
        self
    }
}

pub(crate) fn device_seeds() -> Vec<Seed> {
    let (a, b) = (At::first(1), At::second(1));
    let (control, rounds) = (At::first(0), scene().plan().rounds().len() as u32);
    let begun = |how| Script::new(OPENED | CLAIMED | how);
    let miss = Miss { round: RoundId::new(0) };
    let missed = begun(RELAY).frame(b, FrameType::Miss, &miss).wait();
    let fallen = missed.round(b, FrameType::Answer, &answer(0), 0, 0).round(a, FrameType::Answer, &answer(0), 0, 0);
    let rest = (1..rounds).fold(fallen.clone(), |s, r| s.round(b, FrameType::Answer, &answer(r), r, 0).wait());
    let busy = Busy { retry_after_ms: u32::MAX };
    let other =
        Opened { prf: Prf::Aes128, max_in_flight: 0, kernel: "\u{1b}]0;x\u{7}".into(), relay: true, part: None };
    let claimed = |counter| Claimed { counter: Counter::new(counter) };
    vec![
        good("split", begun(0).answers(&[a, b], 0, 0).bytes()),
        good("split-zstd", begun(0).answers(&[a, b], 1, 0).bytes()),
        good("split-raw", begun(0).answers(&[a, b], 2, 0).bytes()),
        good("split-dropped-bits", begun(DROPPED_BITS).answers(&[a, b], 0, rounds).bytes()),
        good("prefetched", begun(PREFETCH).answers(&[a, b], 0, 0).bytes()),
        good("relay", begun(RELAY).answers(&[b], 0, 0).bytes()),
        good("relay-missed", rest.bytes()),
        bad("relay-missed-once", fallen.bytes()),
        bad("sampled", begun(SAMPLE).answers(&[a, b], 0, 0).bytes()),
        bad("freivalds", begun(FREIVALDS).answers(&[a, b], 0, 0).bytes()),
        bad("both-checks", begun(SAMPLE | FREIVALDS | RELAY).answers(&[b], 0, 0).bytes()),
        bad("not-opened", Script::new(0).frame(control, FrameType::Opened, &other).bytes()),
        bad("another-counter", Script::new(OPENED).frame(control, FrameType::Claimed, &claimed(7)).bytes()),
        bad("busy", begun(0).frame(b, FrameType::Busy, &busy).bytes()),
        bad("another-round", begun(0).round(b, FrameType::Answer, &answer(1), 0, 0).bytes()),
        bad("announced", begun(0).announced(b, FrameType::Answer, &answer(0)).wait().bytes()),
        bad("short", begun(0).short(b, FrameType::Answer, &answer(0)).finish(b).bytes()),
        bad("rubbish", begun(0).raw(b, b"rubbish").burst(a, 2, 0xff).bytes()),
        bad("closed", begun(0).close(a, 2, "no model\u{1b}[2J\n").bytes()),
        bad("gone", Script::new(OPENED).reset(control).wait().close(b, 6, "").bytes()),
    ]
}
