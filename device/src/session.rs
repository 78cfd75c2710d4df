//! A session: one connection to edge A and one to edge B; the end of either ends both (PROTOCOL.md, "Sessions and
//! counters").

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use twinmask_codec::packed_parts_len;
use twinmask_masking::mask::session_id;
use twinmask_masking::{InferenceMasks, Masker, SessionSeed};
use twinmask_transport::{Client, Connection, Identity, RecvHalf, Role, SendHalf, TransportLimits};
use twinmask_wire::message::{Claim, Claimed, Infer, Open, Prefetch, Prf, Secret};
use twinmask_wire::payload::Encoder;
use twinmask_wire::session::DeviceSession;
use twinmask_wire::{CloseCode, CodecChoice, FrameType, WireError};

use crate::error::DeviceError;
use crate::link::{EdgeLink, transport_error};
use crate::network::Network;
use crate::remote::RemoteInference;

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
struct Prepared {
    counter: u64,
    masks: InferenceMasks,
    a: (SendHalf, RecvHalf),
}

/// What inferences share with their session.
pub(crate) struct Shared {
    pub(crate) network: Arc<Network>,
    pub(crate) a: EdgeLink,
    pub(crate) b: EdgeLink,
    pub(crate) uploads: Mutex<Encoder>,
    pub(crate) options: SessionOptions,
    begun: Instant,
    state: Mutex<(DeviceSession, Masker)>,
    ahead: Mutex<VecDeque<Prepared>>,
}

impl Shared {
    /// Whether edge B answers for both.
    pub(crate) const fn relay(&self) -> bool {
        self.options.relay && self.a.opened.relay && self.b.opened.relay
    }
}

/// An open session. Inferences may run side by side on clones.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

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

/// Refuses options that contradict each other.
fn check_options(network: &Network, options: &SessionOptions) -> Result<(), DeviceError> {
    if options.drop_bits && network.checker.integrity().freivalds {
        let text =
            "dropped bits change the results, so the Freivalds check cannot hold: use --integrity none or sample:N";
        return Err(DeviceError::Config(text.into()));
    }
    Ok(())
}

impl Session {
    /// Connects to both edges and opens a session for `network`.
    ///
    /// # Errors
    /// [`DeviceError::Network`] or [`DeviceError::Protocol`] naming the edge.
    pub async fn open(network: Arc<Network>, identity: &Identity, edges: &Edges) -> Result<Self, DeviceError> {
        check_options(&network, &edges.options)?; // before anybody is called
        let plan = network.plan();
        let answers = (0..plan.rounds().len()).map(|r| packed_parts_len(&plan.answer_parts(r))).sum();
        let limits = edges.limits.clone().for_answers(answers, edges.options.prefetch);
        let connect = async |address: &str, role: Role| {
            Client::connect(address, &role, identity, &limits, edges.options.timeout)
                .await
                .map_err(|e| transport_error(&role, &e))
        };
        let (a, b) = tokio::try_join!(connect(&edges.a, Role::EdgeA), connect(&edges.b, Role::EdgeB))?;
        Self::over(network, a, b, edges.options.clone()).await
    }

    /// Opens a session over two connections (also in-memory ones).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn over(
        network: Arc<Network>,
        a: Connection,
        b: Connection,
        options: SessionOptions,
    ) -> Result<Self, DeviceError> {
        check_options(&network, &options)?;
        if a.peer().key_fingerprint == b.peer().key_fingerprint {
            let reason = "holds the same key as edge A: one host must not be both edges".to_owned();
            return Err(DeviceError::Protocol { edge: Role::EdgeB, reason });
        }
        let seed = SessionSeed::generate();
        let open = Open {
            session: session_id(),
            digest: network.model.digest,
            seed: Some(Secret(*seed.expose())),
            prfs: Prf::available(),
            codec: options.codec,
            ticket: options.relay.then(|| Secret(*SessionSeed::generate().expose())),
        };
        let for_b = Open { seed: None, ..open.clone() };
        let (a, b) = tokio::try_join!(
            EdgeLink::open(Role::EdgeA, a, &open, options.timeout),
            EdgeLink::open(Role::EdgeB, b, &for_b, options.timeout)
        )?;
        let masker = Masker::new(Arc::clone(&network.keys), a.opened.prf.algorithm(), seed);
        let session = Self(Arc::new(Shared {
            network,
            a,
            b,
            uploads: Mutex::new(Encoder::new(options.codec)),
            options,
            begun: Instant::now(),
            state: Mutex::new((DeviceSession::new(std::process::id()), masker)),
            ahead: Mutex::new(VecDeque::new()),
        }));
        session.look_ahead().await?;
        Ok(session)
    }

    /// Mode that inferences of this session run in: `relay` only if it was asked for and the edges are connected.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        if self.0.relay() { "relay" } else { "split" }
    }

    /// Kernels that the two edges compute with.
    #[must_use]
    pub fn kernels(&self) -> (&str, &str) {
        (&self.0.a.opened.kernel, &self.0.b.opened.kernel)
    }

    /// Inferences that both edges allow in flight.
    #[must_use]
    pub fn max_in_flight(&self) -> u16 {
        self.0.a.opened.max_in_flight.min(self.0.b.opened.max_in_flight)
    }

    /// Counters so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let of = |link: &EdgeLink| {
            let (up, down) = link.connection.udp_bytes();
            EdgeUsage { up, down, compute: Duration::from_micros(link.compute_us.load(Ordering::Relaxed)) }
        };
        Usage { a: of(&self.0.a), b: of(&self.0.b) }
    }

    /// Claims the next counter at edge A and opens both inference streams. No share leaves before the grant.
    ///
    /// # Errors
    /// [`DeviceError`]; the counter is burnt.
    pub async fn begin(&self) -> Result<RemoteInference, DeviceError> {
        let shared = &self.0;
        let ready = shared.ahead.lock().await.pop_front();
        // Edge A may already begin: its answers do not depend on the data. Edge B hears nothing before the grant.
        let Prepared { counter, masks, a } = match ready {
            Some(prepared) => prepared,
            None => self.prepare(false).await?,
        };
        claim(&shared.a, counter).await?;
        let b = shared.b.open_stream(&self.infer_frame(counter)).await?;
        Ok(RemoteInference::new(Arc::clone(shared), masks, a, b))
    }

    /// Has edge A send the answers of the next inferences while the link is idle, as far as the session is set to.
    ///
    /// # Errors
    /// [`DeviceError`] when edge A is gone.
    pub async fn look_ahead(&self) -> Result<(), DeviceError> {
        if self.0.relay() {
            return Ok(());
        }
        while self.0.ahead.lock().await.len() < self.0.options.prefetch {
            let prepared = self.prepare(true).await?;
            self.0.ahead.lock().await.push_back(prepared);
        }
        Ok(())
    }

    fn infer_frame(&self, counter: u64) -> Infer {
        Infer { counter, exact: !self.0.options.drop_bits, relay: self.0.relay() }
    }

    /// Reserves the next counter with its masks and opens its stream to edge A.
    async fn prepare(&self, prefetch: bool) -> Result<Prepared, DeviceError> {
        let shared = &self.0;
        let (counter, masks) = {
            let mut state = shared.state.lock().await;
            let session = |e: &dyn std::fmt::Display| DeviceError::Session(e.to_string());
            let counter = state.0.next_counter(std::process::id(), shared.begun.elapsed()).map_err(|e| session(&e))?;
            (counter, state.1.begin(counter).map_err(|e| session(&e))?)
        };
        if prefetch {
            let mut control = shared.a.control.lock().await;
            shared.a.write(&mut control.0, FrameType::Prefetch, &Prefetch { counter }).await?;
        }
        let a = shared.a.open_stream(&self.infer_frame(counter)).await?;
        Ok(Prepared { counter, masks, a })
    }

    /// Ends the session after a failure; the edges see one code whatever the reason.
    pub async fn abort(&self) {
        self.end(CloseCode::Failed).await;
    }

    /// Ends the session as planned.
    pub async fn close(&self) {
        self.end(CloseCode::Done).await;
    }

    async fn end(&self, code: CloseCode) {
        let (a, b) = (&self.0.a.connection, &self.0.b.connection);
        tokio::join!(a.shutdown(code as u32, ""), b.shutdown(code as u32, ""));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.a.connection.close(CloseCode::Done as u32, "");
        self.b.connection.close(CloseCode::Done as u32, "");
    }
}

/// Asks edge A for `counter` and waits for the grant.
async fn claim(a: &EdgeLink, counter: u64) -> Result<(), DeviceError> {
    let mut control = a.control.lock().await;
    a.write(&mut control.0, FrameType::Claim, &Claim { counter }).await?;
    let frame = a.read(&mut control.1, FrameType::Claimed, "a grant of the counter").await?;
    let granted: Claimed = frame.body().map_err(|e| a.broke(&e))?;
    if granted.counter == counter { Ok(()) } else { Err(a.broke(&WireError::Counter(granted.counter))) }
}
