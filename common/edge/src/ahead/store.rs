//! What is ahead of the inferences of one session, and what comes next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use twinmask_codec::{Counter, RoundId};
use twinmask_wire::Codec;
use twinmask_wire::session::WINDOW;
use zeroize::Zeroizing;

use crate::budget::{Budget, COUNTERS_AHEAD, Device, Grant};
use crate::compute::payloads::Payload;
use crate::compute::pool::Priority;
use crate::compute::queue::{ComputeError, Done};
use crate::lock::{Mutex, locked};
use crate::models::Lengths;
use crate::relay::outbox::Outbox;

/// Counters above the highest claimed one, when more inferences than that run at a time.
const COUNTERS_SPARE: u64 = 2;
/// Counters of a session that has not begun any inference yet.
const COUNTERS_AT_FIRST: u64 = 2;

/// Time that an inference waits for what was begun at the lowest priority, before it is computed anew: on a machine
/// that has no time left it may not be done for long.
const PATIENCE: Duration = Duration::from_millis(5);

/// What inferences of a session want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Answers, with or without their low bits.
    Split { exact: bool },
    /// Corrections at edge B.
    Relay,
}

/// Where a session begins.
const FIRST: Place = (Counter::new(0), RoundId::new(0));

/// A round of an inference.
type Place = (Counter, RoundId);

/// What one session has ahead.
pub(crate) struct Ahead {
    state: Mutex<State>,
    /// Something may be computed that was not to be before, or no longer.
    changed: Notify,
    /// What was being computed is done or given up.
    settled: Notify,
    /// The way to edge B, in sessions that it was introduced to.
    pub(crate) outbox: Option<Outbox>,
    device: Device,
    /// Room for what is ahead.
    budget: Arc<Budget>,
    /// By round of the session's model.
    lengths: Arc<[Lengths]>,
    /// Time without any inference after which all that is ahead is given back.
    rest: Duration,
}

struct State {
    want: Want,
    /// One above the highest counter claimed or prefetched.
    claimed: Counter,
    /// One above the highest counter begun.
    begun: Counter,
    /// One above the highest counter whose inference is over.
    finished: Counter,
    /// Counters, from the oldest on, whose answers are computed on demand.
    settled: BTreeSet<Counter>,
    /// Counters, from the oldest on, whose inference is over.
    over: BTreeSet<Counter>,
    /// Inferences that run.
    running: usize,
    /// When one was claimed, began or ended last.
    active: Instant,
    /// Whether nothing is computed until the next one is claimed or begins.
    resting: bool,
    /// Where answers and corrections go on; corrections never go back, as each may be sent once.
    answers: Place,
    corrections: Place,
    current: Option<Current>,
    ready: BTreeMap<Place, Ready>,
    /// Rounds that were looked at for the last task.
    #[cfg(test)]
    looked: usize,
}

/// What is being computed.
struct Current {
    at: Place,
    started: Arc<AtomicBool>,
    cancelled: bool,
}

struct Ready {
    codec: Codec,
    /// Wiped unless it is sent.
    payload: Zeroizing<Vec<u8>>,
    _grant: Grant,
}

/// One round to compute.
pub(crate) struct Task {
    pub(crate) at: Place,
    pub(crate) want: Want,
    pub(crate) priority: Priority,
    grant: Grant,
}

impl Ahead {
    /// Of a session of `device` whose rounds have these `lengths`.
    pub(crate) fn new(
        outbox: Option<Outbox>,
        device: &Device,
        budget: &Arc<Budget>,
        lengths: &Arc<[Lengths]>,
        rest: Duration,
    ) -> Ahead {
        let state = State {
            want: if outbox.is_some() { Want::Relay } else { Want::Split { exact: true } },
            claimed: Counter::new(0),
            begun: Counter::new(0),
            finished: Counter::new(0),
            settled: BTreeSet::new(),
            over: BTreeSet::new(),
            running: 0,
            active: Instant::now(),
            resting: false,
            answers: FIRST,
            corrections: FIRST,
            current: None,
            ready: BTreeMap::new(),
            #[cfg(test)]
            looked: 0,
        };
        Ahead {
            state: Mutex::new(state),
            changed: Notify::new(),
            settled: Notify::new(),
            outbox,
            device: Arc::clone(device),
            budget: Arc::clone(budget),
            lengths: Arc::clone(lengths),
            rest,
        }
    }

    /// `c` was claimed or prefetched. As all counters that come here it was accepted before: within a window of the
    /// highest, once.
    pub(crate) fn claim(&self, c: Counter) {
        let mut state = locked(&self.state);
        state.claimed = state.claimed.max(c.next());
        state.wake();
        drop(state);
        self.changed.notify_one();
    }

    /// The inference `c` has begun. From here on it computes its answers itself, but for those that are there.
    pub(crate) fn begin(&self, c: Counter, want: Want) {
        let mut state = locked(&self.state);
        state.begun = state.begun.max(c.next());
        state.running += 1;
        state.wake();
        if want != Want::Relay {
            state.settled.insert(c);
        }
        let oldest = state.oldest();
        state.settled = state.settled.split_off(&oldest);
        state.over = state.over.split_off(&oldest);
        let unclaimed = state.begun.saturating_sub(WINDOW / 2);
        state.ready.retain(|&(c, _), _| c >= unclaimed);
        if state.want != want {
            // The device has changed its mode: what was made for the other is of no use.
            state.want = want;
            state.ready.clear();
            state.answers = (c.next(), RoundId::new(0));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The inference `c`, which has begun, is over, however it ended.
    pub(crate) fn end(&self, c: Counter) {
        let mut state = locked(&self.state);
        state.over.insert(c);
        state.finished = state.finished.max(c.next());
        state.running -= 1;
        state.wake();
        state.ready.retain(|&(of, _), _| of != c);
        drop(state);
        if let Some(outbox) = &self.outbox {
            outbox.withdraw(c);
        }
        self.changed.notify_one();
    }

    /// The answer `(c, r)` if it is there or just being computed; else it will not come from here.
    pub(crate) async fn take(&self, c: Counter, r: RoundId, want: Want) -> Option<Payload> {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable(); // from here on nothing is missed
            {
                let mut state = locked(&self.state);
                if let Some(ready) = state.ready.remove(&(c, r)) {
                    self.changed.notify_one();
                    let Ready { codec, mut payload, .. } = ready;
                    return Some((codec, std::mem::take(&mut *payload)));
                }
                let same = state.want == want;
                let current = state.current.as_mut().filter(|current| same && current.at == (c, r))?;
                if !current.started.load(Relaxed) {
                    current.cancelled = true;
                    self.changed.notify_one();
                    return None;
                }
            }
            settled.await;
        }
    }

    /// Waits for something to compute. Cancel safe.
    pub(crate) async fn task(&self) -> Task {
        loop {
            let mut freed = std::pin::pin!(self.budget.freed().notified());
            freed.as_mut().enable(); // from here on nothing is missed
            let (next, rest) = {
                let mut state = locked(&self.state);
                if state.rest_due(self.rest).is_some_and(|due| due <= Instant::now()) {
                    state.rest();
                    self.outbox.iter().for_each(Outbox::rest);
                }
                (state.next(&self.lengths, self.outbox.as_ref()), state.rest_due(self.rest))
            };
            if let Some((at, want, priority)) = next
                && let Some(grant) = self.budget.reserve(&self.device, self.lengths[at.1.index()].answer)
            {
                return Task { at, want, priority, grant };
            }
            tokio::select! {
                () = &mut freed, if next.is_some() => {}
                () = self.changed.notified() => {}
                () = at(rest) => {}
                () = down(self.outbox.as_ref()) => {}
            }
        }
    }

    /// The computation of `task` is in the queue; `started` tells when it begins.
    pub(crate) fn computes(&self, task: &Task, started: Arc<AtomicBool>) {
        let ((c, r), mut state) = (task.at, locked(&self.state));
        match task.want {
            Want::Relay => state.corrections = (c, r.next()),
            Want::Split { .. } => state.answers = (c, r.next()),
        }
        state.current = Some(Current { at: task.at, started, cancelled: false });
    }

    /// Takes in what became of `task`: its payload, or nothing if it was given up.
    pub(crate) fn computed(&self, mut task: Task, done: Option<Result<Done<Payload>, ComputeError>>) {
        let ((c, r), mut state) = (task.at, locked(&self.state));
        let cancelled = state.current.take().is_none_or(|current| current.cancelled);
        match done {
            Some(Ok(done)) if !cancelled && !state.is_done(c) => {
                let (codec, payload) = done.value;
                task.grant.shrink(payload.len());
                match (task.want, &self.outbox) {
                    (Want::Relay, Some(outbox)) => outbox.push(c, r, payload, task.grant),
                    _ if state.want == task.want => {
                        let payload = Zeroizing::new(payload);
                        state.ready.insert(task.at, Ready { codec, payload, _grant: task.grant });
                    }
                    _ => {}
                }
            }
            Some(Err(error)) => tracing::error!(%error, "a round could not be computed ahead of time"),
            // Once more, and now not at the lowest priority.
            None if task.want == Want::Relay => state.corrections = state.corrections.min(task.at),
            _ => {}
        }
        drop(state);
        self.settled.notify_waiters();
    }

    /// Entries of all that is kept, and rounds that were looked at for the last task.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        let state = locked(&self.state);
        (state.settled.len() + state.over.len() + state.ready.len(), state.looked)
    }

    /// Edge B has room for further bytes, or has taken back what it granted.
    pub(crate) fn credit(&self, outbox: &Outbox, bytes: u32) {
        outbox.credit(bytes);
        self.changed.notify_one();
    }

    /// Waits until what is being computed is no longer of use, or is waited for and does not get on. Cancel safe.
    pub(crate) async fn given_up(&self, priority: Priority) {
        let mut due = None;
        loop {
            let rest;
            {
                let state = locked(&self.state);
                rest = state.rest_due(self.rest);
                let Some(current) = state.current.as_ref().filter(|current| !current.cancelled) else { return };
                if priority == Priority::Low && current.at.0 < state.claimed {
                    let patience = if current.started.load(Relaxed) { PATIENCE } else { Duration::ZERO };
                    due.get_or_insert_with(|| Instant::now() + patience);
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = at(due) => return,
                () = at(rest) => return,
            }
        }
    }
}

/// Waits until then, if ever.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Waits until the way to edge B has ended.
async fn down(outbox: Option<&Outbox>) {
    match outbox {
        Some(outbox) if outbox.is_up() => outbox.ended().await,
        _ => std::future::pending().await,
    }
}

impl State {
    /// The lowest counter that is kept account of.
    fn oldest(&self) -> Counter {
        self.begun.saturating_sub(2 * WINDOW)
    }

    /// Whether nothing of `c` is to be computed ahead any more.
    fn is_done(&self, c: Counter) -> bool {
        c < self.oldest() || self.over.contains(&c) || self.settled.contains(&c)
    }

    fn wake(&mut self) {
        (self.active, self.resting) = (Instant::now(), false);
    }

    /// When to rest, after this time without any inference.
    fn rest_due(&self, after: Duration) -> Option<Instant> {
        (self.running == 0 && !self.resting).then(|| self.active + after)
    }

    /// Lets go of what is ahead. What edge B has got of it is gone there too, so it is computed and sent anew, the same
    /// bytes; counters that were claimed before and have not begun since are done without.
    fn rest(&mut self) {
        self.resting = true;
        self.ready.clear();
        let from = (self.claimed.max(self.begun), RoundId::new(0));
        (self.answers, self.corrections) = (from, from);
    }

    /// The next round to compute, and moves on to it. Looks at no more counters than may begin or are kept account of.
    fn next(&mut self, lengths: &[Lengths], outbox: Option<&Outbox>) -> Option<(Place, Want, Priority)> {
        let at_first = self.begun == Counter::new(0);
        let horizon = if at_first {
            Counter::new(COUNTERS_AT_FIRST).max(self.claimed)
        } else {
            let ahead = self.finished.saturating_add(COUNTERS_AHEAD);
            ahead.max(self.claimed.saturating_add(COUNTERS_SPARE))
        };
        let horizon = horizon.min(self.begun.saturating_add(WINDOW));
        let relay = self.want == Want::Relay;
        // Of what can be sent; nothing is skipped while there is no credit at all.
        let most = if relay { outbox.filter(|o| o.is_up()).map_or(0, Outbox::most) } else { usize::MAX };
        if self.resting || most == 0 {
            return None;
        }
        let from = if relay { self.corrections } else { self.answers };
        let (mut c, mut r) = from.max((self.oldest(), RoundId::new(0)));
        #[cfg(test)]
        (self.looked = 0);
        while c < horizon {
            #[cfg(test)]
            (self.looked += 1);
            match lengths.get(r.index()).filter(|_| !self.is_done(c)) {
                None => (c, r) = (c.next(), RoundId::new(0)),
                Some(at) if at.correction <= most => break,
                Some(_) => r = r.next(),
            }
        }
        *(if relay { &mut self.corrections } else { &mut self.answers }) = (c, r);
        // Corrections of an inference that runs are waited for.
        let priority = if relay && c < self.claimed { Priority::Normal } else { Priority::Low };
        (c < horizon).then_some(((c, r), self.want, priority))
    }
}
