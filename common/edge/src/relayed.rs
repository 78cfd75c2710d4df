//! Inferences in mode `relay` (PROTOCOL.md, "One inference, mode `relay`"): edge B answers for both; edge A answers for itself
//! where a correction did not come in time.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use twinmask_transport::frame_io::read_frame;
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{Infer, Round};
use twinmask_wire::{CloseCode, Codec, FrameType, WireError};

use crate::compute::{self, Done, Shares, Turn};
use crate::inference::{Computation, answer, end_of};
use crate::session::{Fault, Session, refused, within};

/// Edge B: `W·v + z_A + T`; or `W·v` alone, if the correction does not come in time.
pub(crate) async fn answer_for_both(
    session: &Arc<Session>,
    infer: Infer,
    r: usize,
    shares: Shares,
) -> Result<Computation, Fault> {
    let deadline = Instant::now() + session.edge.limits.relay_grace;
    let (c, round) = (infer.counter, r as u32);
    let early = session.desk.as_ref().and_then(|desk| desk.take(c, round));
    let of = Arc::clone(session);
    // With its correction here a round is one job; else what is computed waits for it.
    let then = move |z: &mut [Vec<u32>], _: &mut _| match early {
        Some(correction) => Computed::Whole(sum(&of, infer, r, z, Some(&correction))),
        None => Computed::Half(z.iter_mut().map(std::mem::take).collect()),
    };
    let turn = Turn::normal(session.id);
    let mut computing = compute::submit(&session.edge.pool, turn, &session.model, r, shares, then).await;
    let done = match computing.done().await {
        Ok(done) => done,
        Err(error) => return answer(session, r, Err(error)),
    };
    let (payload, missed) = match done.value {
        Computed::Whole(payload) => (payload, false),
        Computed::Half(mut z) => {
            let correction = match &session.desk {
                Some(desk) => {
                    let _ = timeout_at(deadline, desk.come(c, round)).await;
                    desk.take_or_miss(c, round)
                }
                None => None,
            };
            let missed = correction.is_none();
            let of = Arc::clone(session);
            let job = move || sum(&of, infer, r, &mut z, correction.as_deref());
            let payload = compute::finish(&session.edge.pool, session.id, job).await;
            (payload.map_err(|_| refused(CloseCode::Internal, "the compute threads have ended"))?, missed)
        }
    };
    if missed {
        session.edge.meters.misses.increment(1);
    }
    let payload = payload.map_err(|error| {
        tracing::error!(%error, "edge-a sent a correction that is none");
        refused(CloseCode::Internal, "edge A sent a correction that is none; edge B's log says more")
    })?;
    let done = Done { value: payload, queued: done.queued, computed: done.computed };
    let mut answer = answer(session, r, Ok(done))?;
    answer.missed = missed;
    Ok(answer)
}

/// What a compute thread gives back: a payload, or answers that wait for their correction.
enum Computed {
    Whole(Result<(Codec, Vec<u8>), WireError>),
    Half(Vec<Vec<u32>>),
}

fn sum(
    session: &Session,
    infer: Infer,
    r: usize,
    z: &mut [Vec<u32>],
    correction: Option<&[u8]>,
) -> Result<(Codec, Vec<u8>), WireError> {
    if let Some(correction) = correction {
        compute::add_correction(&session.model.plan, r, z, correction)?;
    }
    Ok(session.encode(r, infer.exact, z))
}

/// Edge A: `z_A` of the rounds that the device asks for, each at most once, in any order, until it says that it is done.
pub(crate) async fn fall_back(
    session: &Arc<Session>,
    send: &mut SendHalf,
    recv: &mut RecvHalf,
    infer: Infer,
) -> Result<(), Fault> {
    let rounds = session.model.plan.rounds().len();
    // The device may be busy with edge B for as long as that may take.
    let patience = session.edge.limits.stall * (rounds as u32 + 1);
    let mut asked = vec![false; rounds];
    loop {
        let reading = read_frame(recv, |h| match h.kind {
            FrameType::End => h.expect(FrameType::End, &[], "END"),
            _ => h.expect(FrameType::Round, &[], "ROUND (without payload) or END"),
        });
        let frame = within(patience, 0, reading).await?;
        if frame.header.kind == FrameType::End {
            return end_of(&frame);
        }
        let r = frame.body::<Round>()?.round as usize;
        match asked.get_mut(r) {
            Some(asked) if !*asked => *asked = true,
            _ => return Err(WireError::Malformed(format!("round {r} is asked for twice, or is none")).into()),
        }
        let Some(masks) = session.masks(infer.counter) else { return Err(Fault::Gone) };
        session.edge.meters.misses.increment(1);
        let mut computing = session.compute(r, infer.exact, Shares::Masks(masks)).await;
        answer(session, r, computing.done().await)?.write(session, send).await?;
    }
}
