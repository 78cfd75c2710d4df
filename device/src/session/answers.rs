//! The answers to a round, opened as they arrive.

use std::sync::atomic::Ordering;

use tokio::time::Instant;
use twinmask_codec::{Part, RoundId};
use twinmask_layer::Order;
use twinmask_masking::mask::PIECE;
use twinmask_masking::{Answer, Opening};
use twinmask_model::plan::Plan;
use twinmask_transport::RecvHalf;
use twinmask_transport::frame_io::Frame;
use twinmask_wire::frame::FrameHeader;
use twinmask_wire::message::{self, Miss, Round};
use twinmask_wire::{FrameType, WireError};

use crate::error::DeviceError;
use crate::rescale::Rescale;
use crate::session::incoming::Incoming;
use crate::session::link::EdgeLink;
use crate::session::shared::Shared;
use crate::session::streams::Streams;

/// One layer's answer while it is opened.
pub(crate) struct Layer<'a> {
    /// Index of its group's tensor among the round's.
    pub(crate) input: usize,
    pub(crate) opening: Opening<'a>,
    pub(crate) rescale: Rescale<'a>,
    pub(crate) order: &'a Order,
    pub(crate) output: &'a mut [f32],
}

/// Answers to round `r` while they arrive.
pub(crate) struct Answers<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
    pub(crate) r: RoundId,
    pub(crate) layers: Vec<Layer<'a>>,
    pub(crate) a: &'a mut Streams,
    /// Of the stream to edge B.
    pub(crate) b: &'a mut RecvHalf,
    pub(crate) b_answered: &'a mut bool,
    /// Rounds that edge A has been asked for.
    pub(crate) fallbacks: &'a mut u32,
    /// When all of edge B's answer has to be there.
    pub(crate) due: Instant,
}

impl<'a> Answers<'a> {
    /// Opens all of the answers; nothing of it is checked.
    ///
    /// # Errors
    /// [`DeviceError`] when an edge has gone, is busy or breaks the protocol.
    pub(crate) async fn open(self) -> Result<Vec<Layer<'a>>, DeviceError> {
        let Self { shared, plan, r, mut layers, a, b, b_answered, fallbacks, mut due } = self;
        let (exact, mut relay, mut from_a) = (!shared.options.drop_bits, shared.relay(), None);
        let mut y = [0; PIECE];
        for j in 0..plan.stripes(r) {
            let parts = plan.answer_stripe(r, j, exact);
            let mut head = answer(&shared.b, b, b_answered, r, &parts, due, relay && j == 0).await?;
            if head.header.kind == FrameType::Miss {
                // Nothing is uploaded again: edge A answers what it would have answered in mode `split`.
                relay = false;
                *fallbacks += 1;
                shared.a.write(&mut a.send, FrameType::Round, &Round { round: r }).await?;
                due = due.max(shared.b.deadline());
                head = answer(&shared.b, b, b_answered, r, &parts, due, false).await?;
            }
            let mut from_b = Incoming::new(&shared.b, b, head, &parts, due).await?;
            if j == 0 && !relay {
                let (parts, due) = (plan.answer_stripes(r, exact), shared.a.deadline().max(due));
                let head = answer(&shared.a, &mut a.recv, &mut a.answered, r, &parts, due, false).await?;
                from_a = Some(Incoming::new(&shared.a, &mut a.recv, head, &parts, due).await?);
            }
            for (layer, Part { bits, .. }) in layers.iter_mut().zip(parts) {
                let mut places = layer.order.stripe(j);
                while !places.is_empty() {
                    let z_b = from_b.next(places.len(), bits).await?;
                    let y = &mut y[..z_b.len()];
                    let answer = match &mut from_a {
                        Some(from_a) => Answer::Pair { z_a: from_a.next(places.len(), bits).await?, z_b },
                        None => Answer::Sum(z_b),
                    };
                    layer.push(places.start, answer, y);
                    places.start += y.len();
                }
            }
        }
        Ok(layers)
    }
}

impl Layer<'_> {
    /// Opens what travels from `place` on, with `y` for the integers.
    fn push(&mut self, place: usize, answer: Answer<'_>, y: &mut [i32]) {
        self.opening.push(answer, y);
        let mut rest = &*y;
        for run in self.order.runs(place..place + y.len()) {
            let y;
            (y, rest) = rest.split_at(run.len());
            self.rescale.push(run.start, y, &mut self.output[run]);
        }
    }
}

/// The head of an edge's answer to round `r`, or of `MISS` where that may come: edge B then sends its own share next.
/// In place of its first answer an edge may be busy.
async fn answer(
    link: &EdgeLink,
    recv: &mut RecvHalf,
    answered: &mut bool,
    r: RoundId,
    parts: &[Part],
    deadline: Instant,
    may_miss: bool,
) -> Result<Frame, DeviceError> {
    let (due, first) = ("its answer", !std::mem::replace(answered, true));
    let accept = |h: &FrameHeader| match h.kind {
        FrameType::Miss if may_miss => h.expect(FrameType::Miss, &[], due),
        FrameType::Busy if first => h.expect(FrameType::Busy, &[], due),
        _ => h.expect(FrameType::Answer, parts, due),
    };
    let head = link.read_head(recv, due, deadline, accept).await?;
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
