//! Edge A's corrections of one session on their way to edge B (PROTOCOL.md, "One inference, mode `relay`"), without
//! I/O.

use std::collections::VecDeque;

use tokio::sync::Notify;
use twinmask_codec::{Counter, RoundId};
use zeroize::Zeroizing;

use crate::budget::Grant;
use crate::lock::{Mutex, locked};

/// Withdrawals that edge B leaves unread before it counts as gone.
const MOST_WITHDRAWN: usize = 1024;

/// What is sent next.
pub(crate) enum Outgoing {
    /// With the room that it takes until it is sent.
    Correction {
        counter: Counter,
        round: RoundId,
        payload: Zeroizing<Vec<u8>>,
        room: Grant,
    },
    Drop {
        counter: Counter,
    },
    Rest,
}

/// Corrections in order, sent within the credit that edge B grants.
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
    ended: Notify,
}

struct State {
    up: bool,
    credit: usize,
    /// The highest that the credit was: longer corrections can never be sent.
    most: usize,
    /// Times that edge A has given its credit back and edge B has not heard of it: what it grants till then is void.
    void: usize,
    withdrawn: VecDeque<Counter>,
    /// Edge B is to be told that the session rests.
    rests: bool,
    corrections: VecDeque<Correction>,
}

struct Correction {
    counter: Counter,
    round: RoundId,
    /// Wiped unless it is sent.
    payload: Zeroizing<Vec<u8>>,
    room: Grant,
}

impl Outbox {
    pub(crate) fn new(credit: usize) -> Outbox {
        let state = State {
            up: true,
            credit,
            most: credit,
            void: 0,
            withdrawn: VecDeque::new(),
            rests: false,
            corrections: VecDeque::new(),
        };
        Outbox { state: Mutex::new(state), changed: Notify::new(), ended: Notify::new() }
    }

    /// Bytes of the longest correction that can be sent; none while there is no credit at all.
    pub(crate) fn most(&self) -> usize {
        locked(&self.state).most
    }

    /// Whether edge B is there.
    pub(crate) fn is_up(&self) -> bool {
        locked(&self.state).up
    }

    /// Waits until edge B is gone. Cancel safe.
    pub(crate) async fn ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable(); // from here on nothing is missed
            if !self.is_up() {
                return;
            }
            ended.await;
        }
    }

    pub(crate) fn push(&self, counter: Counter, round: RoundId, payload: Vec<u8>, room: Grant) {
        let payload = Zeroizing::new(payload);
        let mut state = locked(&self.state);
        if state.up {
            state.corrections.push_back(Correction { counter, round, payload, room });
        }
        drop(state);
        self.changed.notify_one();
    }

    /// `counter` needs no corrections any more.
    pub(crate) fn withdraw(&self, counter: Counter) {
        let mut state = locked(&self.state);
        state.corrections.retain(|c| c.counter != counter);
        if state.up {
            state.withdrawn.push_back(counter);
        }
        let stuck = state.withdrawn.len() > MOST_WITHDRAWN;
        drop(state);
        if stuck {
            self.down();
        }
        self.changed.notify_one();
    }

    /// Edge B has room for further bytes; none says that it has taken back what it granted before.
    pub(crate) fn credit(&self, bytes: u32) {
        let mut state = locked(&self.state);
        if bytes == 0 {
            state.void = state.void.saturating_sub(1);
        } else if state.void == 0 {
            state.credit = state.credit.saturating_add(bytes as usize);
            state.most = state.most.max(state.credit);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Gives back the credit, and what was to be sent: the device has begun nothing for a while.
    pub(crate) fn rest(&self) {
        let mut state = locked(&self.state);
        if state.up {
            state.corrections = VecDeque::new();
            (state.credit, state.most, state.rests) = (0, 0, true);
            state.void += 1;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What is to be sent next, within the credit; `None` when edge B is gone. Cancel safe.
    pub(crate) async fn next(&self) -> Option<Outgoing> {
        loop {
            {
                let mut state = locked(&self.state);
                if !state.up {
                    return None;
                }
                if let Some(counter) = state.withdrawn.pop_front() {
                    return Some(Outgoing::Drop { counter });
                }
                if std::mem::take(&mut state.rests) {
                    return Some(Outgoing::Rest);
                }
                let credit = state.credit;
                if let Some(first) = state.corrections.pop_front_if(|c| c.payload.len() <= credit) {
                    state.credit -= first.payload.len();
                    let Correction { counter, round, payload, room } = first;
                    return Some(Outgoing::Correction { counter, round, payload, room });
                }
            }
            self.changed.notified().await;
        }
    }

    /// The credit, if it stands, and entries of all that is kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (Option<usize>, usize) {
        let state = locked(&self.state);
        ((state.void == 0).then_some(state.credit), state.withdrawn.len() + state.corrections.len())
    }

    /// Edge B is gone: what was to be sent goes, and nothing is taken any more.
    pub(crate) fn down(&self) {
        let mut state = locked(&self.state);
        state.up = false;
        state.corrections.clear();
        state.withdrawn.clear();
        drop(state);
        self.changed.notify_one();
        self.ended.notify_waiters();
    }
}
