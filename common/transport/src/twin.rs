//! Connections in memory, for tests.

use std::net::{Ipv4Addr, SocketAddr};

use crate::certificate::Fingerprint;
use crate::connection::{Connection, Peer};
use crate::memory;
use crate::role::Role;

/// Two ends of one connection in memory. The first belongs to `role_a`, so its [`Connection::peer`] is `role_b`, and
/// the other way round. Fingerprints are made from the roles. No check of roles or keys is made.
pub fn memory_pair(role_a: Role, role_b: Role) -> (Connection, Connection) {
    let peer = |role: Role| Peer {
        key_fingerprint: Fingerprint::of(role.uri().as_bytes()),
        role,
        serial: Vec::new(),
        not_after_s: i64::MAX,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let (a, b) = memory::ends();
    (Connection::memory(peer(role_b.clone()), role_a.clone(), a), Connection::memory(peer(role_a), role_b, b))
}

/// Cuts a connection in memory as if its network had gone: both ends see
/// [`CloseReason::TimedOut`](crate::CloseReason::TimedOut). Returns false, and does nothing, for a QUIC connection.
pub fn sever(connection: &Connection) -> bool {
    connection.sever()
}
