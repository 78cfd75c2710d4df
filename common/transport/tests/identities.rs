//! Who may talk to whom, over real QUIC.
#![allow(clippy::unwrap_used)]

mod authority;
mod stranger;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authority::{Authority, device, dial, listen, meet};
use rcgen::KeyPair;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use twinmask_transport::{Client, CloseReason, Connection, Identity, Role, TransportError, TransportLimits, model_uri};

const ALPN: &[u8] = twinmask_wire::ALPN.as_bytes();

type Outcome = Result<Connection, TransportError>;

/// The error, whose text must contain `words`.
fn failure(outcome: Outcome, words: &str) -> TransportError {
    let error = outcome.expect_err("connected");
    assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
    error
}

#[tokio::test]
async fn the_right_peers_meet_and_know_each_other() {
    let owner = Authority::new("owner");
    let (a, b, own) = (owner.issue(&Role::EdgeA), owner.issue(&Role::EdgeB), owner.issue(&device()));
    let (to_a, at_a) = meet(a.clone(), &own, &Role::EdgeA).await;
    let (to_b, at_b) = meet(b.clone(), &own, &Role::EdgeB).await;
    let (relay, at_b_too) = meet(b.clone(), &a, &Role::EdgeB).await;
    let (to_a, to_b) = (to_a.unwrap(), to_b.unwrap());
    assert_eq!((&to_a.peer().role, to_a.peer().key_fingerprint), (&Role::EdgeA, a.fingerprint()));
    assert_eq!((&to_b.peer().role, to_b.peer().key_fingerprint), (&Role::EdgeB, b.fingerprint()));
    assert_ne!(to_a.peer().key_fingerprint, to_b.peer().key_fingerprint);
    assert_eq!(at_a.unwrap().peer().role, device());
    assert_eq!(at_b.unwrap().peer().key_fingerprint, own.fingerprint());
    assert_eq!((&relay.unwrap().peer().role, &at_b_too.unwrap().peer().role), (&Role::EdgeB, &Role::EdgeA));
}

#[tokio::test]
async fn another_owners_server_is_refused() {
    let owner = Authority::new("owner");
    // The second has the same name as the owner's CA: it fails on the signature, not on the issuer's name.
    for other in [Authority::new("somebody else"), Authority::new("owner")] {
        let (client, server) = meet(other.issue(&Role::EdgeA), &owner.issue(&device()), &Role::EdgeA).await;
        assert!(matches!(failure(client, "was not issued by this owner"), TransportError::WrongIssuer { .. }));
        assert!(matches!(failure(server, "refused our certificate"), TransportError::RefusedUs { .. }));
    }
}

#[tokio::test]
async fn another_owners_device_is_refused_and_learns_why() {
    let owner = Authority::new("owner");
    for other in [Authority::new("somebody else"), Authority::new("owner")] {
        let key = KeyPair::generate().unwrap();
        let cert = other.certify(&[device().uri()], None, &key, (-1, 1));
        let trusts_both = format!("{}{}", other.pem, owner.pem);
        let own = Identity::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes(), trusts_both.as_bytes()).unwrap();
        let (client, server) = meet(owner.issue(&Role::EdgeA), &own, &Role::EdgeA).await;
        assert!(matches!(failure(client, "different deployments"), TransportError::RefusedUs { .. }));
        assert!(matches!(failure(server, "was not issued by this owner"), TransportError::WrongIssuer { .. }));
    }
}

#[tokio::test]
async fn swapped_addresses_are_named() {
    let owner = Authority::new("owner");
    let own = owner.issue(&device());
    let (client, server) = meet(owner.issue(&Role::EdgeB), &own, &Role::EdgeA).await;
    let error = failure(client, "is edge-b, but it was named as edge-a: are the two addresses swapped?");
    assert!(matches!(error, TransportError::WrongRole { expected: Role::EdgeA, found: Role::EdgeB, .. }));
    failure(server, "refused our certificate");
    let (client, _) = meet(owner.issue(&Role::EdgeA), &own, &Role::EdgeB).await;
    failure(client, "is edge-a, but it was named as edge-b");
}

#[tokio::test]
async fn one_key_on_both_ends_is_refused_by_either() {
    let owner = Authority::new("owner");
    let key = KeyPair::generate().unwrap();
    let (edge, own) = (owner.with_key(&Role::EdgeA, &key, (-1, 1)), owner.with_key(&device(), &key, (-1, 1)));
    let (client, _) = meet(edge.clone(), &own, &Role::EdgeA).await;
    assert!(matches!(failure(client, "same private key"), TransportError::SameIdentity { .. }));

    let (mut server, address) = listen(edge, TransportLimits::lan()).await;
    let cert = owner.certify(&[device().uri()], None, &key, (-1, 1));
    let call = stranger::refused(&address, Some((&cert, &key)), ALPN);
    let (_, accepted) = tokio::join!(call, server.accept());
    assert!(matches!(failure(accepted.unwrap(), "same private key"), TransportError::SameIdentity { .. }));
}

#[tokio::test]
async fn only_the_right_roles_dial() {
    let owner = Authority::new("owner");
    let wrong = dial("127.0.0.1:9", &Role::EdgeA, &owner.issue(&Role::EdgeB)).await;
    assert!(matches!(failure(wrong, "edge-b has no business with edge-a"), TransportError::NotADialer { .. }));

    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let key = KeyPair::generate().unwrap();
    let cert = owner.certify(&[Role::EdgeB.uri()], None, &key, (-1, 1));
    let call = stranger::refused(&address, Some((&cert, &key)), ALPN);
    let (seen, accepted) = tokio::join!(call, server.accept());
    let error = failure(accepted.unwrap(), "edge-b, which has no business with edge-a");
    assert!(matches!(error, TransportError::RoleNotServed { .. }));
    assert_eq!(seen, 0x100 + 49, "access_denied");
}

#[tokio::test]
async fn exactly_one_role_per_certificate() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let uri = |name: &str| vec![format!("twinmask://device/{name}")];
    let uris = [vec![], vec![device().uri(), Role::EdgeB.uri()], uri("../x"), uri("x\x1b[2J")];
    let words = ["names no twinmask role", "more than one", "names a bad role", r"x\u{1b}[2J"];
    for (uris, words) in uris.into_iter().zip(words) {
        let key = KeyPair::generate().unwrap();
        let cert = owner.certify(&uris, Some("cam-1"), &key, (-1, 1));
        let call = stranger::refused(&address, Some((&cert, &key)), ALPN);
        let (_, accepted) = tokio::join!(call, server.accept());
        assert!(matches!(failure(accepted.unwrap(), words), TransportError::BadCertificate { .. }));
    }
}

/// If this fails, an edge lets a device use what the owner has not given it.
#[tokio::test]
async fn the_models_of_a_peer_are_those_of_its_certificate() {
    let owner = Authority::new("owner");
    let uris = [device().uri(), model_uri("net"), "https://elsewhere/net3".to_owned(), model_uri("net2")];
    let own = owner.naming(&uris, &device(), &KeyPair::generate().unwrap(), (-1, 1));
    assert_eq!(own.models(), ["net", "net2"]);
    let (client, server) = meet(owner.issue(&Role::EdgeA), &own, &Role::EdgeA).await;
    let (edge, peer) = (client.unwrap(), server.unwrap());
    assert!(peer.peer().may_use("net") && peer.peer().may_use("net2") && !peer.peer().may_use("net3"));
    assert!(edge.peer().models.is_empty());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let (seen, accepted) = tokio::join!(stranger::refused(&address, None, ALPN), server.accept());
    assert!(accepted.unwrap().is_err());
    assert_eq!(seen, 0x100 + 116, "certificate_required");
}

/// The client's first flight takes two datagrams: a handshake is begun with half of it, and with the wrong half.
#[tokio::test]
async fn a_first_flight_that_comes_in_pieces_is_put_together() {
    let owner = Authority::new("owner");
    let own = owner.issue(&device());
    for lost in 0..2 {
        let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
        let (outside, inside) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        inside.connect(&address).await.unwrap();
        let between = outside.local_addr().unwrap().to_string();
        let forwarding = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            let (mut client, mut passed) = (None, Vec::new());
            loop {
                tokio::select! {
                    came = outside.recv_from(&mut up) => {
                        let (n, from) = came.unwrap();
                        client = Some(from);
                        if passed.len() != lost {
                            inside.send(&up[..n]).await.unwrap();
                        }
                        passed.push(n);
                        assert!(passed[0] >= 1200 && passed.get(1).is_none_or(|&n| n >= 1200), "{passed:?}");
                    }
                    came = inside.recv(&mut down) => {
                        let client = client.expect("it has begun");
                        outside.send_to(&down[..came.unwrap()], client).await.unwrap();
                    }
                }
            }
        });
        let (dialled, accepted) = tokio::join!(dial(&between, &Role::EdgeA, &own), server.accept());
        assert_eq!(accepted.unwrap().unwrap().peer().role, device(), "datagram {lost} was lost");
        let (sent, _) = dialled.unwrap().udp_bytes();
        assert!(sent >= 3 * 1200, "{sent} bytes: one flight of two datagrams, and the one that was lost");
        forwarding.abort();
    }
}

/// Nobody on the way, and no program that lacks it, can bring an edge or a device to the curve alone.
#[tokio::test]
async fn who_has_only_the_curve_is_of_another_version() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let key = KeyPair::generate().unwrap();
    let cert = owner.certify(&[device().uri()], None, &key, (-1, 1));
    let kx_groups = vec![rustls::crypto::ring::kx_group::X25519];
    let curve = Arc::new(CryptoProvider { kx_groups, ..(*twinmask_transport::provider()).clone() });
    let tls = stranger::client_tls_of(Some((&cert, &key)), ALPN, curve.clone());
    let (called, accepted) = tokio::join!(stranger::call(&address, tls), server.accept());
    assert!(called.is_err());
    assert!(matches!(failure(accepted.unwrap(), "same version"), TransportError::Version { .. }));

    let cert = owner.certify(&[Role::EdgeA.uri()], Role::EdgeA.dns_name(), &key, (-1, 1));
    let (server, address) = stranger::server_of((&cert, &key), ALPN, curve);
    let own = owner.issue(&device());
    let (heard, dialled) = tokio::join!(stranger::hears(&server), dial(&address, &Role::EdgeA, &own));
    assert!(matches!(failure(dialled, "same version"), TransportError::Version { .. }));
    assert_eq!(heard, 0x100 + 40, "handshake_failure");
}

#[tokio::test]
async fn silence_is_reported_with_the_address() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let own = Authority::new("owner").issue(&device());
    let begun = Instant::now();
    let wait = Duration::from_millis(700);
    let result = Client::connect(&address, &Role::EdgeA, &own, &TransportLimits::lan(), wait).await;
    let error = failure(result, "is edge-a running there");
    assert!(matches!(&error, TransportError::Unreachable { address: named, .. } if *named == address));
    assert!(begun.elapsed() >= wait);

    failure(dial("no-port", &Role::EdgeA, &own).await, "cannot resolve no-port");
}

#[tokio::test]
async fn host_names_are_resolved() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let own = owner.issue(&device());
    let named = address.replace("127.0.0.1", "localhost");
    let (dialled, accepted) = tokio::join!(dial(&named, &Role::EdgeA, &own), server.accept());
    assert_eq!(dialled.unwrap().peer().address.to_string(), address);
    accepted.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_or_draining_server_says_so() {
    let owner = Authority::new("owner");
    let limits = TransportLimits { max_connections: 1, ..TransportLimits::lan() };
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), limits).await;
    let own = owner.issue(&device());
    let (first, accepted) = tokio::join!(dial(&address, &Role::EdgeA, &own), server.accept());
    let (first, accepted) = (first.unwrap(), accepted.unwrap().unwrap());

    let second =
        tokio::select! { r = dial(&address, &Role::EdgeA, &own) => r, _ = server.accept() => panic!("accepted") };
    assert!(matches!(failure(second, "takes no new connections"), TransportError::Busy { .. }));

    first.shutdown(3, "bye").await;
    assert_eq!(accepted.closed().await, CloseReason::Peer { code: 3, text: "bye".to_owned() });
    drop((first, accepted));
    server.drain();
    let third =
        tokio::select! { r = dial(&address, &Role::EdgeA, &own) => r, _ = server.accept() => panic!("accepted") };
    assert!(matches!(failure(third, "takes no new connections"), TransportError::Busy { .. }));
}

#[tokio::test]
async fn closing_the_server_tells_its_clients_and_ends_accept() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeB), TransportLimits::lan()).await;
    let own = owner.issue(&device());
    let (dialled, _accepted) = tokio::join!(dial(&address, &Role::EdgeB, &own), server.accept());
    server.close(9, "draining").await;
    let seen = dialled.unwrap().closed().await;
    assert_eq!(seen, CloseReason::Peer { code: 9, text: "draining".to_owned() });
    assert!(server.accept().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_edge_is_noticed_long_before_the_idle_timeout() {
    let owner = Authority::new("owner");
    let (edge, own) = (owner.issue(&Role::EdgeA), owner.issue(&device()));
    let limits = TransportLimits { idle_timeout_ms: 60_000, ..TransportLimits::lan() };
    let host = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (tell, address) = tokio::sync::oneshot::channel();
    let (first, first_limits) = (edge.clone(), limits.clone());
    let accepted = host.spawn(async move {
        let (mut server, address) = listen(first, first_limits).await;
        tell.send(address).unwrap();
        (server.accept().await.unwrap().unwrap(), server)
    });
    let address = address.await.unwrap();
    let connection = Client::connect(&address, &Role::EdgeA, &own, &limits, authority::PATIENCE).await.unwrap();
    let old = accepted.await.unwrap();
    // Killed: once nothing runs there any more, letting go of its socket says nothing to the client.
    tokio::task::spawn_blocking(move || host.shutdown_timeout(authority::PATIENCE)).await.unwrap();
    drop(old);

    let begun = Instant::now();
    let mut restarted = twinmask_transport::Server::bind(&address, edge.clone(), limits.clone()).await;
    while restarted.is_err() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(20)).await; // the old socket goes with its runtime
        restarted = twinmask_transport::Server::bind(&address, edge.clone(), limits.clone()).await;
    }
    let _restarted = restarted.unwrap();
    assert_eq!(connection.closed().await, CloseReason::Restarted);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// Counts the session tickets that a server sends.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn no_session_tickets_are_given_out() {
    let owner = Authority::new("owner");
    let (mut server, address) = listen(owner.issue(&Role::EdgeA), TransportLimits::lan()).await;
    let key = KeyPair::generate().unwrap();
    let cert = owner.certify(&[device().uri()], None, &key, (-1, 1));
    let tickets = Arc::new(Tickets::default());
    let mut tls = stranger::client_tls(Some((&cert, &key)), ALPN);
    tls.resumption = Resumption::store(tickets.clone());
    let (called, accepted) = tokio::join!(stranger::call(&address, tls), server.accept());
    let (called, accepted) = (called.unwrap(), accepted.unwrap().unwrap());
    // Tickets would come before any stream's data.
    accepted.open_bi().await.unwrap().0.write_all(b"!").await.unwrap();
    called.accept_bi().await.unwrap();
    assert_eq!(tickets.0.load(Ordering::SeqCst), 0);
}
