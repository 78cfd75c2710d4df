//! Incoming connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use twinmask_wire::CloseCode;

use crate::classify::handshake_error;
use crate::connection::{Connection, Hold, Own};
use crate::error::TransportError;
use crate::gate::{Gate, Verdict};
use crate::identity::Identity;
use crate::limits::TransportLimits;
use crate::quic::{endpoint, resolve};
use crate::tls::{self, PeerCheck};

/// Bytes kept of one client before its handshake begins, and of all such clients.
const INCOMING_BUFFERS: (u64, u64) = (64 * 1024, 1024 * 1024);
/// Clients whose first packet has come and about whom nothing is decided.
const MOST_INCOMING: usize = 256;
/// What the client is told that takes no place because others have come first.
const FULL: &str = "this edge has as many connections as it may have; try again later";
/// Longest wait for clients to learn that the server goes.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// An endpoint that accepts the roles which may dial its own (see [`Role::may_dial`](crate::Role::may_dial)).
pub struct Server {
    endpoint: Endpoint,
    config: quinn::ServerConfig,
    identity: Identity,
    wait: Duration,
    gate: Gate,
    /// Places for connections of clients that are who they may be.
    places: Arc<Semaphore>,
    handshakes: JoinSet<Result<Connection, TransportError>>,
    draining: bool,
}

impl Server {
    /// Listens on `address` (HOST:PORT; port 0 picks one, see [`Server::local_addr`]).
    ///
    /// # Errors
    /// An address that does not resolve or is taken, an identity that is no edge's, or limits that QUIC does not know.
    pub async fn bind(address: &str, identity: Identity, limits: TransportLimits) -> Result<Server, TransportError> {
        if identity.role().dns_name().is_none() {
            return Err(TransportError::Tls(format!("{} is no edge and cannot listen", identity.role())));
        }
        let mut config =
            quinn::ServerConfig::with_crypto(crypto(&identity, PeerCheck::new(String::new(), &identity, None))?);
        config
            .transport_config(limits.quinn())
            .max_incoming(MOST_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFERS.0)
            .incoming_buffer_size_total(INCOMING_BUFFERS.1);
        let mut bound = Err(TransportError::Tls("no address to listen on".to_owned()));
        for local in resolve(address).await? {
            bound = endpoint(local, restartable(&identity), Some(config.clone()), &limits);
            if bound.is_ok() {
                break;
            }
        }
        Ok(Server {
            endpoint: bound?,
            config,
            identity,
            wait: Duration::from_millis(limits.handshakes.timeout_ms.into()),
            gate: Gate::new(limits.handshakes, Instant::now()),
            places: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            handshakes: JoinSet::new(),
            draining: false,
        })
    }

    /// The address that is really listened on.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Takes another identity for the handshakes to come; connections that stand are left alone.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// The next client that is who it may be, or the failure of one that is not (to be logged with a limit, not fatal);
    /// `None` once the server is closed. Handshakes run side by side, within [`TransportLimits::handshakes`], and only
    /// while this is being awaited are new ones begun.
    ///
    /// Cancel safe.
    pub async fn accept(&mut self) -> Option<Result<Connection, TransportError>> {
        loop {
            tokio::select! {
                // Always taken, also without a place for it: what waits in this queue keeps others out.
                incoming = self.endpoint.accept() => {
                    if let Err(error) = self.begin(incoming?) {
                        return Some(Err(error));
                    }
                }
                Some(done) = self.handshakes.join_next() => {
                    return Some(done.unwrap_or_else(|e| Err(TransportError::Tls(format!("handshake task: {e}")))));
                }
            }
        }
    }

    fn begin(&mut self, incoming: Incoming) -> Result<(), TransportError> {
        if self.draining || self.places.available_permits() == 0 {
            incoming.refuse();
            return Ok(());
        }
        let proven = incoming.remote_address_validated();
        match self.gate.ask(incoming.remote_address().ip(), proven, Instant::now()) {
            Verdict::Begin(place) => {
                let (config, places) = (self.config.clone(), self.places.clone());
                let shaking = handshake(incoming, config, self.identity.clone(), self.wait, places);
                self.handshakes.spawn(async move {
                    let done = shaking.await;
                    if done.is_ok() {
                        place.succeeded();
                    }
                    done
                });
                Ok(())
            }
            Verdict::Prove => {
                let _ = incoming.retry(); // cannot fail: the address was not proven
                Ok(())
            }
            // No answer: an honest client sends its packet again until it is its turn.
            Verdict::Ignore(block) => {
                incoming.ignore();
                Err(TransportError::TooManyHandshakes { block: block.to_string() })
            }
        }
    }

    /// Refuses all new clients from now on (they get [`TransportError::Busy`]), as long as [`Server::accept`] is
    /// awaited.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Closes all connections with an application code and text, and waits up to 2 s until the clients know.
    pub async fn close(&mut self, code: u32, text: &str) {
        self.endpoint.close(VarInt::from_u32(code), text.as_bytes());
        self.handshakes.shutdown().await;
        let _ = tokio::time::timeout(CLOSE_WAIT, self.endpoint.wait_idle()).await;
    }
}

fn crypto(identity: &Identity, check: Arc<PeerCheck>) -> Result<Arc<QuicServerConfig>, TransportError> {
    let config = tls::server(identity, check)?;
    Ok(Arc::new(QuicServerConfig::try_from(config).map_err(|e| TransportError::Tls(e.to_string()))?))
}

/// An endpoint whose connection IDs and stateless resets outlive the process, as they hang on the identity's key: the
/// clients of an edge that was killed and started again learn it from the first answer, not from the idle timeout.
fn restartable(identity: &Identity) -> EndpointConfig {
    let derive = |label: &[u8]| hmac::sign(&identity.restart_key, label);
    let reset = hmac::Key::new(hmac::HMAC_SHA256, derive(b"twinmask/1 stateless reset").as_ref());
    let ids = derive(b"twinmask/1 connection id");
    let ids = ids.as_ref().iter().take(8).fold(0, |key, &byte| key << 8 | u64::from(byte));
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

async fn handshake(
    incoming: Incoming,
    mut config: quinn::ServerConfig,
    identity: Identity,
    wait: Duration,
    places: Arc<Semaphore>,
) -> Result<Connection, TransportError> {
    let peer = incoming.remote_address();
    let address = peer.to_string();
    let waited_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let unanswered = || TransportError::HandshakeTimeout { address: address.clone(), waited_ms };

    let check = PeerCheck::new(address.clone(), &identity, None);
    config.crypto = crypto(&identity, check.clone())?;
    let failed = |error| handshake_error(&address, error, unanswered());
    let connecting = incoming.accept_with(Arc::new(config)).map_err(failed)?;
    let done = tokio::time::timeout(wait, connecting).await.map_err(|_| unanswered())?;
    match (done, check.take()) {
        (Ok(connection), Some(Ok(facts))) => match places.try_acquire_owned() {
            Ok(place) => {
                let (hold, own) = (Hold::Place(Arc::new(place)), Own::of(&identity));
                Ok(Connection::quic(connection, hold, facts, own, peer))
            }
            Err(_) => {
                connection.close(VarInt::from_u32(CloseCode::Limit as u32), FULL.as_bytes());
                Err(TransportError::Full { address })
            }
        },
        (_, Some(Err(refused))) => Err(refused),
        (Err(error), _) => Err(failed(error)),
        (Ok(_), None) => Err(TransportError::BadCertificate { address, problem: "was never presented".to_owned() }),
    }
}
