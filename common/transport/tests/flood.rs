//! Whoever floods an edge with handshakes that come to nothing does not keep others out.
#![allow(clippy::unwrap_used)]

mod authority;
mod flooder;
mod stranger;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::{Authority, PATIENCE, device, dial};
use flooder::{Flood, Kind};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinmask_transport::{Client, Role, Server, TransportError, TransportLimits};

/// The flooder's address; honest clients on loopback come from 127.0.0.1.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A second is what is asked for; the machine may be busy.
const SOON: Duration = Duration::from_secs(5);

fn tls() -> rustls::ClientConfig {
    stranger::client_tls(None, twinmask_wire::ALPN.as_bytes())
}

/// How long honest clients take to connect, one after the other, while the edge is flooded from `from`.
async fn honest_under_flood(kind: Kind, from: Ipv4Addr) -> Vec<Duration> {
    let owner = Authority::new("owner");
    let mut server = Server::bind("127.0.0.1:0", owner.issue(&Role::EdgeA), TransportLimits::lan()).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut accepted = Vec::new();
        while let Some(outcome) = server.accept().await {
            accepted.extend(outcome.ok());
        }
    });
    let flood = Flood::start(kind, from, &address, tls());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let own = owner.issue(&device());
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let connected = Client::connect(&address, &Role::EdgeA, &own, &TransportLimits::lan(), PATIENCE).await;
        took.push(begun.elapsed());
        if let Err(error) = connected {
            panic!("kept out by {kind:?} from {from} after {} datagrams: {error}", flood.sent());
        }
    }
    println!("{kind:?} from {from}: {} datagrams, honest clients took {took:?}", flood.sent());
    serving.abort();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_keep_another_out() {
    for kind in [Kind::Garbage, Kind::Half, Kind::ProvenHalf] {
        let took = honest_under_flood(kind, OTHER).await;
        assert!(took.iter().all(|t| *t < SOON), "{kind:?}: {took:?}");
    }
}

/// Who shares the address of a flooder shares its fate: no place is reserved for it. What stands is not touched, and
/// once the flood is over the address is served again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stand_outlive_a_flood_from_their_own_address() {
    let owner = Authority::new("owner");
    let mut server = Server::bind("127.0.0.1:0", owner.issue(&Role::EdgeA), TransportLimits::lan()).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (own, other) = (owner.issue(&device()), owner.issue(&Role::device("cam-2").unwrap()));
    let (standing, accepted) = tokio::join!(dial(&address, &Role::EdgeA, &own), server.accept());
    let (standing, accepted) = (standing.unwrap(), accepted.unwrap().unwrap());
    let serving = tokio::spawn(async move {
        let mut ignored = 0;
        loop {
            match server.accept().await {
                Some(Err(TransportError::TooManyHandshakes { block })) => {
                    assert_eq!(block, "127.0.0.1/32");
                    ignored += 1;
                }
                Some(Ok(connection)) => return (connection, ignored),
                _ => {}
            }
        }
    });
    let flood = Flood::start(Kind::ProvenHalf, Ipv4Addr::LOCALHOST, &address, tls());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut send, _recv) = standing.open_bi().await.unwrap();
    send.write_all(b"?").await.unwrap();
    let (_, mut recv) = accepted.accept_bi().await.unwrap();
    assert_eq!(recv.read_u8().await.unwrap(), b'?');
    drop(flood);
    let begun = Instant::now();
    let connected = loop {
        // Half handshakes hold their places for 5 s, and a client gives up after 4.
        match dial(&address, &Role::EdgeA, &other).await {
            Ok(connected) => break connected,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    let (_, ignored) = serving.await.unwrap();
    println!("{ignored} ignored; from the flooder's own address {:?} after its end", begun.elapsed());
    assert!(ignored > 0);
    drop(connected);
}

/// A fleet behind one address that comes at once is let in, as nothing of it fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_behind_one_address_is_let_in() {
    let owner = Authority::new("owner");
    let mut server = Server::bind("127.0.0.1:0", owner.issue(&Role::EdgeA), TransportLimits::lan()).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut accepted = Vec::new();
        while accepted.len() < 40 {
            accepted.extend(server.accept().await.unwrap().ok());
        }
        (accepted, server)
    });
    let begun = Instant::now();
    let mut fleet = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (own, address) = (owner.issue(&Role::device(&format!("cam-{n}")).unwrap()), address.clone());
        fleet.spawn(async move { dial(&address, &Role::EdgeA, &own).await });
    }
    let fleet = fleet.join_all().await;
    let refused: Vec<_> = fleet.iter().filter_map(|c| c.as_ref().err().map(ToString::to_string)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let _accepted = serving.await.unwrap();
    println!("40 devices behind one address: {:?}", begun.elapsed());
}

/// Handshakes that fail at once cost the edge a signature each; one address gets a few.
#[tokio::test(flavor = "multi_thread")]
async fn failing_handshakes_of_one_address_are_few() {
    let owner = Authority::new("owner");
    let mut server = Server::bind("127.0.0.1:0", owner.issue(&Role::EdgeA), TransportLimits::lan()).await.unwrap();
    let address = server.local_addr().unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls()).unwrap()));
    let endpoint = quinn::Endpoint::client((OTHER, 0).into()).unwrap();
    let mut without_certificate = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (endpoint, config) = (endpoint.clone(), config.clone());
        without_certificate.spawn(async move {
            loop {
                let name = Role::EdgeA.dns_name().unwrap();
                let calling = endpoint.connect_with(config.clone(), address, name).unwrap();
                if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(100), calling).await {
                    connection.closed().await;
                }
            }
        });
    }
    let begun = Instant::now();
    let (mut failed, mut ignored) = (0.0, 0);
    while begun.elapsed() < Duration::from_secs(3) {
        match server.accept().await.unwrap() {
            Err(TransportError::TooManyHandshakes { .. }) => ignored += 1,
            outcome => {
                outcome.unwrap_err();
                failed += 1.0;
            }
        }
    }
    // Those that have proven their address and those that have not have a budget each.
    let limits = TransportLimits::lan().handshakes;
    let budget = f64::from(limits.failures_burst) + begun.elapsed().as_secs_f64() * f64::from(limits.failures_per_s);
    println!("{failed} failed, {ignored} ignored");
    assert!(failed <= 2.0 * budget + 1.0 && ignored > 0, "{failed} failed, {ignored} ignored");
}
