//! Outgoing connections, and the sockets of both sides.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, EndpointConfig, Runtime, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;

use crate::classify::handshake_error;
use crate::connection::{Connection, Hold, Own};
use crate::error::TransportError;
use crate::identity::Identity;
use crate::limits::TransportLimits;
use crate::role::Role;
use crate::socket::Batched;
use crate::tls::{self, PeerCheck};

/// Addresses of one host name that are tried.
const MAX_ADDRESSES: usize = 6;
/// Lead that each address gets over the next one of the same host name.
const STAGGER: Duration = Duration::from_millis(150);

/// The side that dials. Every connection has a UDP socket of its own.
pub struct Client;

impl Client {
    /// Connects to `address` (HOST:PORT, name or number) and returns once both sides have accepted each other's
    /// certificate. A name with several addresses has them tried side by side, the first to succeed wins.
    ///
    /// # Errors
    /// Every [`TransportError`] but those of servers; `timeout` bounds the whole, name resolution included.
    pub async fn connect(
        address: &str,
        expected: &Role,
        identity: &Identity,
        limits: &TransportLimits,
        timeout: Duration,
    ) -> Result<Connection, TransportError> {
        if !identity.role().may_dial(expected) {
            return Err(TransportError::NotADialer { own: identity.role().clone(), expected: expected.clone() });
        }
        let call = Call {
            address: address.to_owned(),
            expected: expected.clone(),
            identity: identity.clone(),
            limits: limits.clone(),
            begun: Instant::now(),
        };
        match tokio::time::timeout(timeout, race(&call)).await {
            Ok(result) => result,
            Err(_) => Err(call.unanswered()),
        }
    }
}

/// What one call of [`Client::connect`] is about.
#[derive(Clone)]
struct Call {
    address: String,
    expected: Role,
    identity: Identity,
    limits: TransportLimits,
    begun: Instant,
}

impl Call {
    fn unanswered(&self) -> TransportError {
        let waited_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        TransportError::Unreachable { address: self.address.clone(), role: self.expected.clone(), waited_ms }
    }
}

/// Resolves `address` (HOST:PORT) to at most [`MAX_ADDRESSES`] different addresses.
pub(crate) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, TransportError> {
    let failed = |source| TransportError::Resolve { address: address.to_owned(), source };
    let mut found: Vec<SocketAddr> = Vec::new();
    for candidate in tokio::net::lookup_host(address).await.map_err(failed)? {
        if !found.contains(&candidate) && found.len() < MAX_ADDRESSES {
            found.push(candidate);
        }
    }
    if found.is_empty() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

/// The first attempt that succeeds; if none does, the error of one that was answered, as it says more.
async fn race(call: &Call) -> Result<Connection, TransportError> {
    let mut attempts = JoinSet::new();
    for (lead, peer) in (0..).zip(resolve(&call.address).await?) {
        let call = call.clone();
        attempts.spawn(async move {
            tokio::time::sleep(STAGGER * lead).await;
            attempt(&call, peer).await
        });
    }
    let mut failure = None;
    while let Some(done) = attempts.join_next().await {
        match done.unwrap_or_else(|e| Err(TransportError::Tls(format!("handshake task: {e}")))) {
            Ok(connection) => return Ok(connection),
            Err(TransportError::Unreachable { .. }) => {}
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| call.unanswered()))
}

async fn attempt(call: &Call, peer: SocketAddr) -> Result<Connection, TransportError> {
    let check = PeerCheck::new(call.address.clone(), &call.identity, Some(call.expected.clone()));
    let crypto = QuicClientConfig::try_from(tls::client(&call.identity, check.clone())?)
        .map_err(|e| TransportError::Tls(e.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(call.limits.quinn());

    let any: SocketAddr =
        if peer.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let endpoint = endpoint(any, EndpointConfig::default(), None, &call.limits)?;
    let name = call.expected.dns_name().unwrap_or_default();
    let connecting = endpoint
        .connect_with(config, peer, name)
        .map_err(|e| TransportError::Socket { address: call.address.clone(), source: std::io::Error::other(e) })?;

    let done = async {
        let connection = connecting.await?;
        confirmed(&connection).await.map(|()| connection)
    };
    match (done.await, check.take()) {
        (Ok(connection), Some(Ok(facts))) => {
            let own = Own::of(&call.identity);
            Ok(Connection::quic(connection, Hold::Endpoint(endpoint), facts, own, peer))
        }
        (_, Some(Err(refused))) => Err(refused),
        (Err(error), _) => Err(handshake_error(&call.address, error, call.unanswered())),
        (Ok(_), None) => Err(TransportError::BadCertificate {
            address: call.address.clone(),
            problem: "was never presented".to_owned(),
        }),
    }
}

/// Waits until the server has confirmed the handshake. In TLS 1.3 the client is done before the server has looked at
/// its certificate; without this wait a refusal would appear only at the first answer. quinn tells by a counter only.
async fn confirmed(connection: &quinn::Connection) -> Result<(), ConnectionError> {
    while connection.stats().frame_rx.handshake_done == 0 {
        tokio::select! {
            error = connection.closed() => return Err(error),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    Ok(())
}

/// An endpoint on `local` with large socket buffers; the system may grant smaller ones.
pub(crate) fn endpoint(
    local: SocketAddr,
    mut config: EndpointConfig,
    server: Option<quinn::ServerConfig>,
    limits: &TransportLimits,
) -> Result<Endpoint, TransportError> {
    let failed = |source| TransportError::Socket { address: local.to_string(), source };
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP)).map_err(failed)?;
    let size = limits.socket_buffer as usize;
    let _ = socket.set_recv_buffer_size(size);
    let _ = socket.set_send_buffer_size(size);
    if local.is_ipv6() {
        socket.set_only_v6(false).map_err(failed)?;
    }
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&local.into()).map_err(failed)?;
    config
        .max_udp_payload_size(limits.max_udp_payload)
        .map_err(|e| failed(std::io::Error::other(format!("largest UDP payload: {e}"))))?;
    let socket = TokioRuntime.wrap_udp_socket(socket.into()).map_err(failed)?;
    // A client has one connection, and is better off with fewer calls of the system.
    let socket = if server.is_some() { Batched::over(socket, limits.max_udp_payload) } else { socket };
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime)).map_err(failed)
}
