//! The compute threads: a fixed number of them for what somebody waits for, and as many of the lowest scheduling
//! priority for what is computed ahead of time, which so takes only what the machine has left. Each kind has a bounded
//! queue, in which devices take turns. A job that finds other threads idle may call them in ([`Worker::call_in`]) to
//! divide its work.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use twinmask_kernels::{Input, Scratch};

use crate::budget::Device;
use crate::lock::thread::{self, Thread};
use crate::lock::{Mutex, MutexGuard, locked};

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Buffers that a worker keeps for the next job.
const SPARES: usize = 8;
/// Time without a job after which it lets go of them.
const KEEP: Duration = Duration::from_secs(10);

/// Jobs of others that are done before one that gathers: about as many as may gather.
pub(super) const MOST_PASSED: usize = 16;

/// How urgent a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Priority {
    /// Somebody waits for it.
    Normal,
    /// Computed ahead of time.
    Low,
}

/// One thread's own: buffers that jobs reuse, and the way to the other threads.
pub(crate) struct Worker {
    pub(crate) scratch: Scratch,
    /// Spare for layers that several threads compute.
    pub(crate) input: Input,
    spares: Vec<Vec<u32>>,
    priority: Priority,
    shared: Arc<Shared>,
}

impl Worker {
    /// A buffer of `len` elements of unspecified content.
    pub(crate) fn buffer(&mut self, len: usize) -> Vec<u32> {
        let mut buffer = self.spares.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Keeps a buffer that is done with; what is secret in it has been wiped.
    pub(crate) fn recycle(&mut self, buffer: Vec<u32>) {
        if self.spares.len() < SPARES {
            self.spares.push(buffer);
        }
    }

    /// Threads that have nothing to do just now and may be called in; none by work that nobody waits for.
    pub(crate) fn idle(&self) -> usize {
        match self.priority {
            Priority::Normal => locked(&self.shared.queues).idle[Priority::Normal as usize].len(),
            Priority::Low => 0,
        }
    }

    /// Has up to `threads` others run `help` as soon as they can. Does not wait, and whoever calls must not count on
    /// them: they may come late or not at all.
    pub(crate) fn call_in(&self, threads: usize, help: impl Fn(&mut Worker) + Clone + Send + 'static) {
        for _ in 0..threads {
            let mut queues = locked(&self.shared.queues);
            if queues.help.len() >= self.shared.threads {
                queues.help.pop_front(); // nobody came, and by now it is hardly of use
            }
            queues.help.push_back(Box::new(help.clone()));
            wake(queues, Priority::Normal);
        }
    }

    /// Lets go of all buffers: after a panic, in which they may have been left half done, or when there are no jobs.
    pub(crate) fn renew(&mut self) {
        self.scratch = Scratch::default();
        self.input = Input::default();
        self.spares.clear();
    }
}

/// A job that waits, and its place in the queue.
struct Queued {
    job: Job,
    gathers: bool,
    _place: OwnedSemaphorePermit,
}

/// Jobs by device; devices take turns, whatever the number of their sessions.
#[derive(Default)]
struct Turns {
    /// Devices with jobs, the one whose turn it is in front.
    devices: VecDeque<Device>,
    jobs: HashMap<Device, VecDeque<Queued>>,
    /// Jobs that were done before one that gathers though it was that one's turn.
    passed: usize,
}

impl Turns {
    fn push(&mut self, device: Device, queued: Queued) {
        let jobs = self.jobs.entry(Arc::clone(&device)).or_default();
        if jobs.is_empty() {
            self.devices.push_back(device);
        }
        jobs.push_back(queued);
    }

    /// The next job; its place in the queue is free at once.
    fn pop(&mut self) -> Option<Job> {
        let gathers = |device| self.jobs.get(device).and_then(VecDeque::front).is_some_and(|q| q.gathers);
        let other = self.devices.iter().position(|device| !gathers(device));
        let at = other.filter(|_| self.passed < MOST_PASSED).unwrap_or(0);
        let device = self.devices.remove(at)?;
        let jobs = self.jobs.get_mut(&device)?;
        let Queued { job, gathers, .. } = jobs.pop_front()?;
        self.passed = if gathers { 0 } else { self.passed + usize::from(at > 0) };
        if jobs.is_empty() {
            self.jobs.remove(&device);
        } else {
            self.devices.push_back(device);
        }
        Some(job)
    }
}

#[derive(Default)]
struct Queues {
    normal: Turns,
    low: Turns,
    /// Of jobs that run already; never more than there are threads.
    help: VecDeque<Job>,
    /// By priority, the last to have become idle at the end: its caches are the warmest.
    idle: [Vec<Thread>; 2],
    closed: bool,
}

impl Queues {
    fn next(&mut self, priority: Priority) -> Option<Job> {
        match priority {
            Priority::Normal => self.help.pop_front().or_else(|| self.normal.pop()),
            Priority::Low => self.low.pop(),
        }
    }
}

/// Wakes an idle thread; if all are busy, the first that is done looks for jobs anyway. The lock is given back before,
/// since the thread would take the processor only to wait for it.
fn wake(mut queues: MutexGuard<'_, Queues>, priority: Priority) {
    let idle = queues.idle[priority as usize].pop();
    drop(queues);
    if let Some(thread) = idle {
        thread.unpark();
    }
}

struct Shared {
    queues: Mutex<Queues>,
    threads: usize,
}

/// The compute threads of an edge; they end when this is dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Places in the queues.
    normal: Arc<Semaphore>,
    low: Arc<Semaphore>,
}

impl Pool {
    /// # Panics
    /// If the system gives no threads.
    pub(crate) fn new(threads: NonZeroUsize, queue: NonZeroUsize) -> Pool {
        let shared = Arc::new(Shared { queues: Mutex::default(), threads: threads.get() });
        let own = own_processors(threads.get());
        for i in 0..threads.get() {
            for (priority, name) in [(Priority::Normal, "compute"), (Priority::Low, "ahead")] {
                let worker = Worker {
                    scratch: Scratch::default(),
                    input: Input::default(),
                    spares: Vec::new(),
                    priority,
                    shared: Arc::clone(&shared),
                };
                let thread = thread::Builder::new().name(format!("{name}-{i}"));
                let processor = own.get(i).copied().filter(|_| priority == Priority::Normal);
                let begin = move || {
                    // What shuttle calls threads is one thread, that of its test.
                    if cfg!(not(feature = "shuttle")) {
                        processor.into_iter().for_each(stay_on);
                        if priority == Priority::Low {
                            yield_to_others();
                        }
                    }
                    work(worker);
                };
                thread.spawn(begin).expect("the system gives an edge its compute threads at start");
            }
        }
        let places = || Arc::new(Semaphore::new(queue.get()));
        Pool { shared, normal: places(), low: places() }
    }

    /// Whether a further urgent job would have to wait for a place in the queue.
    pub(crate) fn is_full(&self) -> bool {
        self.normal.available_permits() == 0
    }

    /// Threads that wait for urgent jobs.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        locked(&self.shared.queues).idle[Priority::Normal as usize].len()
    }

    /// Waits for a place in the queue of this priority.
    pub(crate) async fn place(&self, priority: Priority) -> Place<'_> {
        let places = match priority {
            Priority::Normal => &self.normal,
            Priority::Low => &self.low,
        };
        let permit = Arc::clone(places).acquire_owned().await.expect("nobody closes the semaphores");
        Place { pool: self, priority, gathers: false, permit }
    }
}

/// A place in a queue.
pub(crate) struct Place<'a> {
    pool: &'a Pool,
    priority: Priority,
    gathers: bool,
    permit: OwnedSemaphorePermit,
}

impl Place<'_> {
    /// For a job that does together what others of its kind are to do: the later its turn, the more have gathered, so a
    /// few jobs of other devices are done first.
    pub(crate) fn gathers(self) -> Self {
        Self { gathers: true, ..self }
    }

    /// Puts a job of `device` there.
    pub(crate) fn enqueue(self, device: Device, job: impl FnOnce(&mut Worker) + Send + 'static) {
        let mut queues = locked(&self.pool.shared.queues);
        let turns = match self.priority {
            Priority::Normal => &mut queues.normal,
            Priority::Low => &mut queues.low,
        };
        turns.push(device, Queued { job: Box::new(job), gathers: self.gathers, _place: self.permit });
        wake(queues, self.priority);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queues = locked(&self.shared.queues);
        let left = std::mem::take(&mut *queues);
        queues.closed = true;
        drop(queues); // jobs may hold what takes the lock when dropped
        left.idle.iter().flatten().for_each(Thread::unpark);
    }
}

/// A processor for each of several threads, if there are just as many: else none, and the system places them. It wakes
/// a second thread on the processor of the first when the other one seems busy, and leaves it there for the time of a
/// layer.
fn own_processors(threads: usize) -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&i| allowed.is_set(i)).collect();
    if threads > 1 && processors.len() == threads { processors } else { Vec::new() }
}

/// Keeps this thread on one processor; where the system refuses, it is placed as others are.
fn stay_on(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(%error, processor, "a compute thread has no processor of its own");
    }
}

/// Has this thread run only when no other wants the processor. A low nice value alone would let it go on for
/// milliseconds when somebody wakes up who is waited for. Where the system refuses, work ahead of time merely competes.
fn yield_to_others() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(%error, "no scheduling policy for work ahead of time, which competes with what is waited for");
    }
}

fn work(mut worker: Worker) {
    let shared = Arc::clone(&worker.shared);
    while let Some(job) = next(&shared, &mut worker) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(&mut worker))) {
            worker.renew();
            tracing::error!(panic = message(&*panic), "a job panicked");
        }
    }
}

fn next(shared: &Shared, worker: &mut Worker) -> Option<Job> {
    let (own, priority) = (thread::current(), worker.priority);
    let begun = Instant::now();
    let mut keeps = true;
    loop {
        let mut queues = locked(&shared.queues);
        let idle = &mut queues.idle[priority as usize];
        idle.retain(|thread| thread.id() != own.id()); // it may have woken up of itself
        if queues.closed {
            return None;
        }
        let job = queues.next(priority);
        if job.is_some() {
            return job;
        }
        queues.idle[priority as usize].push(own.clone());
        drop(queues);
        if keeps {
            thread::park_timeout(KEEP);
            if begun.elapsed() >= KEEP {
                worker.renew();
                keeps = false;
            }
        } else {
            thread::park();
        }
    }
}

/// The text of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").to_owned()
}
