//! What all sessions of an edge share.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use twinmask_kernels::Kernel;
use twinmask_ring::keys::MaskKey;
use twinmask_transport::mask_key::{self, MASK_KEY_FILE};
use twinmask_transport::{Connection, Identity, utc};
use twinmask_wire::CloseCode;

use crate::budget::{Budget, Device, Grant};
use crate::compute::queue::Queue;
use crate::daemon::config::{Config, FIRST_WINDOW, Limits};
use crate::daemon::meters::Meters;
use crate::daemon::throttle::Throttle;
use crate::error::StartError;
use crate::fault::{Fault, refused};
use crate::lock::{Mutex, locked};
use crate::models::{MODELS_DIR, Model, Models};
use crate::relay::inbox::Inboxes;
use crate::relay::line::Line;
use crate::role::Role;

/// Folder of certificate, keys and CA in an edge's folder.
pub(crate) const IDENTITY_DIR: &str = "identity";
/// Longest time between two looks at the clock of who waits for a certificate to end: clocks are set.
const CLOCK: Duration = Duration::from_secs(60);

/// Why devices may not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// The edge takes no new sessions any more.
    #[error("going down")]
    GoingDown,
    /// The edge's certificate is revoked or out of its time.
    #[error("{0}")]
    Certificate(String),
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
    pub(crate) peer: watch::Sender<Option<Arc<Line>>>,
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
    /// Edge A: what devices' keys are derived from.
    mask_key: RwLock<Option<MaskKey>>,
    /// Sessions by device.
    sessions: Mutex<HashMap<Device, usize>>,
    /// Log lines that a device can cause, for each: as many devices as the owner has certified.
    lines: Mutex<HashMap<Box<str>, Throttle>>,
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
        let mask_key = RwLock::new(load_mask_key(&config.dir, role)?);
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
            mask_key,
            sessions: Mutex::default(),
            lines: Mutex::default(),
            typical_ms: AtomicU64::new(50),
            kernel,
        };
        edge.take(models);
        Ok(Arc::new(edge))
    }

    /// Reads models and mask key anew; sessions that are open keep theirs. Blocks for the time that takes.
    ///
    /// # Errors
    /// As [`Edge::load`]; the edge then serves what it did before.
    pub fn reload(&self) -> Result<(), StartError> {
        let mask_key = load_mask_key(&self.dir, self.role)?;
        *self.mask_key.write().unwrap_or_else(PoisonError::into_inner) = mask_key;
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

    /// Edge A's master key.
    pub(crate) fn mask_key(&self) -> Option<MaskKey> {
        self.mask_key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// At edge A: introduces sessions over this connection to edge B until it ends, another one takes its place, or a
    /// certificate of one of its ends has run out or was revoked.
    pub async fn connected(&self, connection: &Connection) {
        self.introduce_over(connection);
        self.see_off(connection).await;
    }

    /// Introduces sessions over this connection from now on.
    pub(crate) fn introduce_over(&self, connection: &Connection) {
        self.peer.send_replace(Some(Arc::new(Line(connection.clone()))));
        self.meters.peer.set(1);
    }

    /// Waits for the end of a connection that sessions are introduced over.
    pub(crate) async fn see_off(&self, connection: &Connection) {
        let reason = tokio::select! {
            reason = connection.closed() => reason.to_string(),
            objection = self.objection(connection) => {
                connection.close(CloseCode::Role as u32, &objection);
                objection
            }
        };
        let over = |line: &Option<Arc<Line>>| line.as_ref().is_some_and(|line| line.0.close_reason().is_some());
        let current = self.peer.send_if_modified(|line| over(line) && line.take().is_some());
        if current {
            self.meters.peer.set(0);
            tracing::warn!(reason, "the connection to edge-b has ended; sessions get no relay");
        }
    }

    /// Takes another identity: for connections to come, and to judge those that stand.
    pub(crate) fn take_identity(&self, identity: Identity) {
        self.meters.identity(&identity);
        match identity.revocation_list() {
            Some(list) => {
                tracing::info!(number = %list.number(), revoked = list.len(), "revocation list loaded");
                if let Some(problem) = list.unremembered() {
                    tracing::warn!(
                        problem,
                        "cannot note the list's number: after a restart an older one would be taken"
                    );
                }
            }
            None => tracing::info!("no revocation list (crl.pem): nobody is revoked"),
        }
        self.identity.send_replace(Some(identity));
        self.voice_concern();
    }

    /// What people should mend though the edge serves on.
    pub(crate) fn concern(&self) -> Option<String> {
        let identity = self.identity.borrow();
        let list = identity.as_ref()?.revocation_list().filter(|list| list.is_out_of_date())?;
        let (number, due) = (list.number(), utc(list.next_update_s()?));
        Some(format!(
            "the revocation list number {number} should have been replaced by {due}: it counts on, but whoever was \
             revoked since is not on it; copy the newest crl.pem here and send SIGHUP"
        ))
    }

    pub(crate) fn voice_concern(&self) {
        if let Some(concern) = self.concern() {
            tracing::warn!("{concern}");
        }
    }

    /// Waits until `connection` may stand no longer, also if that was before it was accepted: a certificate of one of
    /// its ends was revoked by the owner, or has run out.
    pub(crate) async fn objection(&self, connection: &Connection) -> String {
        let mut identity = self.identity.subscribe();
        loop {
            let objection = identity.borrow_and_update().as_ref().and_then(|i| connection.objection(i));
            if let Some(objection) = objection {
                return objection.to_string();
            }
            tokio::select! {
                changed = identity.changed() => if changed.is_err() {
                    std::future::pending::<()>().await; // the edge is gone, and nobody is left to object
                },
                () = tokio::time::sleep(connection.lasts().min(CLOCK)) => {}
            }
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
        let standing = self.identity.borrow().as_ref().map_or(Ok(()), Identity::check_standing);
        standing.map_err(|error| NotReady::Certificate(error.to_string()))?;
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

    /// Whether what `peer` did wrong may be written to the log, and how many lines were left out before it.
    pub(crate) fn may_tell(&self, peer: &str) -> Option<u64> {
        let now = Instant::now();
        locked(&self.lines).entry(peer.into()).or_insert_with(|| Throttle::new(now)).pass(now)
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

/// Edge A's master key; edge B must have none.
fn load_mask_key(dir: &Path, role: Role) -> Result<Option<MaskKey>, StartError> {
    let dir = dir.join(IDENTITY_DIR);
    let file = || dir.join(MASK_KEY_FILE);
    match (role, mask_key::read(&dir)?) {
        (Role::A, None) => Err(StartError::NoMaskKey(file())),
        (Role::B, Some(_)) => Err(StartError::MaskKeyOfEdgeB(file())),
        (_, key) => Ok(key),
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
