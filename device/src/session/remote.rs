//! One inference over an open session (PROTOCOL.md, "One inference, mode `split`" and "mode `relay`").

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use twinmask_codec::{GroupId, LayerId, Part, RoundId, packed_parts_len};
use twinmask_kernels::elementwise;
use twinmask_masking::mask::PIECE;
use twinmask_masking::{Answer, InferenceMasks, Pending};
use twinmask_model::plan::Plan;
use twinmask_ring::pack;
use twinmask_transport::frame_io::Frame;
use twinmask_wire::frame::{self, FrameHeader};
use twinmask_wire::message::{self, End, Miss, Round};
use twinmask_wire::{Codec, FrameType, WireError, payload};

use crate::error::{CheckError, DeviceError, SessionError};
use crate::exchange::{Exchange, GroupInput};
use crate::model::Model;
use crate::session::incoming::Incoming;
use crate::session::link::EdgeLink;
use crate::session::shared::Shared;
use crate::session::streams::Streams;

/// Packed bytes that are handed to the stream at a time, and how many more a piece may add.
const UPLOAD_STEP: usize = 60 * 1024;
const MOST_OF_A_PIECE: usize = 4 * PIECE;

/// The first integers of one group's tensor beside what each edge got of it: for people who want to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// First layer that reads the tensor.
    pub layer: String,
    /// Ring width, in bits.
    pub k: u32,
    /// The true integers.
    pub x: Vec<i32>,
    /// Edge A's share, expanded from the seed.
    pub share_a: Vec<u32>,
    /// Edge B's share, as uploaded.
    pub share_b: Vec<u32>,
}

/// An inference that edge A has granted a counter for.
pub struct RemoteInference {
    shared: Arc<Shared>,
    masks: InferenceMasks,
    a: Streams,
    b: Streams,
    fallbacks: u32,
    watch: Option<(usize, Vec<Glimpse>)>,
}

impl RemoteInference {
    pub(crate) fn new(shared: Arc<Shared>, masks: InferenceMasks, a: Streams, b: Streams) -> Self {
        Self { shared, masks, a, b, fallbacks: 0, watch: None }
    }

    /// Rounds that were answered by both edges although the session is in mode `relay`.
    #[must_use]
    pub const fn fallbacks(&self) -> u32 {
        self.fallbacks
    }

    /// Keeps the first `n` elements of each group and of its shares, on the device, for showing.
    pub fn watch(&mut self, n: usize) {
        self.watch = Some((n, Vec::new()));
    }

    /// What [`watch`](Self::watch) kept.
    #[must_use]
    pub fn glimpses(&self) -> &[Glimpse] {
        self.watch.as_ref().map_or(&[], |(_, kept)| kept)
    }

    /// Tells both edges that nothing more comes on this inference's streams.
    ///
    /// # Errors
    /// [`DeviceError`] when an edge has gone.
    pub async fn finish(mut self) -> Result<(), DeviceError> {
        for (link, streams) in [(&self.shared.a, &mut self.a), (&self.shared.b, &mut self.b)] {
            link.write(&mut streams.send, FrameType::End, &End {}).await?;
            streams.done();
        }
        Ok(())
    }

    /// Masks and uploads the tensors of round `r`, frames leaving while the rest is masked.
    async fn upload(
        &mut self,
        model: &Model,
        r: RoundId,
        inputs: &[GroupInput<'_>],
    ) -> Result<Vec<Pending>, DeviceError> {
        let session = SessionError::Mask;
        let (shared, plan) = (Arc::clone(&self.shared), model.plan());
        let (link, send, round) = (&shared.b, &mut self.b.send, Round { round: r });
        let parts = plan.upload_parts(r);
        // What else than packed is wanted, or whether, is found out on whole payloads.
        let streaming = shared.uploads.lock().await.settled() == Some(Codec::Packed);
        let (deadline, mut pending) = (link.deadline(), Vec::with_capacity(inputs.len()));
        let room = || Vec::with_capacity(UPLOAD_STEP + MOST_OF_A_PIECE);
        let (mut packed, mut x) = (room(), [0; PIECE]);
        if streaming {
            let announced = packed_parts_len(&parts);
            packed.extend(frame::encode_head(FrameType::Round, &round, Codec::Packed, announced));
        }
        for input in inputs {
            let mut masking = self.masks.mask(input.group, &shared.model.checker).map_err(session)?;
            let mut glimpse = self.watch.as_ref().map(|_| packed.len());
            for piece in input.tensor.chunks(PIECE) {
                let x = &mut x[..piece.len()];
                elementwise::quantize(piece, input.scale, x);
                masking.push(x, &mut packed).map_err(session)?;
                if let (Some(from), Some((n, kept))) = (glimpse.take(), &mut self.watch) {
                    kept.push(Glimpse::new(plan, input.group, *n, x, &packed[from..]));
                }
                if streaming && packed.len() >= UPLOAD_STEP {
                    let full = std::mem::replace(&mut packed, room());
                    link.write_some(send, full, deadline).await?;
                    // The connection's own task may run on this very thread: it sends what it has been given.
                    tokio::task::yield_now().await;
                }
            }
            pending.push(masking.finish().map_err(session)?);
        }
        if streaming && !packed.is_empty() {
            link.write_some(send, packed, deadline).await?;
        } else if !streaming {
            let elements = payload::decode(&packed, Codec::Packed, &parts).map_err(|e| link.broke(e))?;
            let parts: Vec<(&[u32], u32)> =
                elements.iter().zip(parts).map(|(e, part)| (e.as_slice(), part.bits)).collect();
            let (codec, payload) = shared.uploads.lock().await.encode(&parts);
            link.upload(send, FrameType::Round, &round, codec, &payload).await?;
        }
        if let Some((_, kept)) = &mut self.watch {
            let first = kept.len() - pending.len();
            for (glimpse, pending) in kept[first..].iter_mut().zip(&pending) {
                glimpse.share_a = self.masks.share_a(pending, glimpse.x.len()).to_vec();
            }
        }
        Ok(pending)
    }
}

impl Glimpse {
    /// Of a group's first integers `x` and their packed masked form; edge A's share is still to come.
    fn new(plan: &Plan, group: GroupId, n: usize, x: &[i32], packed: &[u8]) -> Self {
        let (group, mut masked) = (plan.group(group), vec![0; x.len()]);
        let k = group.k();
        let n = if pack::unpack(packed, k, &mut masked).is_ok() { n.min(x.len()) } else { 0 };
        masked.truncate(n);
        let layer = plan.layer(group.layers()[0]).name().to_owned();
        Self { layer, k, x: x[..n].to_vec(), share_a: Vec::new(), share_b: masked }
    }
}

impl Exchange for RemoteInference {
    async fn round(
        &mut self,
        model: &Model,
        r: RoundId,
        inputs: &[GroupInput<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError> {
        let pending = self.upload(model, r, inputs).await?;
        let shared = Arc::clone(&self.shared);
        let (plan, dropped) = (model.plan(), shared.options.drop_bits);
        // Edge B has its share to read and to compute with; meanwhile the masks are expanded that are needed next.
        tokio::task::yield_now().await;
        let next = plan.rounds().get(r.next().index());
        self.masks.expand_ahead(next.map_or(&[], Vec::as_slice), &model.layers_of(r));
        let parts = if dropped { plan.answer_parts_dropped(r) } else { plan.answer_parts(r) };
        let mut from_both = !shared.relay();
        let mut due = shared.b.deadline();
        let mut head = answer(&shared.b, &mut self.b, r, &parts, due, shared.relay()).await?;
        if head.header.kind == FrameType::Miss {
            // Nothing is uploaded again: edge A answers what it would have answered in mode `split`.
            from_both = true;
            self.fallbacks += 1;
            shared.a.write(&mut self.a.send, FrameType::Round, &Round { round: r }).await?;
            due = shared.b.deadline();
            head = answer(&shared.b, &mut self.b, r, &parts, due, false).await?;
        }
        let mut from_b = Incoming::new(&shared.b, &mut self.b.recv, head, &parts, due).await?;
        let mut from_a = None;
        if from_both {
            let due = shared.a.deadline();
            let head = answer(&shared.a, &mut self.a, r, &parts, due, false).await?;
            from_a = Some(Incoming::new(&shared.a, &mut self.a.recv, head, &parts, due).await?);
        }
        let mut y = [0; PIECE];
        for ((layer, output), Part { len: n, bits: k }) in layers(plan, inputs).into_iter().zip(outputs).zip(parts) {
            let mut opening = self.masks.open(&pending[layer.input], &shared.model.checker, layer.i, dropped);
            let mut rescale = model.rescale(layer.l, inputs[layer.input].scale.step());
            let mut at = 0;
            while at < n {
                let z_b = from_b.next(n - at, k).await?;
                let y = &mut y[..z_b.len()];
                match &mut from_a {
                    Some(from_a) => opening.push(Answer::Pair { z_a: from_a.next(n - at, k).await?, z_b }, y),
                    None => opening.push(Answer::Sum(z_b), y),
                }
                rescale.push(y, &mut output[at..at + y.len()]);
                at += y.len();
            }
            opening.finish().map_err(CheckError::Answer)?;
        }
        pending.into_iter().for_each(|pending| self.masks.done(pending));
        Ok(())
    }
}

/// A layer of a round.
struct Layer {
    /// Index of its group's tensor among the round's.
    input: usize,
    /// Index among the group's layers, and in the plan.
    i: usize,
    l: LayerId,
}

fn layers(plan: &Plan, inputs: &[GroupInput<'_>]) -> Vec<Layer> {
    let mut out = Vec::new();
    for (input, GroupInput { group, .. }) in inputs.iter().enumerate() {
        let layers = plan.group(*group).layers().iter().enumerate();
        out.extend(layers.map(|(i, &l)| Layer { input, i, l }));
    }
    out
}

/// The head of an edge's answer to round `r`, or of `MISS` where that may come: edge B then sends its own share next.
/// In place of its first answer an edge may be busy.
async fn answer(
    link: &EdgeLink,
    streams: &mut Streams,
    r: RoundId,
    parts: &[Part],
    deadline: Instant,
    may_miss: bool,
) -> Result<Frame, DeviceError> {
    let (due, first) = ("its answer", !std::mem::replace(&mut streams.answered, true));
    let accept = |h: &FrameHeader| match h.kind {
        FrameType::Miss if may_miss => h.expect(FrameType::Miss, &[], due),
        FrameType::Busy if first => h.expect(FrameType::Busy, &[], due),
        _ => h.expect(FrameType::Answer, parts, due),
    };
    let head = link.read_head(&mut streams.recv, due, deadline, accept).await?;
    let round = if head.header.kind == FrameType::Miss {
        head.body::<Miss>().map_err(|e| link.broke(e))?.round
    } else {
        let body: message::Answer = head.body().map_err(|e| link.broke(e))?;
        link.compute_us.fetch_add(u64::from(body.compute_us), Ordering::Relaxed);
        body.round
    };
    if round == r {
        return Ok(head);
    }
    Err(link.broke(WireError::Malformed(format!("it answered round {round} instead of {r}"))))
}
