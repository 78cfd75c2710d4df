//! A round whose shares and answers flow at the same time (PROTOCOL.md, "Stripes"), at edge B.

use std::sync::Arc;
use std::time::Duration;

use twinmask_codec::{RoundId, packed_parts_len};
use twinmask_transport::frame_io::{Frame, read_frame};
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{Infer, Round};
use twinmask_wire::{FrameType, WireError, payload};

use crate::compute::payloads::{Payload, add_correction};
use crate::compute::pool::Worker;
use crate::compute::queue::Done;
use crate::compute::stripes::{self, Stripe};
use crate::fault::{Fault, within};
use crate::relay::answers::{correction, no_correction};
use crate::relay::inbox::CorrectionInbox;
use crate::rounds::{Computation, Rounds};

/// Answers round `r`, of which `first` is the first stripe: each as soon as it is there, while the next one arrives.
pub(crate) async fn answer(
    rounds: &Arc<Rounds>,
    inbox: Option<&Arc<CorrectionInbox>>,
    (send, recv): (&mut SendHalf, &mut RecvHalf),
    infer: Infer,
    r: RoundId,
    first: Frame,
) -> Result<(), Fault> {
    let (stall, stripes) = (rounds.edge.limits.stall, rounds.model.plan.stripes(r));
    // Sum or MISS: before the first row.
    let correction = if infer.relay { correction(rounds, inbox, infer.counter, r).await } else { None };
    let job = Job { rounds: Arc::clone(rounds), infer, r, correction: correction.map(Arc::new) };
    let missed = infer.relay && job.correction.is_none();
    let (mut before, mut arrived) = (Stripe::new(), Some(first));
    let (mut queued, mut computed) = (Duration::ZERO, Duration::ZERO);
    for j in 0..stripes {
        let Some(upload) = arrived.take() else { return Err(Fault::Gone) };
        let (job, last) = (job.clone(), std::mem::take(&mut before));
        let answering = async {
            let done = rounds.edge.queue.run(&rounds.device, move |worker| job.compute(j, &last, upload, worker)).await;
            let Done { value, queued, computed } = rounds.done(r, done)?;
            let (payload, stripe) = value?;
            let mut answer = Computation::new(r, Done { value: payload, queued, computed });
            answer.missed = missed && j == 0;
            answer.write(stall, send).await?;
            Ok::<_, Fault>((stripe, queued, computed))
        };
        let next = async { if j + 1 < stripes { upload_of(rounds, recv, r, j + 1).await.map(Some) } else { Ok(None) } };
        let ((stripe, waited, took), next) = tokio::try_join!(answering, next)?;
        (before, arrived) = (stripe, next);
        (queued, computed) = (queued + waited, computed + took);
    }
    rounds.edge.meters.round(queued, computed);
    Ok(())
}

/// Reads stripe `j` of the upload of round `r`.
async fn upload_of(rounds: &Rounds, recv: &mut RecvHalf, r: RoundId, j: usize) -> Result<Frame, Fault> {
    let parts = rounds.model.plan.upload_stripe(r, j);
    let reading = read_frame(recv, |h| h.expect(FrameType::Round, &parts, "the rest of ROUND"));
    let frame = within(rounds.edge.limits.stall, packed_parts_len(&parts), reading).await?;
    let found = frame.body::<Round>()?.round;
    if found == r { Ok(frame) } else { Err(WireError::Malformed(format!("round {found} inside round {r}")).into()) }
}

/// What the stripes of a round are computed with.
#[derive(Clone)]
struct Job {
    rounds: Arc<Rounds>,
    infer: Infer,
    r: RoundId,
    correction: Option<Arc<Vec<u8>>>,
}

impl Job {
    /// The answer to stripe `j`, and its shares, which the next one needs.
    fn compute(
        &self,
        j: usize,
        before: &Stripe,
        upload: Frame,
        worker: &mut Worker,
    ) -> Result<(Payload, Stripe), Fault> {
        let Self { rounds, infer, r, correction } = self;
        let plan = &rounds.model.plan;
        let parts = plan.upload_stripe(*r, j);
        let now = payload::decode(&upload.payload, upload.header.codec, &parts)?;
        drop(upload);
        let mut answers = stripes::answers(&rounds.model, *r, j, [before, &now], worker);
        if let Some(correction) = correction {
            add_correction(plan, *r, j, &mut answers, correction).map_err(no_correction)?;
        }
        let payload = rounds.encode_stripe(*r, j, infer.exact, &mut answers);
        answers.into_iter().for_each(|a| worker.recycle(a));
        Ok((payload, now))
    }
}
