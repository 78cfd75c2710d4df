//! A connection to a peer whose identity has been checked, over QUIC or in memory.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, VarInt};
use tokio::sync::OwnedSemaphorePermit;

use crate::certificate::{Facts, Fingerprint, now_s};
use crate::classify::close_reason;
use crate::error::{CloseReason, Objection, TransportError};
use crate::identity::Identity;
use crate::memory::MemoryEnd;
use crate::role::Role;
use crate::stream::{RecvHalf, SendHalf};

/// Longest wait of [`Connection::shutdown`].
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// Who sits at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The role in its certificate.
    pub role: Role,
    /// Its public key: different peers must have different ones, which a device checks for its two edges.
    pub key_fingerprint: Fingerprint,
    /// The serial number of its certificate, big-endian; none in memory.
    pub serial: Vec<u8>,
    /// The end of its certificate's validity, seconds since 1970.
    pub not_after_s: i64,
    /// Names of the models that its certificate lets a device use.
    pub models: Vec<String>,
    /// Its address at the time of the handshake.
    pub address: SocketAddr,
}

impl Peer {
    pub(crate) fn of(facts: Facts, address: SocketAddr) -> Peer {
        let Facts { role, key, serial, not_after_s, models, .. } = facts;
        Peer { role, key_fingerprint: key, serial, not_after_s, models, address }
    }

    /// Whether its certificate names the model.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.iter().any(|m| m == model)
    }
}

/// A handle to a connection; clones are handles to the same one. When the last handle and stream is dropped, the
/// connection closes with code 0.
#[derive(Clone)]
pub struct Connection {
    ends: Arc<Ends>,
    link: Link,
}

/// Whose certificates a connection was made with.
struct Ends {
    peer: Peer,
    own: Own,
}

/// This end's certificate: another one may have come since.
pub(crate) struct Own {
    role: Role,
    serial: Vec<u8>,
    not_after_s: i64,
}

impl Own {
    pub(crate) fn of(identity: &Identity) -> Own {
        let (role, serial) = (identity.role().clone(), identity.serial().to_vec());
        Own { role, serial, not_after_s: identity.not_after_s() }
    }
}

#[derive(Clone)]
enum Link {
    Quic(quinn::Connection, Hold),
    Memory(Arc<MemoryEnd>),
}

/// What lasts as long as the handles of a connection.
#[derive(Clone)]
pub(crate) enum Hold {
    /// The client's endpoint: every connection has one of its own.
    Endpoint(Endpoint),
    /// A place among the connections of the server.
    Place(#[expect(dead_code, reason = "is free when dropped")] Arc<OwnedSemaphorePermit>),
}

impl Connection {
    pub(crate) fn quic(
        connection: quinn::Connection,
        hold: Hold,
        facts: Facts,
        own: Own,
        address: SocketAddr,
    ) -> Connection {
        let peer = Peer::of(facts, address);
        Connection { ends: Arc::new(Ends { peer, own }), link: Link::Quic(connection, hold) }
    }

    pub(crate) fn memory(peer: Peer, role: Role, end: Arc<MemoryEnd>) -> Connection {
        let own = Own { role, serial: Vec::new(), not_after_s: i64::MAX };
        Connection { ends: Arc::new(Ends { peer, own }), link: Link::Memory(end) }
    }

    /// Why it may stand no longer: a certificate of one of its ends has run out, or is on the owner's list as far as
    /// `identity` knows it.
    #[must_use]
    pub fn objection(&self, identity: &Identity) -> Option<Objection> {
        let Ends { peer, own } = &*self.ends;
        for (role, serial, not_after_s) in
            [(&own.role, &own.serial, own.not_after_s), (&peer.role, &peer.serial, peer.not_after_s)]
        {
            if identity.revokes(serial) {
                return Some(Objection::Revoked { role: role.clone() });
            }
            if now_s() > not_after_s {
                return Some(Objection::Expired { role: role.clone(), not_after_s });
            }
        }
        None
    }

    /// How long the certificates of both its ends last, by this machine's clock.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        let Ends { peer, own } = &*self.ends;
        let left_s = peer.not_after_s.min(own.not_after_s).saturating_sub(now_s()).saturating_add(1);
        Duration::from_secs(u64::try_from(left_s).unwrap_or(0))
    }

    /// Cuts a connection in memory as if its network had gone; false, and nothing, for one over QUIC.
    pub(crate) fn sever(&self) -> bool {
        match &self.link {
            Link::Quic(..) => false,
            Link::Memory(end) => {
                end.sever();
                true
            }
        }
    }

    /// Who sits at the other end.
    pub fn peer(&self) -> &Peer {
        &self.ends.peer
    }

    /// Opens a stream. The peer's [`Connection::accept_bi`] may not return before something was written to it.
    /// Waits while the peer has its maximum of streams open. Cancel safe.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    pub async fn open_bi(&self) -> Result<(SendHalf, RecvHalf), TransportError> {
        match &self.link {
            Link::Quic(connection, _) => match connection.open_bi().await {
                Ok((send, recv)) => Ok((SendHalf::quic(send), RecvHalf::quic(recv))),
                Err(error) => Err(self.ended(close_reason(error))),
            },
            Link::Memory(end) => {
                let (send, recv) = end.open().await.map_err(|reason| self.ended(reason))?;
                Ok((SendHalf::memory(send), RecvHalf::memory(recv)))
            }
        }
    }

    /// The next stream that the peer opened. Cancel safe.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    pub async fn accept_bi(&self) -> Result<(SendHalf, RecvHalf), TransportError> {
        match &self.link {
            Link::Quic(connection, _) => match connection.accept_bi().await {
                Ok((send, recv)) => Ok((SendHalf::quic(send), RecvHalf::quic(recv))),
                Err(error) => Err(self.ended(close_reason(error))),
            },
            Link::Memory(end) => {
                let (send, recv) = end.accept().await.map_err(|reason| self.ended(reason))?;
                Ok((SendHalf::memory(send), RecvHalf::memory(recv)))
            }
        }
    }

    fn ended(&self, reason: CloseReason) -> TransportError {
        TransportError::Closed { address: format!("{} at {}", self.peer().role, self.peer().address), reason }
    }

    /// Closes at once, with an application code and text for the peer (QUIC cuts a text that does not fit in a
    /// packet). What was written but not yet received is lost. Only the first call counts.
    pub fn close(&self, code: u32, text: &str) {
        match &self.link {
            // quinn would forget how a connection has ended that is closed again.
            Link::Quic(connection, _) if connection.close_reason().is_some() => {}
            Link::Quic(connection, _) => connection.close(VarInt::from_u32(code), text.as_bytes()),
            Link::Memory(end) => end.close(code, text),
        }
    }

    /// As [`Connection::close`]; on the client's side also waits, up to 1 s, until the peer has been told. A process
    /// that is about to exit needs that.
    pub async fn shutdown(&self, code: u32, text: &str) {
        self.close(code, text);
        if let Link::Quic(_, Hold::Endpoint(endpoint)) = &self.link {
            let _ = tokio::time::timeout(SHUTDOWN_WAIT, endpoint.wait_idle()).await;
        }
    }

    /// Waits until the connection has ended, and says how. Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        match &self.link {
            Link::Quic(connection, _) => close_reason(connection.closed().await),
            Link::Memory(end) => end.closed().await,
        }
    }

    /// How the connection ended; `None` while it stands.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.link {
            Link::Quic(connection, _) => connection.close_reason().map(close_reason),
            Link::Memory(end) => end.close_reason(),
        }
    }

    /// UDP payload bytes (sent, received) by the QUIC stack's own counters, handshake included; in memory the bytes
    /// written to streams by either side.
    pub fn udp_bytes(&self) -> (u64, u64) {
        match &self.link {
            Link::Quic(connection, _) => {
                let stats = connection.stats();
                (stats.udp_tx.bytes, stats.udp_rx.bytes)
            }
            Link::Memory(end) => end.bytes(),
        }
    }

    /// From now on the peer may send `receive` bytes ahead on all streams, and we keep `send` bytes that it has not
    /// acknowledged. What it was allowed before stays so. Nothing in memory.
    pub fn set_windows(&self, receive: u32, send: u32) {
        if let Link::Quic(connection, _) = &self.link {
            connection.set_receive_window(receive.into());
            connection.set_send_window(send.into());
        }
    }

    /// From now on the peer may have `count` streams open at a time. Nothing in memory.
    pub fn set_max_streams(&self, count: u32) {
        if let Link::Quic(connection, _) = &self.link {
            connection.set_max_concurrent_bi_streams(count.into());
        }
    }

    /// The largest UDP payload that the path is known to carry so far, bytes; 0 in memory.
    pub fn udp_payload(&self) -> u16 {
        match &self.link {
            Link::Quic(connection, _) => connection.stats().path.current_mtu,
            Link::Memory(_) => 0,
        }
    }

    /// The smoothed round trip; zero in memory.
    pub fn round_trip(&self) -> Duration {
        match &self.link {
            Link::Quic(connection, _) => connection.rtt(),
            Link::Memory(_) => Duration::ZERO,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} at {})", self.peer().role, self.peer().address)
    }
}
