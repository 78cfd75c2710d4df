//! One inference on a stream of its own (PROTOCOL.md, "One inference, mode `split`").

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use twinmask_model::plan::packed_parts_len;
use twinmask_transport::frame_io::{Frame, FrameIoError, read_frame, write_frame};
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{Answer, Busy, End, Infer, Round};
use twinmask_wire::session::RoundCursor;
use twinmask_wire::{CloseCode, Codec, FrameType, WireError};

use crate::compute::Shares;
use crate::pool::Pending;
use crate::session::{Fault, Session, refused, within};

type Computed = Pending<Result<(Codec, Vec<u8>), WireError>>;

/// Serves one stream. An error ends the session; a device that goes away or stalls only ends this inference.
pub(crate) async fn serve(session: Arc<Session>, mut send: SendHalf, mut recv: RecvHalf) -> Result<(), Fault> {
    match run(&session, &mut send, &mut recv).await {
        Err(Fault::Gone) => Ok(()),
        Err(Fault::Stalled) => {
            session.edge.meters.refused("Stalled");
            tracing::warn!("a device stalled in an inference, which is given up");
            let _ = send.reset(CloseCode::Limit as u32);
            let _ = recv.stop(CloseCode::Limit as u32);
            Ok(())
        }
        other => other,
    }
}

async fn run(session: &Arc<Session>, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<(), Fault> {
    let stall = session.edge.limits.stall;
    let infer = within(stall, 0, read_frame(recv, |h| h.expect(FrameType::Infer, &[], "INFER"))).await?;
    let infer: Infer = infer.body()?;
    if !infer.exact {
        let text = "this edge answers exact inferences only: switch dropped bits off (--drop-bits off)";
        return Err(refused(CloseCode::Protocol, text));
    }
    let Some(place) = Place::take(session) else { return busy(session, send, recv).await };
    session.begin(infer.counter).await?;
    let begun = Instant::now();
    match session.seed.clone() {
        Some(seed) => {
            let mut end = std::pin::pin!(ended(recv));
            let masks = || Shares::Masks { seed: Arc::clone(&seed), prf: session.prf, counter: infer.counter };
            tokio::select! {
                early = end.as_mut() => return early,
                answered = answer_all(session, send, masks) => answered?,
            }
            finish(session, send, place, begun);
            await_end(stall, end).await
        }
        None => {
            if answer_each(session, send, recv).await? {
                finish(session, send, place, begun);
                await_end(stall, std::pin::pin!(ended(recv))).await
            } else {
                Ok(())
            }
        }
    }
}

/// An inference's place in its session; free again when dropped.
struct Place {
    session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(session: &Arc<Session>) -> Option<Place> {
        if session.edge.pool.is_full() {
            return None;
        }
        let permit = Arc::clone(&session.places).try_acquire_owned().ok()?;
        session.edge.meters.in_flight.increment(1);
        Some(Place { session: Arc::clone(session), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.edge.meters.in_flight.decrement(1);
    }
}

/// Answers `BUSY`. What the device has sent ahead is read and dropped, so that it comes to read the answer.
async fn busy(session: &Session, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<(), Fault> {
    session.edge.meters.refused("Busy");
    let stall = session.edge.limits.stall;
    let body = Busy { retry_after_ms: session.edge.retry_after_ms() };
    within(stall, 0, write_frame(send, FrameType::Busy, &body, Codec::Packed, &[])).await?;
    let _ = send.finish();
    let _ = timeout(stall, tokio::io::copy(recv, &mut tokio::io::sink())).await;
    Ok(())
}

/// Edge A: all rounds in order, unasked. The next round is computed while this one waits for the stream to take it, and
/// none further.
async fn answer_all(session: &Arc<Session>, send: &mut SendHalf, masks: impl Fn() -> Shares) -> Result<(), Fault> {
    let rounds = session.model.plan.rounds.len();
    let mut computing = Some(session.compute(0, masks()).await);
    let mut r = 0;
    while let Some(current) = computing.take() {
        let answer = answer(session, r, current).await?;
        if r + 1 < rounds {
            computing = Some(session.compute(r + 1, masks()).await);
        }
        answer.write(session, send).await?;
        r += 1;
    }
    Ok(())
}

/// Edge B: each round as it is uploaded. `false` when the device ended the inference before its last round.
async fn answer_each(session: &Arc<Session>, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<bool, Fault> {
    let plan = &session.model.plan;
    let mut cursor = RoundCursor::new(plan.rounds.len() as u32);
    while let Some(due) = cursor.due() {
        let r = due as usize;
        let parts = plan.upload_parts(r);
        let reading = read_frame(recv, |h| match h.kind {
            FrameType::End => h.expect(FrameType::End, &[], "END"),
            _ => h.expect(FrameType::Round, &parts, "ROUND or END"),
        });
        let frame = within(session.edge.limits.stall, packed_parts_len(&parts), reading).await?;
        if frame.header.kind == FrameType::End {
            end_of(&frame)?;
            return Ok(false);
        }
        cursor.accept(frame.body::<Round>()?.round)?;
        let shares = Shares::Uploaded { codec: frame.header.codec, payload: frame.payload };
        let computing = session.compute(r, shares).await;
        answer(session, r, computing).await?.write(session, send).await?;
    }
    Ok(true)
}

/// A round that is computed but not sent.
struct Computation {
    body: Answer,
    codec: Codec,
    payload: Vec<u8>,
}

async fn answer(session: &Session, r: usize, computing: Computed) -> Result<Computation, Fault> {
    let done = computing.done().await.map_err(|error| {
        tracing::error!(model = session.model.title, round = r, %error, "a round could not be computed");
        refused(CloseCode::Internal, "a computation failed inside the edge; its log says what")
    })?;
    let (codec, payload) = done.value?;
    session.edge.meters.round(done.queued, done.computed);
    let us = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
    let body = Answer { round: r as u32, compute_us: us(done.computed), queue_us: us(done.queued) };
    Ok(Computation { body, codec, payload })
}

impl Computation {
    async fn write(self, session: &Session, send: &mut SendHalf) -> Result<(), Fault> {
        let writing = write_frame(send, FrameType::Answer, &self.body, self.codec, &self.payload);
        within(session.edge.limits.stall, self.payload.len(), writing).await
    }
}

/// All answers are out: the place is free, though the device has still to read them.
fn finish(session: &Session, send: &mut SendHalf, place: Place, begun: Instant) {
    let _ = send.finish();
    session.edge.finished(begun.elapsed());
    drop(place);
}

/// Waits until the device has said that it is done, or let go of the stream.
async fn ended(recv: &mut RecvHalf) -> Result<(), Fault> {
    match read_frame(recv, |h| h.expect(FrameType::End, &[], "END")).await {
        Ok(frame) => end_of(&frame),
        Err(FrameIoError::Wire(error)) => Err(error.into()),
        Err(FrameIoError::Finished | FrameIoError::Io(_)) => Ok(()),
    }
}

fn end_of(frame: &Frame) -> Result<(), Fault> {
    Ok(frame.body::<End>().map(|_| ())?)
}

/// Keeps the stream until the device is done with it; without its `END` it is let go after a while all the same.
async fn await_end(stall: Duration, end: Pin<&mut impl Future<Output = Result<(), Fault>>>) -> Result<(), Fault> {
    timeout(stall, end).await.unwrap_or(Ok(()))
}
