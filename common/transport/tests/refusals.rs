//! Everything that is wrong with a peer, at either end: it is refused, the one who refuses knows the cause, and the one
//! who is refused hears it. (An older revocation list: `folders.rs`. A device's models: the owner's.)
#![allow(clippy::unwrap_used)]

mod authority;
mod stranger;

use std::time::Duration;

use authority::{Authority, DAY, device, dial, listen, meet};
use rcgen::{ExtendedKeyUsagePurpose as Usage, KeyPair};
use twinmask_transport::{CloseReason, Identity, Objection, Role, TransportError, TransportLimits};

const ALPN: &[u8] = twinmask_wire::ALPN.as_bytes();

/// What a peer shows that is not as it should be.
struct Wrong {
    what: &'static str,
    /// As a server that is named as edge A, and as a client of edge A.
    server: Shown,
    client: Shown,
    /// Words of who refuses.
    words: [&'static str; 2],
    /// TLS alerts that the refused server and the refused client hear.
    alerts: [u64; 2],
}

struct Shown {
    certificate: String,
    key: KeyPair,
    alpn: &'static [u8],
    revoked: bool,
}

fn table(owner: &Authority) -> Vec<Wrong> {
    let key = || KeyPair::generate().unwrap();
    let show = |by: &Authority, role: &Role, usage: Usage, days: (i64, i64)| {
        let key = key();
        let certificate = by.certify_for(&[role.uri()], role.dns_name(), &key, days, vec![usage]);
        Shown { certificate, key, alpn: ALPN, revoked: false }
    };
    let both = |by: &Authority, days| {
        [show(by, &Role::EdgeA, Usage::ServerAuth, days), show(by, &device(), Usage::ClientAuth, days)]
    };
    let row = |what, [server, client]: [Shown; 2], words, alerts| Wrong { what, server, client, words, alerts };
    let [good_server, good_client] = both(owner, (-1, 30));
    let mut revoked = both(owner, (-1, 30));
    revoked.iter_mut().for_each(|shown| shown.revoked = true);
    let mut other_alpn = [good_server, good_client];
    other_alpn.iter_mut().for_each(|shown| shown.alpn = b"twinmask/0");
    let mut roles = [
        show(owner, &Role::EdgeB, Usage::ServerAuth, (-1, 30)),
        show(owner, &Role::EdgeB, Usage::ClientAuth, (-1, 30)),
    ];
    // Edge B's certificate that also names the host of edge A, so that its role alone is wrong.
    let uris = [Role::EdgeB.uri()];
    roles[0].certificate =
        owner.certify_for(&uris, Role::EdgeA.dns_name(), &roles[0].key, (-1, 30), vec![Usage::ServerAuth]);
    let usages =
        [show(owner, &Role::EdgeA, Usage::ClientAuth, (-1, 30)), show(owner, &device(), Usage::ServerAuth, (-1, 30))];
    let issuer = ["was not issued by this owner"; 2];
    vec![
        row("wrong CA", both(&Authority::new("somebody else"), (-1, 30)), issuer, [48, 48]),
        row("wrong CA of the same name", both(&Authority::new("owner"), (-1, 30)), issuer, [51, 51]),
        row("expired", both(owner, (-9, -2)), ["expired at"; 2], [45, 45]),
        row("not yet valid", both(owner, (2, 9)), ["is valid from"; 2], [45, 45]),
        row("wrong EKU", usages, ["for server authentication", "for client authentication"], [43, 43]),
        row("wrong role", roles, ["is edge-b, but it was named as edge-a", "edge-b, which has no business"], [49, 49]),
        row("wrong ALPN", other_alpn, ["does not speak twinmask/"; 2], [120, 120]),
        row("revoked", revoked, ["was revoked by the owner"; 2], [44, 44]),
    ]
}

/// `own`, with the owner's list that names the certificate if it is to.
fn knowing(owner: &Authority, own: Identity, shown: &Shown) -> Identity {
    if !shown.revoked {
        return own;
    }
    let serials = [authority::serial(shown.certificate.as_bytes())];
    own.with_revocations(owner.list_of(1, 2999, &serials).as_bytes(), "crl.pem").unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_named_at_both_ends() {
    let owner = Authority::new("owner");
    for wrong in table(&owner) {
        let shown = &wrong.server;
        let (server, address) = stranger::server((&shown.certificate, &shown.key), shown.alpn);
        let own = knowing(&owner, owner.issue(&device()), shown);
        let (heard, dialled) = tokio::join!(stranger::hears(&server), dial(&address, &Role::EdgeA, &own));
        check(&wrong, 0, &dialled.expect_err(wrong.what), heard);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_client_is_named_at_both_ends() {
    let owner = Authority::new("owner");
    for wrong in table(&owner) {
        let shown = &wrong.client;
        let own = knowing(&owner, owner.issue(&Role::EdgeA), shown);
        let (mut server, address) = listen(own, TransportLimits::lan()).await;
        let call = stranger::refused(&address, Some((&shown.certificate, &shown.key)), shown.alpn);
        let (heard, accepted) = tokio::join!(call, server.accept());
        check(&wrong, 1, &accepted.unwrap().expect_err(wrong.what), heard);
    }
}

fn check(wrong: &Wrong, side: usize, error: &TransportError, heard: u64) {
    let (what, words) = (wrong.what, wrong.words[side]);
    assert!(error.to_string().contains(words), "{what}: {words:?} is not in: {error}");
    assert_eq!(heard, 0x100 + wrong.alerts[side], "{what}: what the refused end hears");
    if let TransportError::PeerExpired { not_after_s, now_s, .. } = error {
        assert!((now_s - not_after_s - 2 * DAY).abs() < 60, "{not_after_s} {now_s}");
    }
}

/// What our own programs say who are refused.
#[tokio::test]
async fn a_device_of_ours_is_told_why_it_is_refused() {
    let owner = Authority::new("owner");
    let edge = owner.issue(&Role::EdgeA);
    let (own, lost) = (owner.lasting(&device(), (-9, -2)), owner.issue(&device()));
    let revoking = edge.clone().with_revocations(owner.revocations(&[&lost]).as_bytes(), "crl.pem").unwrap();
    for (edge, own, words) in [(edge, own, "expired"), (revoking, lost, "it was revoked by the owner")] {
        let (client, _) = meet(edge, &own, &Role::EdgeA).await;
        let error = client.expect_err(words);
        assert!(matches!(error, TransportError::RefusedUs { .. }) && error.to_string().contains(words), "{error}");
    }
}

/// A connection that stands falls with the certificate of either of its ends, as either of them sees it.
#[tokio::test]
async fn live_connections_are_objected_to() {
    let owner = Authority::new("owner");
    let (edge, own, other) = (owner.issue(&Role::EdgeA), owner.issue(&device()), owner.issue(&Role::EdgeB));
    let (at_device, at_edge) = meet(edge.clone(), &own, &Role::EdgeA).await;
    let (at_device, at_edge) = (at_device.unwrap(), at_edge.unwrap());
    assert_eq!(at_device.peer().serial, edge.serial());
    let list = |knowing: &Identity, revoked: &[&Identity]| {
        knowing.clone().with_revocations(owner.revocations(revoked).as_bytes(), "crl.pem")
    };
    for connection in [&at_device, &at_edge] {
        assert_eq!(connection.objection(&list(&own, &[&other]).unwrap()), None, "somebody else");
        for (knowing, revoked) in [(&own, &edge), (&edge, &own)] {
            let objection = connection.objection(&list(knowing, &[revoked]).unwrap());
            assert_eq!(objection, Some(Objection::Revoked { role: revoked.role().clone() }));
        }
    }

    const SHORT: Duration = Duration::from_secs(2);
    let short = owner.ending(&device(), SHORT);
    let (at_device, at_edge) = meet(edge.clone(), &short, &Role::EdgeA).await;
    let (at_device, at_edge) = (at_device.unwrap(), at_edge.unwrap());
    assert!(at_edge.lasts() <= SHORT + Duration::from_secs(1) && at_device.lasts() == at_edge.lasts());
    tokio::time::sleep(at_edge.lasts() + Duration::from_millis(1100)).await;
    for (connection, knowing) in [(&at_device, &short), (&at_edge, &edge)] {
        let expected = Objection::Expired { role: device(), not_after_s: short.not_after_s() };
        assert_eq!(connection.objection(knowing), Some(expected));
    }
    assert_eq!(at_edge.close_reason(), None::<CloseReason>, "it is the programs that end it");
}
