//! What all sessions of an edge share.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use twinmask_kernels::Kernel;
use twinmask_transport::{Connection, Identity, Peer};
use twinmask_wire::CloseCode;

use crate::budget::{Budget, Device, Grant};
use crate::compute::queue::Queue;
use crate::daemon::config::{Config, FIRST_WINDOW, Limits};
use crate::daemon::meters::Meters;
use crate::error::StartError;
use crate::fault::{Fault, refused};
use crate::lock::locked;
use crate::models::{MODELS_DIR, Model, Models};
use crate::relay::inbox::Inboxes;
use crate::role::Role;

/// Why devices may not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// The edge takes no new sessions any more.
    #[error("going down")]
    GoingDown,
    /// The owner has added no model, or the folder was not copied anew.
    #[error("no models in {}", .0.display())]
    NoModels(PathBuf),
}

/// An edge without its endpoint: models, compute threads, limits. [`Daemon`](crate::Daemon) gives it connections over
/// QUIC; a test may give it connections in memory.
pub struct Edge {
    pub(crate) role: Role,
    pub(crate) limits: Limits,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) queue: Queue,
    pub(crate) meters: Meters,
    pub(crate) draining: watch::Sender<bool>,
    /// Who this edge is and whom the owner has revoked, as of the last reload; none without a
    /// [`Daemon`](crate::Daemon).
    pub(crate) identity: watch::Sender<Option<Identity>>,
    /// Edge A: the connection to edge B while there is one.
    pub(crate) peer: watch::Sender<Option<Connection>>,
    /// Edge B: sessions that edge A may introduce itself to.
    pub(crate) inboxes: Arc<Inboxes>,
    /// Edge B: room for corrections.
    pub(crate) corrections: Arc<Budget>,
    /// Edge A: room for what is computed ahead of time.
    pub(crate) ahead: Arc<Budget>,
    /// Room for uploads and answers of inferences that run.
    pub(crate) flight: Arc<Budget>,
    /// Room for what connections of devices buffer.
    buffers: Arc<Budget>,
    /// Bytes that one connection may buffer of what comes and of what goes.
    windows: (u32, u32),
    dir: PathBuf,
    models: RwLock<Arc<Models>>,
    /// Sessions by device.
    sessions: Mutex<HashMap<Device, usize>>,
    /// Smoothed duration of an inference, ms: what a device is told to wait when the edge is busy.
    typical_ms: AtomicU64,
}

impl Edge {
    /// Loads the models in the configured folder and starts the compute threads. Blocks for the time that takes.
    ///
    /// # Errors
    /// An unreadable folder or a bad bundle.
    pub fn load(config: &Config, role: Role, kernel: Arc<dyn Kernel>) -> Result<Arc<Edge>, StartError> {
        let models = Models::load(&config.dir, &*kernel, &Models::default())?;
        let positive = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        let limits = &config.limits;
        let meters = Meters::new(role);
        let edge = Edge {
            role,
            peer: watch::channel(None).0,
            inboxes: Arc::default(),
            corrections: Budget::new(limits.relay_total, limits.relay_device, meters.relay_bytes.clone()),
            ahead: Budget::new(limits.ahead_total, limits.ahead_device, meters.ahead_bytes.clone()),
            flight: Budget::new(limits.flight_total, limits.flight_device, meters.flight_bytes.clone()),
            buffers: Budget::new(usize::MAX, limits.buffers_device, meters.buffer_bytes.clone()),
            windows: (config.transport.connection_window, config.transport.send_window),
            limits: limits.clone(),
            queue: Queue::new(positive(config.threads), positive(limits.queue)),
            meters,
            draining: watch::channel(false).0,
            identity: watch::channel(None).0,
            dir: config.dir.clone(),
            models: RwLock::default(),
            sessions: Mutex::default(),
            typical_ms: AtomicU64::new(50),
            kernel,
        };
        edge.take(models);
        Ok(Arc::new(edge))
    }

    /// Reads the models anew; sessions that are open keep theirs. Blocks for the time that takes.
    ///
    /// # Errors
    /// As [`Edge::load`]; the edge then serves what it did before.
    pub fn reload(&self) -> Result<(), StartError> {
        self.take(Models::load(&self.dir, &*self.kernel, &self.models())?);
        Ok(())
    }

    fn take(&self, models: Models) {
        if models.len() == 0 {
            tracing::warn!(dir = %self.dir.display(), "no models: have the owner add one and copy the edge's folder here, then send SIGHUP");
        }
        self.meters.models.set(models.len() as f64);
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// At edge A: introduces sessions over this connection to edge B until it ends.
    pub async fn connected(&self, connection: &Connection) {
        self.peer.send_replace(Some(connection.clone()));
        self.meters.peer.set(1);
        connection.closed().await;
        self.peer.send_replace(None);
        self.meters.peer.set(0);
    }

    /// Waits until the owner has revoked the certificate of `peer`, also if that was before it was accepted.
    pub(crate) async fn revoked(&self, peer: &Peer) {
        let mut identity = self.identity.subscribe();
        let listed = |i: &Option<Identity>| i.as_ref().is_some_and(|i| i.revokes(peer));
        if identity.wait_for(listed).await.is_err() {
            std::future::pending::<()>().await; // the edge is gone, and nobody is left to revoke
        }
    }

    /// Takes no new sessions and inferences from now on; sessions end when what runs is done, at the latest after
    /// [`Limits::drain`].
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Whether devices may come.
    ///
    /// # Errors
    /// The reason why not.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if *self.draining.borrow() {
            return Err(NotReady::GoingDown);
        }
        if self.models().len() == 0 {
            return Err(NotReady::NoModels(self.dir.join(MODELS_DIR)));
        }
        Ok(())
    }

    /// Counters in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.meters.render()
    }

    /// A place for a session of `device`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn admit(self: &Arc<Self>, device: &Device) -> Result<Admission, Fault> {
        let mut sessions = locked(&self.sessions);
        let all: usize = sessions.values().sum();
        if all >= self.limits.max_sessions {
            let text = format!("this edge has {all} sessions and takes no more (max_sessions); try again later");
            return Err(refused(CloseCode::Limit, text));
        }
        let own = sessions.entry(Arc::clone(device)).or_default();
        if *own >= self.limits.max_sessions_per_device {
            let text = format!("this device has {own} sessions here and gets no more (max_sessions_per_device)");
            return Err(refused(CloseCode::Limit, text));
        }
        *own += 1;
        self.meters.sessions.increment(1);
        self.meters.sessions_total.increment(1);
        Ok(Admission { edge: Arc::clone(self), device: Arc::clone(device) })
    }

    /// Inferences that a session with `model` may have in flight: as many as its device has room for, and at least one.
    pub(crate) fn most_in_flight(&self, model: &Model) -> u16 {
        let fit = self.limits.flight_device / model.held(self.role).max(1);
        self.limits.max_in_flight.min(u16::try_from(fit).unwrap_or(u16::MAX)).max(1)
    }

    /// Lets the connection of a session of `device` buffer what is left of the device's room, while the grant is held.
    pub(crate) fn widen(&self, connection: &Connection, device: &Device) -> Grant {
        let (receive, send) = self.windows;
        let whole = u64::from(receive) + u64::from(send);
        let grant = self.buffers.grant(device, whole as usize);
        let share = |window: u32| (u64::from(window) * grant.bytes() as u64 / whole.max(1)) as u32;
        connection.set_windows(FIRST_WINDOW + share(receive), FIRST_WINDOW + share(send));
        grant
    }

    /// Most bytes of answers that a session's connection buffers.
    pub(crate) fn buffered(&self) -> usize {
        FIRST_WINDOW as usize + self.windows.1 as usize
    }

    /// Lets the connection of the other edge buffer all that one may, and open a stream for each session.
    pub(crate) fn trust(&self, connection: &Connection) {
        connection.set_windows(self.windows.0, self.windows.1);
        connection.set_max_streams(u32::try_from(self.limits.max_sessions).unwrap_or(u32::MAX));
    }

    pub(crate) fn finished(&self, inference: Duration) {
        let ms = inference.as_millis().min(60_000) as u64;
        let _ = self.typical_ms.fetch_update(Relaxed, Relaxed, |t| Some((7 * t + ms) / 8));
        self.meters.inferences.increment(1);
    }

    /// When a device that is told "busy" should come again: after about an inference.
    pub(crate) fn retry_after_ms(&self) -> u32 {
        self.typical_ms.load(Relaxed).clamp(10, 5000) as u32
    }
}

/// A session's place; free again when dropped.
pub(crate) struct Admission {
    edge: Arc<Edge>,
    device: Device,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut sessions = locked(&self.edge.sessions);
        if let Some(own) = sessions.get_mut(&self.device) {
            *own -= 1;
            if *own == 0 {
                sessions.remove(&self.device);
            }
        }
        self.edge.meters.sessions.decrement(1);
    }
}
