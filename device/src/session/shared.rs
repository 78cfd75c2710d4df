//! What the inferences of a session share, and how it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use twinmask_codec::Counter;
use twinmask_masking::{InferenceMasks, Masker};
use twinmask_transport::TransportLimits;
use twinmask_wire::payload::Encoder;
use twinmask_wire::session::DeviceSession;
use twinmask_wire::{CloseCode, CodecChoice};

use crate::model::Model;
use crate::session::link::EdgeLink;
use crate::session::streams::Streams;

/// Where the edges are and how to talk to them.
#[derive(Debug, Clone)]
pub struct Edges {
    /// HOST:PORT of edge A.
    pub a: String,
    /// HOST:PORT of edge B.
    pub b: String,
    /// Transport settings.
    pub limits: TransportLimits,
    /// How sessions run.
    pub options: SessionOptions,
}

/// How a session runs.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// How payloads are encoded.
    pub codec: CodecChoice,
    /// Longest wait for a connection, and for each answer.
    pub timeout: Duration,
    /// Whether edge B is to answer for both, if the edges are connected (mode `relay`).
    pub relay: bool,
    /// Whether answers leave out low bits (never with Freivalds).
    pub drop_bits: bool,
    /// Inferences whose answers edge A sends ahead, while the link is idle (mode `split`).
    pub prefetch: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { codec: CodecChoice::Auto, timeout: Duration::from_secs(30), relay: false, drop_bits: false, prefetch: 0 }
    }
}

/// An inference whose counter is reserved and whose stream to edge A is open.
pub(crate) struct Prepared {
    pub(crate) counter: Counter,
    pub(crate) masks: InferenceMasks,
    pub(crate) a: Streams,
}

/// What inferences share with their session.
pub(crate) struct Shared {
    pub(crate) model: Arc<Model>,
    pub(crate) a: EdgeLink,
    pub(crate) b: EdgeLink,
    pub(crate) uploads: Mutex<Encoder>,
    pub(crate) options: SessionOptions,
    pub(crate) begun: Instant,
    pub(crate) state: Mutex<(DeviceSession, Masker)>,
    pub(crate) ahead: Mutex<VecDeque<Prepared>>,
}

impl Shared {
    /// Whether edge B answers for both.
    pub(crate) const fn relay(&self) -> bool {
        self.options.relay && self.a.opened.relay && self.b.opened.relay
    }

    /// Counters so far.
    pub(crate) fn usage(&self) -> Usage {
        let of = |link: &EdgeLink| {
            let (up, down) = link.connection.udp_bytes();
            EdgeUsage { up, down, compute: Duration::from_micros(link.compute_us.load(Ordering::Relaxed)) }
        };
        Usage { a: of(&self.a), b: of(&self.b) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.a.connection.close(CloseCode::Done as u32, "");
        self.b.connection.close(CloseCode::Done as u32, "");
    }
}

/// What one edge did for a session so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeUsage {
    /// UDP payload bytes sent to it, by the QUIC stack's own counters.
    pub up: u64,
    /// UDP payload bytes received from it.
    pub down: u64,
    /// Time that it computed, by its own account.
    pub compute: Duration,
}

/// Counters of a session so far: take the difference around an inference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Edge A's.
    pub a: EdgeUsage,
    /// Edge B's.
    pub b: EdgeUsage,
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let minus = |now: EdgeUsage, then: EdgeUsage| EdgeUsage {
            up: now.up - then.up,
            down: now.down - then.down,
            compute: now.compute.saturating_sub(then.compute),
        };
        Self { a: minus(self.a, before.a), b: minus(self.b, before.b) }
    }
}
