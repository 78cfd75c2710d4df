//! An edge with its endpoints: what `edge-a` and `edge-b` run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use twinmask_kernels::Kernel;
use twinmask_transport::{Identity, IdentityError, Server, TransportError};
use twinmask_wire::CloseCode;

use crate::daemon::admin;
use crate::daemon::config::Config;
use crate::daemon::throttle::Throttle;
use crate::edge::{Edge, IDENTITY_DIR};
use crate::error::StartError;
use crate::fault::GOING_DOWN;
use crate::relay::link;
use crate::role::Role;

const UPKEEP: Duration = Duration::from_secs(5);
/// Pause between two times at which freed memory is given back.
const GIVE_BACK: Duration = Duration::from_secs(15);
/// Pause after which what people should mend is said again.
const AGAIN: Duration = Duration::from_secs(3600);

/// A running edge. Dropped without [`Daemon::shutdown`] it is gone at once.
pub struct Daemon {
    edge: Arc<Edge>,
    identity_dir: PathBuf,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    accepting: JoinHandle<()>,
    /// Administration and upkeep, until the end.
    tasks: JoinSet<()>,
}

impl Daemon {
    /// Loads identity and models, and listens. `kernel` computes the linear layers. Must be called inside a tokio
    /// runtime with several threads.
    ///
    /// # Errors
    /// Anything that is wrong with the folder or the addresses.
    pub async fn start(config: Config, role: Role, kernel: Arc<dyn Kernel>) -> Result<Daemon, StartError> {
        let identity_dir = config.dir.join(IDENTITY_DIR);
        let identity = own(Identity::load(&identity_dir)?, &identity_dir, role)?;
        let listen_failed = |source| StartError::Listen { address: config.listen.clone(), source };
        let admin_failed = |source| StartError::Admin { address: config.admin.clone(), source };
        let server = Server::bind(&config.listen, identity.clone(), config.transport()).await.map_err(listen_failed)?;
        let addr = server.local_addr().map_err(admin_failed)?;
        let admin = TcpListener::bind(&config.admin).await.map_err(admin_failed)?;
        let admin_addr = admin.local_addr().map_err(admin_failed)?;
        let edge = tokio::task::block_in_place(|| Edge::load(&config, role, kernel))?;
        edge.take_identity(identity);

        let mut tasks = JoinSet::new();
        tasks.spawn(admin::serve(admin, Arc::clone(&edge)));
        tasks.spawn(upkeep(Arc::clone(&edge)));
        if let Some(peer) = config.peer.clone() {
            tasks.spawn(link::dial(Arc::clone(&edge), peer, config.transport.clone()));
        }
        let draining = edge.draining.subscribe();
        let accepting = tokio::spawn(accept(server, Arc::clone(&edge), draining));
        tracing::info!(%role, %addr, admin = %admin_addr, kernel = edge.kernel.name(), threads = config.threads, "ready");
        Ok(Daemon { edge, identity_dir, addr, admin_addr, accepting, tasks })
    }

    /// The address that devices connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of `/livez`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The edge behind the endpoints.
    #[must_use]
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Reads identity, revocation list and models anew. New connections get the new identity; open ones stay, except
    /// those that the list names at either end, which are closed at once. Blocks for the time that takes.
    ///
    /// # Errors
    /// The first file that is no good; what belongs to it is served on as before, the rest is taken. With a certificate
    /// that is itself revoked the edge serves nobody, until it is given another one.
    pub fn reload(&self) -> Result<(), StartError> {
        let identity = self.reload_identity();
        identity.and(self.edge.reload())
    }

    fn reload_identity(&self) -> Result<(), StartError> {
        let before = self.edge.identity.borrow().clone();
        let dir = &self.identity_dir;
        let identity = before.map_or_else(|| Identity::load(dir), |before| before.load_anew(dir))?;
        let identity = own(identity, dir, self.edge.role)?;
        match identity.check_standing() {
            Err(early @ IdentityError::NotYetValid { .. }) => Err(early.into()),
            standing => {
                self.edge.take_identity(identity);
                Ok(standing?)
            }
        }
    }

    /// Takes no new sessions, finishes what runs, tells devices and ends; takes at most about 9 s.
    pub async fn shutdown(mut self) {
        self.edge.drain();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, "the accepting task failed");
        }
        self.tasks.shutdown().await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// `identity`, read from `dir`, if it is that of the edge `role`.
fn own(identity: Identity, dir: &Path, role: Role) -> Result<Identity, StartError> {
    if *identity.role() != role.certified() {
        return Err(StartError::WrongIdentity { dir: dir.to_owned(), found: identity.role().clone(), own: role });
    }
    Ok(identity)
}

/// Takes connections until the edge drains, then sees the sessions off.
async fn accept(mut server: Server, edge: Arc<Edge>, mut draining: watch::Receiver<bool>) {
    let mut sessions = JoinSet::new();
    let mut identity = edge.identity.subscribe();
    let refusals = Refusals::new();
    let mut unsaid = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            accepted = server.accept() => match accepted {
                Some(Ok(connection)) => drop(sessions.spawn(Arc::clone(&edge).serve(connection))),
                Some(Err(error)) => refusals.tell(&edge, &error),
                None => return,
            },
            _ = unsaid.tick() => refusals.tell_rest(),
            Some(ended) = sessions.join_next() => log_panic(ended),
            Ok(()) = identity.changed() => {
                if let Some(identity) = identity.borrow_and_update().clone() {
                    server.set_identity(identity);
                }
            }
            _ = draining.wait_for(|d| *d) => break,
        }
    }
    server.drain();
    let mut late = std::pin::pin!(tokio::time::sleep(edge.limits.drain));
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                Some(ended) => log_panic(ended),
                None => break,
            },
            _ = server.accept() => {} // refuses whoever comes now
            () = &mut late => break,
        }
    }
    server.close(CloseCode::Draining as u32, GOING_DOWN).await;
}

/// Connections that did not come about: all are counted, some are told.
struct Refusals {
    /// Of those that were looked at.
    refused: Throttle,
    /// Of those that were not: a flood is not to hide the others.
    ignored: Throttle,
}

impl Refusals {
    fn new() -> Refusals {
        let now = Instant::now();
        Refusals { refused: Throttle::new(now), ignored: Throttle::new(now) }
    }

    fn tell(&self, edge: &Edge, error: &TransportError) {
        let (reason, throttle) = match error {
            TransportError::TooManyHandshakes { .. } => ("Flood", &self.ignored),
            _ => ("Handshake", &self.refused),
        };
        edge.meters.refused(reason);
        if let Some(left_out) = throttle.pass(Instant::now()) {
            tracing::warn!(%error, left_out, "connection refused");
        }
    }

    fn tell_rest(&self) {
        let (refused, ignored) = (self.refused.rest(), self.ignored.rest());
        if refused + ignored > 0 {
            tracing::warn!(refused, ignored, "further connections refused");
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a session failed");
    }
}

async fn upkeep(edge: Arc<Edge>) {
    let mut every = tokio::time::interval(UPKEEP);
    let mut said = Instant::now();
    let mut given_back = Instant::now();
    loop {
        every.tick().await;
        edge.meters.upkeep();
        if given_back.elapsed() >= GIVE_BACK {
            let _ = tokio::task::spawn_blocking(twinmask_heap::give_back).await;
            given_back = Instant::now();
        }
        if said.elapsed() >= AGAIN {
            edge.voice_concern();
            said = Instant::now();
        }
    }
}
