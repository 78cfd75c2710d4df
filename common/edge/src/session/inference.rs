//! One inference on a stream of its own (PROTOCOL.md, "One inference").

use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use twinmask_codec::{RoundId, packed_parts_len};
use twinmask_transport::frame_io::{FrameIoError, read_frame, write_frame};
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{Busy, End, Infer, Round};
use twinmask_wire::session::RoundCursor;
use twinmask_wire::{CloseCode, Codec, FrameType};

use crate::ahead::store::Want;
use crate::budget::Grant;
use crate::compute::payloads::Payload;
use crate::compute::queue::Pending;
use crate::compute::shares::Shares;
use crate::edge::Edge;
use crate::fault::{Fault, patience, refused, within};
use crate::relay::answers;
use crate::role::Role;
use crate::rounds::Computation;
use crate::session::state::Session;
use crate::session::stripes;

/// Bytes of frames without payload that come before a first round.
const SMALL: usize = 1024;

/// Serves one stream. An error ends the session; a device that goes away or stalls only ends this inference.
pub(crate) async fn serve(session: Arc<Session>, mut send: SendHalf, mut recv: RecvHalf) -> Result<(), Fault> {
    let ended = run(&session, &mut send, &mut recv).await;
    if let Err(Fault::Stalled) = ended {
        session.edge().meters.refused("Stalled");
        tracing::warn!("a device stalled in an inference, which is given up");
        let _ = recv.stop(CloseCode::Limit as u32);
    }
    match ended {
        Err(Fault::Gone | Fault::Stalled) => {
            let _ = send.reset(CloseCode::Limit as u32); // nothing is kept for somebody who does not read it
            Ok(())
        }
        other => other,
    }
}

async fn run(session: &Arc<Session>, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<(), Fault> {
    let stall = session.edge().limits.stall;
    let infer = within(stall, 0, read_frame(recv, |h| h.expect(FrameType::Infer, &[], "INFER"))).await?;
    let infer: Infer = infer.body()?;
    check(session, infer)?;
    let running = tokio::select! {
        biased;
        begun = session.begin(infer) => begun?,
        // The device waits for a grant that does not come, and hears why when the session ends.
        () = session.grants_no_more() => return Err(Fault::Gone),
    };
    let Some(place) = Place::take(session, infer) else {
        drop(running);
        return busy(session, send, recv).await;
    };
    let begun = Instant::now();
    if session.edge().role == Role::B {
        if !answer_each(session, send, recv, infer).await? {
            return Err(Fault::Gone);
        }
        drop(running);
        let room = finish(session, send, place, begun);
        return await_end(session, send, ended(recv), room).await;
    }
    if infer.relay {
        answers::fall_back(&session.rounds, send, recv, infer).await?;
        finish(session, send, place, begun);
        return Ok(());
    }
    let mut end = std::pin::pin!(ended(recv));
    tokio::select! {
        early = end.as_mut() => return early.and(Err(Fault::Gone)),
        answered = answer_all(session, send, infer) => answered?,
    }
    drop(running);
    let room = finish(session, send, place, begun);
    await_end(session, send, end, room).await
}

/// Whether this session has such inferences.
fn check(session: &Session, infer: Infer) -> Result<(), Fault> {
    let plan = &session.rounds.model.plan;
    if !infer.exact && plan.layer_ids().all(|l| plan.drop_bits(l) == 0) {
        let text = "this model's plan has no bits to drop: switch dropped bits off (--drop-bits off)";
        return Err(refused(CloseCode::Protocol, text));
    }
    if infer.relay && !session.ticket {
        let text = "mode relay needs a ticket in OPEN, and this session was opened without: open another, or use split";
        return Err(refused(CloseCode::Protocol, text));
    }
    Ok(())
}

/// What an inference takes while it runs: free again when dropped.
struct Place {
    _counted: InFlight,
    /// In its session, and its device's room for what it holds. In mode `relay` edge A holds nothing until it is asked
    /// for a round, and then the device has begun at edge B: from there on the round waits for room, and nobody is told
    /// "busy".
    taken: Option<(OwnedSemaphorePermit, Grant)>,
}

impl Place {
    fn take(session: &Session, infer: Infer) -> Option<Place> {
        let (edge, rounds) = (session.edge(), &session.rounds);
        let mut taken = None;
        if !(infer.relay && edge.role == Role::A) {
            if edge.queue.is_full() {
                return None;
            }
            let permit = Arc::clone(&session.places).try_acquire_owned().ok()?;
            taken = Some((permit, edge.flight.admit(&rounds.device, rounds.model.held(edge.role))?));
        }
        Some(Place { _counted: InFlight::new(edge), taken })
    }
}

/// Counted as running while it is there.
struct InFlight(Arc<Edge>);

impl InFlight {
    fn new(edge: &Arc<Edge>) -> InFlight {
        edge.meters.in_flight.increment(1);
        InFlight(Arc::clone(edge))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.meters.in_flight.decrement(1);
    }
}

/// Answers `BUSY`. What the device has sent ahead, a round at most, is read and dropped, so that it comes to read the
/// answer.
async fn busy(session: &Session, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<(), Fault> {
    session.edge().meters.refused("Busy");
    let stall = session.edge().limits.stall;
    let body = Busy { retry_after_ms: session.edge().retry_after_ms() };
    within(stall, 0, write_frame(send, FrameType::Busy, &body, Codec::Packed, &[])).await?;
    let _ = send.finish();
    let most = session.rounds.model.lengths.first().map_or(0, |first| first.upload) + SMALL;
    let _ = timeout(stall, tokio::io::copy(&mut recv.take(most as u64), &mut tokio::io::sink())).await;
    Ok(())
}

/// Edge A: all rounds in order, unasked. What is not there ahead of time is computed, the next round while this one
/// waits for the stream to take it, if the device has room for both, and none further.
async fn answer_all(session: &Arc<Session>, send: &mut SendHalf, infer: Infer) -> Result<(), Fault> {
    let (rounds, edge) = (&session.rounds, session.edge());
    let mut coming = Some(coming(session, RoundId::new(0), infer).await?);
    let mut r = RoundId::new(0);
    while let Some(current) = coming.take() {
        let answer = match current {
            Coming::Ready(answer) => answer,
            Coming::Computing(mut computing) => rounds.answer(r, computing.done().await)?,
        };
        let next = r.next();
        let more = rounds.model.lengths.get(next.index());
        let room = more.and_then(|more| edge.flight.reserve(&rounds.device, more.answer));
        if room.is_some() {
            coming = Some(self::coming(session, next, infer).await?);
        }
        answer.write(edge.limits.stall, send).await?;
        if room.is_none() && more.is_some() {
            coming = Some(self::coming(session, next, infer).await?);
        }
        r = next;
    }
    Ok(())
}

/// An answer of edge A that was computed ahead of time, or is being computed.
enum Coming {
    Ready(Computation),
    Computing(Pending<Payload>),
}

async fn coming(session: &Arc<Session>, r: RoundId, infer: Infer) -> Result<Coming, Fault> {
    let (Some(ahead), Some(masks)) = (&session.ahead, session.rounds.masks(infer.counter)) else {
        return Err(refused(CloseCode::Internal, "edge A has no masks"));
    };
    let want = Want::Split { exact: infer.exact };
    if let Some(ready) = ahead.take(infer.counter, r, want).await {
        return Ok(Coming::Ready(session.rounds.ready(r, ready)));
    }
    Ok(Coming::Computing(session.rounds.compute(r, infer.exact, Shares::Masks(masks)).await))
}

/// Edge B: each round as it is uploaded. `false` when the device ended the inference before its last round.
async fn answer_each(session: &Session, send: &mut SendHalf, recv: &mut RecvHalf, infer: Infer) -> Result<bool, Fault> {
    let (rounds, inbox, stall) = (&session.rounds, session.inbox.as_deref(), session.edge().limits.stall);
    let plan = &rounds.model.plan;
    let mut cursor = RoundCursor::new(plan.rounds().len());
    while let Some(r) = cursor.due() {
        let parts = plan.upload_stripe(r, 0);
        let reading = read_frame(recv, |h| match h.kind {
            FrameType::End => h.expect(FrameType::End, &[], "END"),
            _ => h.expect(FrameType::Round, &parts, "ROUND or END"),
        });
        let frame = within(stall, packed_parts_len(&parts), reading).await?;
        if frame.header.kind == FrameType::End {
            frame.body::<End>()?;
            return Ok(false);
        }
        cursor.accept(frame.body::<Round>()?.round)?;
        if plan.stripes(r) > 1 {
            stripes::answer(rounds, inbox, (&mut *send, &mut *recv), infer, r, frame).await?;
            continue;
        }
        let shares = Shares::Uploaded { codec: frame.header.codec, payload: frame.payload };
        let answer = if infer.relay {
            answers::answer_for_both(rounds, inbox, infer, r, shares).await?
        } else {
            rounds.answer(r, rounds.compute(r, infer.exact, shares).await.done().await)?
        };
        answer.write(stall, send).await?;
    }
    Ok(true)
}

/// All answers are out: the place is free, though the device has still to read them; the room is not.
fn finish(session: &Session, send: &mut SendHalf, place: Place, begun: Instant) -> Option<Grant> {
    let _ = send.finish();
    session.edge().finished(begun.elapsed());
    place.taken.map(|(_permit, room)| room)
}

/// Waits until the device has said that it is done, or let go of the stream.
async fn ended(recv: &mut RecvHalf) -> Result<(), Fault> {
    match read_frame(recv, |h| h.expect(FrameType::End, &[], "END")).await {
        Ok(frame) => Ok(frame.body::<End>().map(drop)?),
        Err(FrameIoError::Wire(error)) => Err(error.into()),
        Err(_) => Ok(()),
    }
}

/// Keeps the stream, and the `room` of what it may hold, until the device is done with it and has it all; else it is
/// let go after a while.
async fn await_end(
    session: &Session,
    send: &mut SendHalf,
    end: impl Future<Output = Result<(), Fault>>,
    room: Option<Grant>,
) -> Result<(), Fault> {
    let done = async {
        end.await?;
        if send.delivered().await { Ok(()) } else { Err(Fault::Gone) }
    };
    let done = timeout(patience(session.edge().limits.stall, session.edge().buffered()), done).await;
    drop(room);
    done.unwrap_or(Err(Fault::Gone))
}
