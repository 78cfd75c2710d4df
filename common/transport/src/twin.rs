//! Connections in memory, for tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::certificate::{Facts, Fingerprint};
use crate::connection::{Connection, Peer};
use crate::identity::Identity;
use crate::memory;
use crate::role::Role;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Two ends of one connection in memory. The first belongs to `role_a`, so its [`Connection::peer`] is `role_b`, and
/// the other way round. Fingerprints are made from the roles, and no certificate names a model. No check of roles or
/// keys is made.
pub fn memory_pair(role_a: Role, role_b: Role) -> (Connection, Connection) {
    memory_pair_for(role_a, &[], role_b)
}

/// As [`memory_pair`], for a device whose certificate names `models`.
pub fn memory_pair_for(device: Role, models: &[&str], edge: Role) -> (Connection, Connection) {
    let (a, b) = memory::ends();
    let (at_device, at_edge) = (peer(edge.clone(), &[]), peer(device.clone(), models));
    (Connection::memory(at_device, device, a), Connection::memory(at_edge, edge, b))
}

/// As [`memory_pair`], the first end being held by who has `identity`: the other one sees its certificate.
pub fn memory_pair_as(identity: &Identity, role_b: Role) -> (Connection, Connection) {
    let (a, b) = memory::ends();
    let (at_a, at_b) = (peer(role_b.clone(), &[]), Peer::of(identity.facts().clone(), ADDRESS));
    (Connection::memory(at_a, identity.role().clone(), a), Connection::memory(at_b, role_b, b))
}

fn peer(role: Role, models: &[&str]) -> Peer {
    let key = Fingerprint::of(role.uri().as_bytes());
    let models = models.iter().map(|&m| m.to_owned()).collect();
    Peer::of(Facts { role, key, serial: Vec::new(), not_before_s: 0, not_after_s: i64::MAX, models }, ADDRESS)
}

/// Cuts a connection in memory as if its network had gone: both ends see
/// [`CloseReason::TimedOut`](crate::CloseReason::TimedOut). Returns false, and does nothing, for a QUIC connection.
pub fn sever(connection: &Connection) -> bool {
    connection.sever()
}
