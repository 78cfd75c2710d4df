//! Rounds: shares in, answers out. A round of fully connected layers is computed for all who wait for it at once, so that its
//! weights are read once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use twinmask_codec::GroupId;
use twinmask_model::plan::Plan;
use twinmask_ring::mask;
use twinmask_ring::prf::Key;
use twinmask_wire::message::{Prf, Secret};
use twinmask_wire::payload::{self, Encoder};
use twinmask_wire::{Codec, WireError};
use zeroize::Zeroize;

use crate::crew;
use crate::models::Model;
use crate::pool::{Pool, Priority, Worker, message};

/// Most requests that are computed at once.
const MOST_TOGETHER: usize = 16;

/// The masks of one inference (PROTOCOL.md, "Keys"), at edge A.
#[derive(Clone)]
pub(crate) struct Masks {
    pub(crate) seed: Arc<Secret>,
    pub(crate) prf: Prf,
    pub(crate) counter: u64,
}

/// What a round is computed on (PROTOCOL.md, "One inference, mode `split`").
pub(crate) enum Shares {
    /// At edge A: the masks `R`, expanded from the session's seed.
    Masks(Masks),
    /// At edge B: `v = x + S_in - R`, as uploaded.
    Uploaded { codec: Codec, payload: Vec<u8> },
}

impl Shares {
    /// The share of each group of round `r`, in the plan's order.
    fn expand(&self, plan: &Plan, r: usize, worker: &mut Worker) -> Result<Vec<Vec<u32>>, WireError> {
        let parts = plan.upload_parts(r);
        match self {
            Shares::Uploaded { codec, payload } => {
                payload::decode_into(payload, *codec, &parts, |len| worker.buffer(len))
            }
            Shares::Masks(Masks { seed, prf, counter }) => {
                let key = Key::for_masks(prf.algorithm(), &seed.0, *counter);
                let expand = |(&g, (len, k)): (&GroupId, (usize, u32))| {
                    let mut mask = worker.buffer(len);
                    key.fill(g.into(), k, &mut mask);
                    mask
                };
                Ok(plan.rounds()[r].iter().zip(parts).map(expand).collect())
            }
        }
    }

    fn wipe(&self, mut shares: Vec<Vec<u32>>, worker: &mut Worker) {
        for mut share in shares.drain(..) {
            if matches!(self, Shares::Masks(_)) {
                // As a slice: a whole vector would be wiped up to its capacity, byte by byte.
                share.as_mut_slice().zeroize();
            }
            worker.recycle(share);
        }
    }
}

/// A round was not computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ComputeError {
    #[error("a computation panicked: {0}")]
    Panicked(String),
    #[error("the compute threads have ended")]
    Closed,
    #[error(transparent)]
    Shares(#[from] WireError),
}

/// What a round gave, and how long it took.
pub(crate) struct Done<T> {
    pub(crate) value: T,
    /// Time in the queue.
    pub(crate) queued: Duration,
    /// Time on the thread, together with whatever was computed at once.
    pub(crate) computed: Duration,
}

/// A round that was asked for; dropped, it need not be computed any more.
pub(crate) struct Pending<T>(oneshot::Receiver<Result<Done<T>, ComputeError>>);

impl<T> Pending<T> {
    pub(crate) async fn done(&mut self) -> Result<Done<T>, ComputeError> {
        (&mut self.0).await.unwrap_or(Err(ComputeError::Closed))
    }
}

/// Somebody who waits for a round.
trait Waiting: Send {
    fn wants(&self) -> bool;
    fn fail(self: Box<Self>, error: ComputeError);
    /// What is left of `answers` is recycled.
    fn deliver(self: Box<Self>, answers: &mut [Vec<u32>], worker: &mut Worker, queued: Duration, begun: Instant);
}

struct Waiter<T, F> {
    sender: oneshot::Sender<Result<Done<T>, ComputeError>>,
    then: F,
}

impl<T: Send, F: FnOnce(&mut [Vec<u32>], &mut Worker) -> T + Send> Waiting for Waiter<T, F> {
    fn wants(&self) -> bool {
        !self.sender.is_closed()
    }

    fn fail(self: Box<Self>, error: ComputeError) {
        let _ = self.sender.send(Err(error));
    }

    fn deliver(self: Box<Self>, answers: &mut [Vec<u32>], worker: &mut Worker, queued: Duration, begun: Instant) {
        let value = (self.then)(answers, worker);
        let _ = self.sender.send(Ok(Done { value, queued, computed: begun.elapsed() }));
    }
}

/// A round that waits in the queue.
struct Request {
    shares: Shares,
    arrived: Instant,
    started: Arc<AtomicBool>,
    waiting: Box<dyn Waiting>,
}

/// The requests of one round that may be computed at once, by priority.
#[derive(Default)]
pub(crate) struct Gathering([Mutex<VecDeque<Request>>; 2]);

impl Gathering {
    fn of(&self, priority: Priority) -> &Mutex<VecDeque<Request>> {
        &self.0[priority as usize]
    }

    fn take(&self, priority: Priority) -> Vec<Request> {
        let mut waiting = locked(self.of(priority));
        let count = waiting.len().min(MOST_TOGETHER);
        waiting.drain(..count).collect()
    }
}

/// How a round stands in the queue.
pub(crate) struct Turn {
    pub(crate) session: u64,
    pub(crate) priority: Priority,
    /// Set when its computation begins.
    pub(crate) started: Arc<AtomicBool>,
}

impl Turn {
    pub(crate) fn normal(session: u64) -> Turn {
        Turn { session, priority: Priority::Normal, started: Arc::default() }
    }
}

/// Puts round `r` of `model` into the queue; `then` makes of its answers (by layer, bits above the ring
/// unspecified) what is wanted, on the compute thread.
pub(crate) async fn submit<T: Send + 'static>(
    pool: &Pool,
    Turn { session, priority, started }: Turn,
    model: &Arc<Model>,
    r: usize,
    shares: Shares,
    then: impl FnOnce(&mut [Vec<u32>], &mut Worker) -> T + Send + 'static,
) -> Pending<T> {
    let (sender, receiver) = oneshot::channel();
    let arrived = Instant::now();
    let place = pool.place(priority).await;
    let request = Request { shares, arrived, started, waiting: Box::new(Waiter { sender, then }) };
    let model = Arc::clone(model);
    if let Some(gathering) = &model.gatherings[r] {
        // As many jobs as requests: one that finds its own request taken along finds another or nothing.
        locked(gathering.of(priority)).push_back(request);
        place.gathers().enqueue(session, move |worker| {
            let requests = model.gatherings[r].as_ref().map_or_else(Vec::new, |g| g.take(priority));
            serve(&model, r, requests, worker);
        });
    } else {
        place.enqueue(session, move |worker| serve(&model, r, vec![request], worker));
    }
    Pending(receiver)
}

/// Runs a short job for a session, as soon as those before it are done.
pub(crate) async fn finish<T: Send + 'static>(
    pool: &Pool,
    session: u64,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ComputeError> {
    let (sender, receiver) = oneshot::channel();
    pool.place(Priority::Normal).await.enqueue(session, move |_| drop(sender.send(job())));
    receiver.await.map_err(|_| ComputeError::Closed)
}

fn serve(model: &Model, r: usize, requests: Vec<Request>, worker: &mut Worker) {
    let begun = Instant::now();
    let (mut wanted, mut shares) = (Vec::new(), Vec::new());
    for request in requests.into_iter().filter(|r| r.waiting.wants()) {
        request.started.store(true, Relaxed);
        match request.shares.expand(&model.plan, r, worker) {
            Ok(expanded) => {
                shares.push(expanded);
                wanted.push(request);
            }
            Err(error) => request.waiting.fail(error.into()),
        }
    }
    let answers = catch_unwind(AssertUnwindSafe(|| apply(model, r, &shares, worker)));
    for (request, shares) in wanted.iter().zip(shares) {
        request.shares.wipe(shares, worker);
    }
    match answers {
        Ok(answers) => {
            for (request, mut answers) in wanted.into_iter().zip(answers) {
                request.waiting.deliver(&mut answers, worker, begun - request.arrived, begun);
                answers.into_iter().for_each(|a| worker.recycle(a));
            }
        }
        Err(panic) => {
            worker.renew();
            let error = ComputeError::Panicked(message(&*panic));
            wanted.into_iter().for_each(|request| request.waiting.fail(error.clone()));
        }
    }
}

/// The answers to each of `shares`, by layer.
fn apply(model: &Model, r: usize, shares: &[Vec<Vec<u32>>], worker: &mut Worker) -> Vec<Vec<Vec<u32>>> {
    let mut answers: Vec<Vec<Vec<u32>>> = shares.iter().map(|_| Vec::new()).collect();
    if shares.is_empty() {
        return answers;
    }
    for (i, &g) in model.plan.rounds()[r].iter().enumerate() {
        let xs: Vec<&[u32]> = shares.iter().map(|s| s[i].as_slice()).collect();
        for l in model.plan.group(g).layers() {
            let ys = crew::apply(&model.layers[l.index()], &xs, worker);
            answers.iter_mut().zip(ys).for_each(|(answers, y)| answers.push(y));
        }
    }
    answers
}

/// The payload of `ANSWER{r}`; without `exact` low bits are left out (PROTOCOL.md, "Dropped output bits"). What the codec
/// settles on is kept in `encoder` for the session's next answers.
pub(crate) fn encode(
    plan: &Plan,
    r: usize,
    exact: bool,
    answers: &mut [Vec<u32>],
    encoder: &Mutex<Encoder>,
) -> (Codec, Vec<u8>) {
    if !exact {
        for (l, answer) in plan.round_layers(r).zip(answers.iter_mut()) {
            let (f, keep) = (plan.drop_bits(l), mask(plan.k_of(l)));
            answer.iter_mut().for_each(|z| *z = (*z & keep) >> f);
        }
    }
    let widths = if exact { plan.answer_parts(r) } else { plan.answer_parts_dropped(r) };
    let parts: Vec<(&[u32], u32)> = answers.iter().zip(widths).map(|(a, (_, width))| (a.as_slice(), width)).collect();
    // Encoded outside the lock: other inferences of the session need not wait for this one.
    let mut settling = locked(encoder).clone();
    let encoded = settling.encode(&parts);
    *locked(encoder) = settling;
    encoded
}

/// Edge A: `z_A + T`, packed (PROTOCOL.md, "One inference, mode `relay`").
pub(crate) fn correction(plan: &Plan, r: usize, masks: &Masks, z: &mut [Vec<u32>], worker: &mut Worker) -> Vec<u8> {
    let key = Key::for_corrections(masks.prf.algorithm(), &masks.seed.0, masks.counter);
    for (l, z) in plan.round_layers(r).zip(z.iter_mut()) {
        let mut t = worker.buffer(z.len());
        key.fill(l.into(), plan.k_of(l), &mut t);
        z.iter_mut().zip(&t).for_each(|(z, t)| *z = z.wrapping_add(*t));
        t.as_mut_slice().zeroize();
        worker.recycle(t);
    }
    let parts: Vec<(&[u32], u32)> = z.iter().zip(plan.answer_parts(r)).map(|(z, (_, k))| (z.as_slice(), k)).collect();
    payload::encode(&parts, Codec::Packed)
}

/// Edge B: adds a correction to `W·v`.
///
/// # Errors
/// A payload that does not hold the round's answers.
pub(crate) fn add_correction(plan: &Plan, r: usize, z: &mut [Vec<u32>], payload: &[u8]) -> Result<(), WireError> {
    payload::add_packed(payload, &plan.answer_parts(r), z)
}

/// What the locks of this crate guard is replaced as a whole, so a panic elsewhere leaves nothing half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
