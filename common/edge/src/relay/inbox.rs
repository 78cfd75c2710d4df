//! Edge B's corrections of each session (PROTOCOL.md, "One inference, mode `relay`"), without I/O: what edge A may
//! send, what is held, and what is told to whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use twinmask_codec::{Counter, RoundId};
use twinmask_wire::WireError;
use twinmask_wire::message::RelayOpen;
use twinmask_wire::session::WINDOW;

use crate::budget::{Budget, COUNTERS_AHEAD, Device, Grant};
use crate::lock::{Mutex, locked};

/// The corrections of one session at edge B.
pub(crate) struct CorrectionInbox {
    /// What edge A must say.
    facts: RelayOpen,
    /// Bytes of the correction of each round.
    lengths: Vec<usize>,
    /// Where room for corrections comes from, for whom, and how much of it at most.
    budget: Arc<Budget>,
    device: Device,
    most: usize,
    state: Mutex<State>,
    /// A correction has come, or can no longer come.
    arrived: Notify,
    /// There is credit to be told of, or the session is over.
    owing: Notify,
}

#[derive(Default)]
struct State {
    introduced: bool,
    /// Whether edge A is there.
    up: bool,
    closed: bool,
    /// What is set aside for this session, from when edge A is there or an inference begins to when edge A rests.
    grant: Option<Grant>,
    /// Times that edge A has given its credit back and is to be told that this was heard.
    rests: usize,
    /// Bytes that edge A may still send.
    credit: usize,
    /// Bytes that have room again and that edge A has not been told of.
    owed: usize,
    /// One above the highest counter that was begun.
    next: Counter,
    /// Counters within the window whose inference is over: what comes for them is discarded.
    over: BTreeSet<Counter>,
    /// Those that have begun, or that corrections have come for; none of them over.
    inferences: BTreeMap<Counter, Inference>,
}

#[derive(Default)]
struct Inference {
    /// Whether it has begun.
    runs: bool,
    /// Bytes that have room again, and that edge A is told of when the inference is over.
    kept: usize,
    rounds: BTreeMap<RoundId, Round>,
}

enum Round {
    Held(Vec<u8>),
    /// Used, or come too late.
    Gone,
    /// Answered without; not come yet.
    Missed,
}

impl State {
    fn give_back(&mut self, bytes: usize) {
        self.owed += bytes;
    }

    /// Gives back all that is set aside, and discards what it holds.
    fn release(&mut self) {
        self.grant = None;
        self.inferences.retain(|_, inference| {
            inference.kept = 0;
            inference.rounds.retain(|_, r| !matches!(r, Round::Held(_)));
            inference.runs
        });
    }

    /// Discards what is held for `c`, and whatever comes for it.
    fn discard(&mut self, c: Counter) {
        self.over.insert(c);
        let Some(Inference { kept, rounds, .. }) = self.inferences.remove(&c) else { return };
        let held: usize = rounds.into_values().map(|r| if let Round::Held(p) = r { p.len() } else { 0 }).sum();
        self.give_back(held + kept);
    }

    fn take(&mut self, c: Counter, r: RoundId, whole: usize) -> Option<Vec<u8>> {
        let round = self.inferences.get_mut(&c)?.rounds.get_mut(&r)?;
        let Round::Held(payload) = round else { return None };
        let payload = std::mem::take(payload);
        *round = Round::Gone;
        self.used(c, payload.len(), whole);
        Some(payload)
    }

    /// Bytes of the correction of a round of `c` have room again. While `c` runs alone and its corrections, `whole`
    /// bytes in all, have come or fit in, edge A is told of them together at its end: it would only compute and send in
    /// the middle of this inference what the next one needs. Else it may be waiting for them.
    fn used(&mut self, c: Counter, bytes: usize, whole: usize) {
        let fits = self.grant.as_ref().is_some_and(|grant| whole <= grant.bytes());
        match self.inferences.get_mut(&c) {
            Some(inference) if fits && inference.runs => inference.kept += bytes,
            _ => self.give_back(bytes),
        }
        self.tell_several();
    }

    /// With several inferences running, one may need room that another has used.
    fn tell_several(&mut self) {
        if self.inferences.values().filter(|i| i.runs).count() > 1 {
            self.owed += self.inferences.values_mut().map(|i| std::mem::take(&mut i.kept)).sum::<usize>();
        }
    }

    /// The lowest counter that is listed.
    fn oldest(&self) -> Counter {
        self.next.saturating_sub(2 * WINDOW)
    }

    /// One above the highest counter that may be listed.
    fn limit(&self) -> Counter {
        self.next.saturating_add(2 * WINDOW)
    }

    /// Whether nothing is held for `c` any more.
    fn is_over(&self, c: Counter) -> bool {
        c < self.oldest() || self.over.contains(&c)
    }
}

fn violation(text: String) -> WireError {
    WireError::Malformed(text)
}

impl CorrectionInbox {
    fn new(facts: RelayOpen, lengths: Vec<usize>, budget: &Arc<Budget>, most: usize) -> CorrectionInbox {
        // No more than so many inferences take: edge A is that far ahead and no further.
        let whole = lengths.iter().sum::<usize>().saturating_mul(COUNTERS_AHEAD as usize);
        CorrectionInbox {
            budget: Arc::clone(budget),
            device: facts.device.as_str().into(),
            most: most.min(whole),
            facts,
            lengths,
            state: Mutex::default(),
            arrived: Notify::new(),
            owing: Notify::new(),
        }
    }

    /// Bytes of the corrections of one inference.
    fn whole(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Sets aside what there is room for, if nothing is yet and edge A is there.
    fn fund(&self, state: &mut State) {
        if state.up && state.grant.is_none() {
            state.grant = Some(self.budget.grant(&self.device, self.most)).filter(|grant| grant.bytes() > 0);
            state.owed = state.grant.as_ref().map_or(0, Grant::bytes);
        }
    }

    /// Edge A introduces itself, once.
    ///
    /// # Errors
    /// What is wrong with the introduction, for the log.
    pub(crate) fn introduce(&self, open: &RelayOpen) -> Result<(), &'static str> {
        if !open.matches(&self.facts) {
            return Err("device, model or ticket are not those of the session");
        }
        let mut state = locked(&self.state);
        if std::mem::replace(&mut state.introduced, true) {
            return Err("the session was introduced before");
        }
        state.up = true;
        self.fund(&mut state);
        state.credit = std::mem::take(&mut state.owed);
        Ok(())
    }

    /// Bytes that edge A may send just now.
    pub(crate) fn credit(&self) -> usize {
        locked(&self.state).credit
    }

    /// The correction of `(c, r)` has come.
    ///
    /// # Errors
    /// Another length than the plan says, more than the credit, the same one twice, or one for a counter far beyond the
    /// session's.
    pub(crate) fn put(&self, c: Counter, r: RoundId, payload: Vec<u8>) -> Result<(), WireError> {
        let expected = *self.lengths.get(r.index()).ok_or_else(|| violation(format!("correction of a round {r}")))?;
        if payload.len() != expected {
            return Err(WireError::Shape { found: payload.len(), expected });
        }
        let mut state = locked(&self.state);
        state.credit = state
            .credit
            .checked_sub(payload.len())
            .ok_or_else(|| violation(format!("correction of {c}, {r} beyond the credit")))?;
        if c >= state.limit() {
            return Err(violation(format!("correction of counter {c} far beyond the session's")));
        }
        if state.is_over(c) {
            state.give_back(payload.len());
        } else {
            let len = payload.len();
            let rounds = &mut state.inferences.entry(c).or_default().rounds;
            match rounds.get(&r) {
                None => drop(rounds.insert(r, Round::Held(payload))),
                Some(Round::Missed) => {
                    rounds.insert(r, Round::Gone);
                    state.give_back(len);
                }
                Some(Round::Held(_) | Round::Gone) => return Err(violation(format!("correction of {c}, {r} twice"))),
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        self.owing.notify_one();
        Ok(())
    }

    /// The inference `c` has begun; only in mode `relay` does it need corrections. As the session has accepted it, it
    /// is within a window of those before.
    pub(crate) fn begin(&self, c: Counter, relay: bool) {
        let mut state = locked(&self.state);
        state.next = state.next.max(c.next());
        let oldest = state.oldest();
        while let Some((&old, _)) = state.inferences.first_key_value().filter(|&(&c, _)| c < oldest) {
            state.discard(old);
        }
        state.over = state.over.split_off(&oldest);
        if !relay {
            state.discard(c);
        } else if !state.is_over(c) {
            state.inferences.entry(c).or_default().runs = true;
            self.fund(&mut state);
        }
        state.tell_several();
        drop(state);
        self.owing.notify_one();
    }

    /// Takes the correction of `(c, r)` if it is there.
    pub(crate) fn take(&self, c: Counter, r: RoundId) -> Option<Vec<u8>> {
        let payload = locked(&self.state).take(c, r, self.whole())?;
        self.owing.notify_one();
        Some(payload)
    }

    /// As [`take`](Self::take); from here on the correction is discarded if it comes all the same.
    pub(crate) fn take_or_miss(&self, c: Counter, r: RoundId) -> Option<Vec<u8>> {
        let mut state = locked(&self.state);
        let taken = state.take(c, r, self.whole());
        if taken.is_none()
            && let Some(inference) = state.inferences.get_mut(&c)
        {
            inference.rounds.entry(r).or_insert(Round::Missed);
        }
        drop(state);
        self.owing.notify_one();
        taken
    }

    /// Waits until the correction of `(c, r)`, of an inference that runs, is there or can no longer come. Cancel safe.
    pub(crate) async fn come(&self, c: Counter, r: RoundId) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable(); // from here on nothing is missed
            {
                let state = locked(&self.state);
                let settled = state.inferences.get(&c).is_none_or(|i| i.rounds.contains_key(&r));
                let possible = state.grant.as_ref().is_some_and(|grant| self.lengths[r.index()] <= grant.bytes());
                if !possible || settled {
                    return;
                }
            }
            arrived.await;
        }
    }

    /// The inference `c` needs no corrections any more.
    pub(crate) fn discard(&self, c: Counter) {
        let mut state = locked(&self.state);
        if (state.oldest()..state.limit()).contains(&c) {
            state.discard(c);
        }
        drop(state);
        self.arrived.notify_waiters();
        self.owing.notify_one();
    }

    /// Edge A has given its credit back: nothing is held for it any more. An inference that runs has it granted anew.
    pub(crate) fn rest(&self) {
        let mut state = locked(&self.state);
        state.rests = state.rests.saturating_add(1);
        state.release();
        (state.credit, state.owed) = (0, 0);
        if state.inferences.values().any(|i| i.runs) {
            self.fund(&mut state);
        }
        drop(state);
        self.arrived.notify_waiters();
        self.owing.notify_one();
    }

    /// Further credit for edge A, or none as the answer to its rest; `None` when the session is over. Cancel safe.
    pub(crate) async fn owed(&self) -> Option<usize> {
        loop {
            {
                let mut state = locked(&self.state);
                if state.closed {
                    return None;
                }
                if let Some(rests) = state.rests.checked_sub(1) {
                    state.rests = rests;
                    return Some(0);
                }
                let owed = std::mem::take(&mut state.owed);
                state.credit += owed;
                if owed > 0 {
                    return Some(owed);
                }
            }
            self.owing.notified().await;
        }
    }

    /// Bytes that are set aside, and those that are accounted for; entries of all that is kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> ([usize; 2], usize) {
        let state = locked(&self.state);
        let held = |round: &Round| if let Round::Held(payload) = round { payload.len() } else { 0 };
        let of = |i: &Inference| i.kept + i.rounds.values().map(held).sum::<usize>();
        let listed = state.credit + state.owed + state.inferences.values().map(of).sum::<usize>();
        let entries = state.over.len() + state.inferences.values().map(|i| 1 + i.rounds.len()).sum::<usize>();
        ([state.grant.as_ref().map_or(0, Grant::bytes), listed], entries)
    }

    /// Edge A is gone: nothing more comes, and what is held goes.
    pub(crate) fn down(&self) {
        let mut state = locked(&self.state);
        state.up = false;
        state.release();
        drop(state);
        self.arrived.notify_waiters();
    }

    fn close(&self) {
        locked(&self.state).closed = true;
        self.down();
        self.owing.notify_one();
    }
}

/// The inboxes of an edge B, by session id.
#[derive(Default)]
pub(crate) struct Inboxes {
    by_session: Mutex<HashMap<[u8; 16], Weak<CorrectionInbox>>>,
    opened: Notify,
}

impl Inboxes {
    /// Opens an inbox for a session whose corrections take `lengths` bytes by round, with room for at most `most` from
    /// `budget`; `None` when there is one of this id.
    pub(crate) fn open(
        self: &Arc<Self>,
        facts: RelayOpen,
        lengths: Vec<usize>,
        budget: &Arc<Budget>,
        most: usize,
    ) -> Option<OpenInbox> {
        let mut inboxes = locked(&self.by_session);
        let session = facts.session;
        if inboxes.contains_key(&session) {
            return None;
        }
        let inbox = Arc::new(CorrectionInbox::new(facts, lengths, budget, most));
        inboxes.insert(session, Arc::downgrade(&inbox));
        drop(inboxes);
        self.opened.notify_waiters();
        Some(OpenInbox { inbox, session, inboxes: Arc::clone(self) })
    }

    /// Waits for the inbox of a session. Cancel safe.
    pub(crate) async fn of(&self, session: &[u8; 16]) -> Arc<CorrectionInbox> {
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            opened.as_mut().enable(); // from here on nothing is missed
            if let Some(inbox) = locked(&self.by_session).get(session).and_then(Weak::upgrade) {
                return inbox;
            }
            opened.await;
        }
    }
}

/// The session's hold of its inbox, which closes with it.
pub(crate) struct OpenInbox {
    inbox: Arc<CorrectionInbox>,
    session: [u8; 16],
    inboxes: Arc<Inboxes>,
}

impl std::ops::Deref for OpenInbox {
    type Target = Arc<CorrectionInbox>;

    fn deref(&self) -> &Arc<CorrectionInbox> {
        &self.inbox
    }
}

impl Drop for OpenInbox {
    fn drop(&mut self) {
        locked(&self.inboxes.by_session).remove(&self.session);
        self.inbox.close();
    }
}
