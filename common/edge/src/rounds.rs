//! What the rounds of one session are computed with, and answered.

use std::sync::Arc;
use std::time::Duration;

use twinmask_codec::{Counter, RoundId};
use twinmask_ring::keys::SessionKeys;
use twinmask_transport::SendHalf;
use twinmask_transport::frame_io::{send_frame, write_frame};
use twinmask_wire::message::{Answer, Miss, Prf};
use twinmask_wire::payload::Encoder;
use twinmask_wire::{CloseCode, Codec, CodecChoice, FrameType};

use crate::budget::Device;
use crate::compute::payloads::{self, Payload};
use crate::compute::queue::{ComputeError, Done, Pending, Turn};
use crate::compute::shares::{Masks, Shares};
use crate::edge::Edge;
use crate::fault::{Fault, refused, within};
use crate::lock::Mutex;
use crate::models::Model;

/// Model, masks and codec of one session. Gone, and its keys wiped, with the last of its jobs: what was computed ahead
/// of time may take long to get the processor once more. The session's place is free before that.
pub(crate) struct Rounds {
    pub(crate) edge: Arc<Edge>,
    pub(crate) model: Arc<Model>,
    /// Whose session it is: turns in the compute queue and room are by device.
    pub(crate) device: Device,
    /// At edge A, and only there.
    keys: Option<Arc<SessionKeys>>,
    /// What masks are expanded with.
    prf: Prf,
    /// Of answers.
    encoder: Mutex<Encoder>,
}

impl Rounds {
    /// Of a new session.
    pub(crate) fn new(
        edge: &Arc<Edge>,
        device: &Device,
        model: Arc<Model>,
        keys: Option<SessionKeys>,
        prf: Prf,
        codec: CodecChoice,
    ) -> Rounds {
        let (edge, device) = (Arc::clone(edge), Arc::clone(device));
        Rounds { edge, model, device, keys: keys.map(Arc::new), prf, encoder: Mutex::new(Encoder::new(codec)) }
    }

    /// The masks of an inference; at edge A.
    pub(crate) fn masks(&self, counter: Counter) -> Option<Masks> {
        self.keys.clone().map(|keys| Masks { keys, prf: self.prf, counter })
    }

    /// The payload of `ANSWER{r}`.
    pub(crate) fn encode(&self, r: RoundId, exact: bool, answers: &mut [Vec<u32>]) -> Payload {
        payloads::encode(&self.model.plan, r, exact, answers, &self.encoder)
    }

    /// The payload of stripe `j` of the answer to round `r`, which `answers` are.
    pub(crate) fn encode_stripe(&self, r: RoundId, j: usize, exact: bool, answers: &mut [Vec<u32>]) -> Payload {
        payloads::encode_stripe(&self.model.plan, r, j, exact, answers, &self.encoder)
    }

    /// Puts round `r` into the compute queue, for an answer: `W·R + T` at edge A, `W·v` at edge B.
    pub(crate) async fn compute(self: &Arc<Self>, r: RoundId, exact: bool, shares: Shares) -> Pending<Payload> {
        let (rounds, masks) = (Arc::clone(self), shares.masks().cloned());
        let encode = move |answers: &mut [Vec<u32>], worker: &mut _| {
            if let Some(masks) = &masks {
                payloads::mask(&rounds.model.plan, r, masks, answers, worker);
            }
            rounds.encode(r, exact, answers)
        };
        self.edge.queue.submit(Turn::normal(&self.device), &self.model, r, shares, encode).await
    }

    /// The answer that a computation gave.
    ///
    /// # Errors
    /// As [`done`](Self::done).
    pub(crate) fn answer(
        &self,
        r: RoundId,
        computed: Result<Done<Payload>, ComputeError>,
    ) -> Result<Computation, Fault> {
        let done = self.done(r, computed)?;
        self.edge.meters.round(done.queued, done.computed);
        Ok(Computation::new(r, done))
    }

    /// What a computation gave.
    ///
    /// # Errors
    /// What was wrong with the shares; or that the computation failed, which the log tells of.
    pub(crate) fn done<T>(&self, r: RoundId, computed: Result<Done<T>, ComputeError>) -> Result<Done<T>, Fault> {
        computed.map_err(|error| match error {
            ComputeError::Shares(error) => error.into(),
            error => {
                tracing::error!(model = self.model.title, round = r.get(), %error, "a round could not be computed");
                refused(CloseCode::Internal, "a computation failed inside the edge; its log says what")
            }
        })
    }

    /// An answer that was there when its inference came to it.
    pub(crate) fn ready(&self, r: RoundId, (codec, payload): Payload) -> Computation {
        self.edge.meters.ahead_used.increment(1);
        self.edge.meters.round(Duration::ZERO, Duration::ZERO);
        let body = Answer { round: r, compute_us: 0, queue_us: 0 };
        Computation { body, codec, payload, missed: false }
    }
}

/// A round that is computed but not sent.
pub(crate) struct Computation {
    body: Answer,
    codec: Codec,
    payload: Vec<u8>,
    /// Whether this is `W·v` alone where the device expects the sum (mode `relay`).
    pub(crate) missed: bool,
}

impl Computation {
    /// Of (a stripe of) round `r`.
    pub(crate) fn new(r: RoundId, done: Done<Payload>) -> Computation {
        let us = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        let body = Answer { round: r, compute_us: us(done.computed), queue_us: us(done.queued) };
        let (codec, payload) = done.value;
        Computation { body, codec, payload, missed: false }
    }

    /// Sends it; the device may take `stall` longer than the slowest network.
    pub(crate) async fn write(self, stall: Duration, send: &mut SendHalf) -> Result<(), Fault> {
        let length = self.payload.len();
        let writing = async {
            if self.missed {
                let miss = Miss { round: self.body.round };
                write_frame(send, FrameType::Miss, &miss, Codec::Packed, &[]).await?;
            }
            send_frame(send, FrameType::Answer, &self.body, self.codec, self.payload).await
        };
        within(stall, length, writing).await
    }
}
