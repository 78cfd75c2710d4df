//! Rounds: shares in, answers out. A round of fully connected layers is computed for all who wait for it at once, so
//! that its weights are read once.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use twinmask_codec::RoundId;
use twinmask_model::bundle::Digest;
use twinmask_wire::WireError;

use crate::budget::Device;
use crate::compute::parallel;
use crate::compute::pool::{Pool, Priority, Worker, message};
use crate::compute::shares::Shares;
use crate::lock::{Mutex, locked};
use crate::models::Model;

/// Most requests that are computed at once.
const MOST_TOGETHER: usize = 16;

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

/// Rounds that may be computed at once: of one model, round and priority.
type Kind = (Digest, RoundId, Priority);

/// Requests of rounds that are computed for all who wait for them.
#[derive(Default)]
struct Gathering(Mutex<HashMap<Kind, VecDeque<Request>>>);

impl Gathering {
    fn add(&self, kind: Kind, request: Request) {
        locked(&self.0).entry(kind).or_default().push_back(request);
    }

    fn take(&self, kind: &Kind) -> Vec<Request> {
        let mut kinds = locked(&self.0);
        let Some(waiting) = kinds.get_mut(kind) else { return Vec::new() };
        let count = waiting.len().min(MOST_TOGETHER);
        let taken = waiting.drain(..count).collect();
        if waiting.is_empty() {
            kinds.remove(kind);
        }
        taken
    }
}

/// How a round stands in the queue.
pub(crate) struct Turn {
    pub(crate) device: Device,
    pub(crate) priority: Priority,
    /// Set when its computation begins.
    pub(crate) started: Arc<AtomicBool>,
}

impl Turn {
    pub(crate) fn normal(device: &Device) -> Turn {
        Turn { device: Arc::clone(device), priority: Priority::Normal, started: Arc::default() }
    }
}

/// The compute threads of an edge, and the rounds that wait for them.
pub(crate) struct Queue {
    pool: Pool,
    gathering: Arc<Gathering>,
}

impl Queue {
    /// With as many threads of each priority, and `places` for rounds that wait.
    ///
    /// # Panics
    /// If the system gives no threads.
    pub(crate) fn new(threads: NonZeroUsize, places: NonZeroUsize) -> Queue {
        Queue { pool: Pool::new(threads, places), gathering: Arc::default() }
    }

    /// Whether a further urgent round would have to wait for a place.
    pub(crate) fn is_full(&self) -> bool {
        self.pool.is_full()
    }

    /// Puts round `r` of `model` into the queue; `then` makes of its answers (by layer, bits above the ring
    /// unspecified) what is wanted, on the compute thread.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        Turn { device, priority, started }: Turn,
        model: &Arc<Model>,
        r: RoundId,
        shares: Shares,
        then: impl FnOnce(&mut [Vec<u32>], &mut Worker) -> T + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let arrived = Instant::now();
        let place = self.pool.place(priority).await;
        let request = Request { shares, arrived, started, waiting: Box::new(Waiter { sender, then }) };
        let model = Arc::clone(model);
        if model.gathers[r.index()] {
            // As many jobs as requests: one that finds its own request taken along finds another or nothing.
            let (kind, gathering) = ((model.digest, r, priority), Arc::clone(&self.gathering));
            gathering.add(kind, request);
            place.gathers().enqueue(device, move |worker| serve(&model, r, gathering.take(&kind), worker));
        } else {
            place.enqueue(device, move |worker| serve(&model, r, vec![request], worker));
        }
        Pending(receiver)
    }

    /// Runs a short job for a device, as soon as those before it are done; not at all, if nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        device: &Device,
        job: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<Done<T>, ComputeError> {
        let (sender, receiver) = oneshot::channel();
        let arrived = Instant::now();
        let job = move |worker: &mut Worker| {
            if sender.is_closed() {
                return;
            }
            let begun = Instant::now();
            let value = catch_unwind(AssertUnwindSafe(|| job(worker))).map_err(|panic| {
                worker.renew();
                ComputeError::Panicked(message(&*panic))
            });
            let done = |value| Done { value, queued: begun - arrived, computed: begun.elapsed() };
            let _ = sender.send(value.map(done));
        };
        self.pool.place(Priority::Normal).await.enqueue(Arc::clone(device), job);
        receiver.await.unwrap_or(Err(ComputeError::Closed))
    }
}

fn serve(model: &Model, r: RoundId, requests: Vec<Request>, worker: &mut Worker) {
    let begun = Instant::now();
    let (mut wanted, mut shares) = (Vec::new(), Vec::new());
    for mut request in requests.into_iter().filter(|r| r.waiting.wants()) {
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
fn apply(model: &Model, r: RoundId, shares: &[Vec<Vec<u32>>], worker: &mut Worker) -> Vec<Vec<Vec<u32>>> {
    let mut answers: Vec<Vec<Vec<u32>>> = shares.iter().map(|_| Vec::new()).collect();
    if shares.is_empty() {
        return answers;
    }
    for (i, &g) in model.plan.round(r).iter().enumerate() {
        let xs: Vec<&[u32]> = shares.iter().map(|s| s[i].as_slice()).collect();
        for l in model.plan.group(g).layers() {
            let ys = parallel::apply(&model.layers[l.index()], &xs, worker);
            answers.iter_mut().zip(ys).for_each(|(answers, y)| answers.push(y));
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_wire::Codec;

    struct Nobody;

    impl Waiting for Nobody {
        fn wants(&self) -> bool {
            false
        }
        fn fail(self: Box<Self>, _: ComputeError) {}
        fn deliver(self: Box<Self>, _: &mut [Vec<u32>], _: &mut Worker, _: Duration, _: Instant) {}
    }

    #[test]
    fn requests_of_one_kind_gather_and_leave_nothing_behind() {
        let request = |_| Request {
            shares: Shares::Uploaded { codec: Codec::Packed, payload: Vec::new() },
            arrived: Instant::now(),
            started: Arc::default(),
            waiting: Box::new(Nobody),
        };
        let gathering = Gathering::default();
        let kinds = [(0, Priority::Normal), (1, Priority::Normal), (0, Priority::Low)];
        let kinds = kinds.map(|(r, priority)| ([1; 32], RoundId::new(r), priority));
        for kind in kinds {
            (0..MOST_TOGETHER + 3).map(request).for_each(|r| gathering.add(kind, r));
        }
        for kind in kinds {
            for taken in [MOST_TOGETHER, 3, 0] {
                assert_eq!(gathering.take(&kind).len(), taken);
            }
        }
        assert!(locked(&gathering.0).is_empty());
    }
}
