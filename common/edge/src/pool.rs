//! The compute threads: a fixed number, one bounded queue, first in, first out. A job that finds other threads idle may
//! call them in ([`Worker::call_in`]) to divide its work.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use twinmask_gemm::{Input, Scratch};

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A job was not computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("a computation panicked: {0}")]
    Panicked(String),
    #[error("the compute threads have ended")]
    Closed,
}

/// What a job gave, and how long it took.
pub(crate) struct Done<T> {
    pub(crate) value: T,
    /// Time in the queue.
    pub(crate) queued: Duration,
    /// Time on the thread.
    pub(crate) computed: Duration,
}

/// One thread's own: buffers that jobs reuse, and the way to the other threads.
pub(crate) struct Worker {
    pub(crate) scratch: Scratch,
    /// Spare for layers that several threads compute.
    pub(crate) input: Input,
    jobs: mpsc::WeakSender<Job>,
    idle: Arc<AtomicUsize>,
}

impl Worker {
    /// Threads that have nothing to do just now.
    pub(crate) fn idle(&self) -> usize {
        self.idle.load(Relaxed)
    }

    /// Has up to `threads` others run `help` as soon as they can, if there is room in the queue. Does not wait, and
    /// whoever calls must not count on them: they may come late or not at all.
    pub(crate) fn call_in(&self, threads: usize, help: impl Fn(&mut Worker) + Clone + Send + 'static) {
        let Some(jobs) = self.jobs.upgrade() else { return };
        for _ in 0..threads {
            if jobs.try_send(Box::new(help.clone())).is_err() {
                return;
            }
        }
    }
}

/// The compute threads of an edge; they end when this is dropped.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
}

impl Pool {
    /// # Panics
    /// If the system gives no threads.
    pub(crate) fn new(threads: NonZeroUsize, queue: NonZeroUsize) -> Pool {
        let (jobs, queue) = mpsc::channel(queue.get());
        let queue = Arc::new(Mutex::new(queue));
        let idle = Arc::new(AtomicUsize::new(0));
        for i in 0..threads.get() {
            let worker = Worker {
                scratch: Scratch::default(),
                input: Input::default(),
                jobs: jobs.downgrade(),
                idle: Arc::clone(&idle),
            };
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(format!("compute-{i}"));
            thread.spawn(move || work(worker, &queue)).expect("the system gives an edge its compute threads at start");
        }
        Pool { jobs }
    }

    /// Whether a further job would have to wait for a place in the queue.
    pub(crate) fn is_full(&self) -> bool {
        self.jobs.capacity() == 0
    }

    /// Puts a job into the queue as soon as there is a place; the receiver gets its result.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let arrived = Instant::now();
        let job = move |worker: &mut Worker| {
            if sender.is_closed() {
                return; // whoever asked for it is gone
            }
            let queued = arrived.elapsed();
            let begun = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| job(worker)));
            if result.is_err() {
                worker.scratch = Scratch::default();
                worker.input = Input::default();
            }
            let done = result.map(|value| Done { value, queued, computed: begun.elapsed() });
            let _ = sender.send(done.map_err(|panic| PoolError::Panicked(message(&*panic))));
        };
        // An error would mean that no thread is left: the receiver then says so.
        let _ = self.jobs.send(Box::new(job)).await;
        Pending(receiver)
    }
}

/// A job that was submitted.
pub(crate) struct Pending<T>(oneshot::Receiver<Result<Done<T>, PoolError>>);

impl<T> Pending<T> {
    pub(crate) async fn done(self) -> Result<Done<T>, PoolError> {
        self.0.await.unwrap_or(Err(PoolError::Closed))
    }
}

fn work(mut worker: Worker, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        worker.idle.fetch_add(1, Relaxed);
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        worker.idle.fetch_sub(1, Relaxed);
        match job {
            Some(job) => job(&mut worker),
            None => return,
        }
    }
}

/// The text of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize, queue: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).expect("positive"), NonZeroUsize::new(queue).expect("positive"))
    }

    #[tokio::test]
    async fn a_panic_ends_its_job_only() {
        let pool = pool(1, 4);
        let panicked = pool.submit(|_| -> u32 { panic!("job {}", 7) }).await.done().await;
        assert_eq!(panicked.err(), Some(PoolError::Panicked("job 7".into())));
        assert_eq!(pool.submit(|_| 8).await.done().await.expect("runs").value, 8);
    }

    #[tokio::test]
    async fn jobs_run_in_order_and_the_queue_is_bounded() {
        let pool = pool(1, 2);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let first = pool
            .submit(move |_| {
                let _ = started.send(());
                wait.recv()
            })
            .await;
        has_started.await.expect("starts");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut rest = Vec::new();
        for i in 0..2 {
            assert!(!pool.is_full());
            let order = Arc::clone(&order);
            rest.push(pool.submit(move |_| order.lock().expect("no panic").push(i)).await);
        }
        assert!(pool.is_full());
        go.send(()).expect("the first job waits");
        first.done().await.expect("runs").value.expect("was told to go");
        for job in rest {
            job.done().await.expect("runs");
        }
        assert_eq!(*order.lock().expect("no panic"), [0, 1]);
    }
}
