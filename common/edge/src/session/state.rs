//! What the inferences of one session share.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use twinmask_codec::Counter;
use twinmask_wire::WireError;
use twinmask_wire::message::Infer;
use twinmask_wire::session::EdgeSession;

use crate::ahead::store::{Ahead, Want};
use crate::edge::Edge;
use crate::lock::{Mutex, locked};
use crate::relay::inbox::OpenInbox;
use crate::role::Role;
use crate::rounds::Rounds;

/// One session: its counters, its places, and how its rounds are computed.
pub(crate) struct Session {
    pub(crate) rounds: Arc<Rounds>,
    /// At edge A, and only there.
    pub(crate) ahead: Option<Ahead>,
    /// At edge B, in sessions that want `relay`.
    pub(crate) inbox: Option<OpenInbox>,
    /// Whether the device wants `relay` at all.
    pub(crate) ticket: bool,
    /// Places for inferences.
    pub(crate) places: Arc<Semaphore>,
    began: Instant,
    counters: Mutex<EdgeSession>,
    /// Somebody who waits for a counter to be claimed should look again.
    claimed: Notify,
}

impl Session {
    pub(crate) fn new(rounds: Rounds, ahead: Option<Ahead>, inbox: Option<OpenInbox>, ticket: bool) -> Session {
        let edge = &rounds.edge;
        Session {
            places: Arc::new(Semaphore::new(edge.limits.max_in_flight.into())),
            began: Instant::now(),
            counters: Mutex::new(match edge.role {
                Role::A => EdgeSession::at_a(),
                Role::B => EdgeSession::at_b(),
            }),
            claimed: Notify::new(),
            rounds: Arc::new(rounds),
            ahead,
            inbox,
            ticket,
        }
    }

    pub(crate) fn edge(&self) -> &Arc<Edge> {
        &self.rounds.edge
    }

    pub(crate) fn claim(&self, counter: Counter) -> Result<(), WireError> {
        locked(&self.counters).claim(counter, self.began.elapsed())?;
        self.may_begin(counter);
        Ok(())
    }

    /// `PREFETCH`: the inference may begin before it is claimed.
    pub(crate) fn prefetch(&self, counter: Counter) -> Result<(), WireError> {
        locked(&self.counters).prefetch(counter, self.began.elapsed())?;
        self.may_begin(counter);
        Ok(())
    }

    fn may_begin(&self, counter: Counter) {
        self.claimed.notify_waiters();
        if let Some(ahead) = &self.ahead {
            ahead.claim(counter);
        }
    }

    /// Whether an inference that this edge has granted has not begun.
    pub(crate) fn owes(&self) -> bool {
        locked(&self.counters).owes()
    }

    /// Waits until this edge grants nothing any more. Cancel safe.
    pub(crate) async fn grants_no_more(&self) {
        let mut draining = self.edge().draining.subscribe();
        if draining.wait_for(|d| *d).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Begins an inference. As `CLAIM` and `INFER` come on different streams, edge A waits a little for the former.
    pub(crate) async fn begin(self: &Arc<Self>, infer: Infer) -> Result<Running, WireError> {
        let granted = async {
            loop {
                let mut claimed = std::pin::pin!(self.claimed.notified());
                claimed.as_mut().enable(); // from here on no claim is missed
                if let Ok(running) = self.accept(infer) {
                    return running;
                }
                claimed.await;
            }
        };
        match self.edge().role {
            Role::A => timeout(self.edge().limits.claim, granted).await.map_err(|_| WireError::Counter(infer.counter)),
            Role::B => self.accept(infer),
        }
    }

    /// Begins an inference if its counter may begin now; it is burnt then.
    pub(crate) fn accept(self: &Arc<Self>, infer: Infer) -> Result<Running, WireError> {
        let counter = infer.counter;
        locked(&self.counters).begin(counter, self.began.elapsed())?;
        if let Some(ahead) = &self.ahead {
            ahead.begin(counter, if infer.relay { Want::Relay } else { Want::Split { exact: infer.exact } });
        }
        if let Some(inbox) = &self.inbox {
            inbox.begin(counter, infer.relay);
        }
        Ok(Running { session: Arc::clone(self), counter })
    }
}

/// An inference whose counter was accepted, to its end, however that comes: nothing more is computed ahead or held for
/// it then. One that is told "busy" ends so, too; its device goes elsewhere or takes another counter.
pub(crate) struct Running {
    session: Arc<Session>,
    counter: Counter,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(ahead) = &self.session.ahead {
            ahead.end(self.counter);
        }
        if let Some(inbox) = &self.session.inbox {
            inbox.discard(self.counter);
        }
    }
}
