//! Inferences in mode `relay` (PROTOCOL.md, "One inference, mode `relay`"): edge B answers for both; edge A answers for
//! itself where a correction did not come in time.

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};
use twinmask_codec::{Counter, RoundId};
use twinmask_transport::frame_io::read_frame;
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{End, Infer, Round};
use twinmask_wire::{CloseCode, Codec, FrameType, WireError, payload};

use crate::compute::payloads::{Payload, add_correction, packed};
use crate::compute::queue::{Done, Turn};
use crate::compute::shares::Shares;
use crate::fault::{Fault, refused, within};
use crate::relay::inbox::CorrectionInbox;
use crate::rounds::{Computation, Rounds};

/// Edge B: `W·v + z_A + T`; or `W·v` alone, if the correction does not come in time, or there is no inbox for it.
pub(crate) async fn answer_for_both(
    rounds: &Arc<Rounds>,
    inbox: Option<&Arc<CorrectionInbox>>,
    infer: Infer,
    r: RoundId,
    shares: Shares,
) -> Result<Computation, Fault> {
    let deadline = Instant::now() + rounds.edge.limits.relay_grace;
    let c = infer.counter;
    let (of, corrections) = (Arc::clone(rounds), inbox.cloned());
    // With its correction here a round is one job; else what is computed waits for it, packed.
    let then = move |z: &mut [Vec<u32>], _: &mut _| match corrections.map(|inbox| inbox.take(c, r)) {
        Some(Some(correction)) => Computed::Whole(sum(&of, infer, r, z, Some(&correction))),
        Some(None) => Computed::Half(packed(&of.model.plan, r, z)),
        None => Computed::Missed(of.encode(r, infer.exact, z)),
    };
    let turn = Turn::normal(&rounds.device);
    let mut computing = rounds.edge.queue.submit(turn, &rounds.model, r, shares, then).await;
    let done = match computing.done().await {
        Ok(done) => done,
        Err(error) => return rounds.answer(r, Err(error)),
    };
    let (payload, missed) = match (done.value, inbox) {
        (Computed::Whole(payload), _) => (payload, false),
        (Computed::Missed(payload), _) => (Ok(payload), true),
        (Computed::Half(half), inbox) => {
            let mut correction = None;
            if let Some(inbox) = inbox {
                let _ = timeout_at(deadline, inbox.come(c, r)).await;
                correction = inbox.take_or_miss(c, r);
            }
            let missed = correction.is_none();
            let of = Arc::clone(rounds);
            let job = move || {
                let mut z = payload::decode(&half, Codec::Packed, &of.model.plan.answer_parts(r))?;
                drop(half);
                sum(&of, infer, r, &mut z, correction.as_deref())
            };
            let done = rounds.edge.queue.run(&rounds.device, move |_| job()).await;
            (rounds.done(r, done)?.value, missed)
        }
    };
    if missed {
        rounds.edge.meters.misses.increment(1);
    }
    let payload = payload.map_err(no_correction)?;
    let done = Done { value: payload, queued: done.queued, computed: done.computed };
    let mut answer = rounds.answer(r, Ok(done))?;
    answer.missed = missed;
    Ok(answer)
}

/// Edge A sent something else.
pub(crate) fn no_correction(error: WireError) -> Fault {
    tracing::error!(%error, "edge-a sent a correction that is none");
    refused(CloseCode::Internal, "edge A sent a correction that is none; edge B's log says more")
}

/// The correction of a round in stripes, if it comes in time: whether it does is settled before the first of them.
pub(crate) async fn correction(
    rounds: &Rounds,
    inbox: Option<&Arc<CorrectionInbox>>,
    c: Counter,
    r: RoundId,
) -> Option<Vec<u8>> {
    let mut correction = None;
    if let Some(inbox) = inbox {
        let _ = timeout(rounds.edge.limits.relay_grace, inbox.come(c, r)).await;
        correction = inbox.take_or_miss(c, r);
    }
    if correction.is_none() {
        rounds.edge.meters.misses.increment(1);
    }
    correction
}

/// What a compute thread gives back.
enum Computed {
    /// The sum.
    Whole(Result<Payload, WireError>),
    /// The packed answers, which wait for their correction.
    Half(Vec<u8>),
    /// The answers where no correction can come.
    Missed(Payload),
}

fn sum(
    rounds: &Rounds,
    infer: Infer,
    r: RoundId,
    z: &mut [Vec<u32>],
    correction: Option<&[u8]>,
) -> Result<Payload, WireError> {
    if let Some(correction) = correction {
        add_correction(&rounds.model.plan, r, 0, z, correction)?;
    }
    Ok(rounds.encode(r, infer.exact, z))
}

/// Edge A: `z_A` of the rounds that the device asks for, each at most once, in any order, until it says that it is
/// done. A round waits until its device has room for it.
pub(crate) async fn fall_back(
    rounds: &Arc<Rounds>,
    send: &mut SendHalf,
    recv: &mut RecvHalf,
    infer: Infer,
) -> Result<(), Fault> {
    let (count, stall) = (rounds.model.plan.rounds().len(), rounds.edge.limits.stall);
    // The device may be busy with edge B for as long as that may take.
    let patience = stall * (count as u32 + 1);
    let mut asked = vec![false; count];
    loop {
        let reading = read_frame(recv, |h| match h.kind {
            FrameType::End => h.expect(FrameType::End, &[], "END"),
            _ => h.expect(FrameType::Round, &[], "ROUND (without payload) or END"),
        });
        let frame = within(patience, 0, reading).await?;
        if frame.header.kind == FrameType::End {
            frame.body::<End>()?;
            return Ok(());
        }
        let r = frame.body::<Round>()?.round;
        match asked.get_mut(r.index()) {
            Some(asked) if !*asked => *asked = true,
            _ => return Err(WireError::Malformed(format!("round {r} is asked for twice, or is none")).into()),
        }
        let Some(masks) = rounds.masks(infer.counter) else { return Err(Fault::Gone) };
        rounds.edge.meters.misses.increment(1);
        let _room = rounds.edge.flight.room(&rounds.device, rounds.model.lengths[r.index()].answer).await;
        let mut computing = rounds.compute(r, infer.exact, Shares::Masks(masks)).await;
        rounds.answer(r, computing.done().await)?.write(stall, send).await?;
    }
}
