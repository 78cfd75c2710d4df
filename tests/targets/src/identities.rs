//! Certificates and lists of revoked ones, before and behind their PEM.

use std::sync::OnceLock;

use twinmask_transport::Identity;

use crate::scene::scene;
use crate::seeds::{Seed, bad, good};

const CERTIFICATE: &str = "CERTIFICATE";
const LIST: &str = "X509 CRL";

/// What the bytes behind the first are, by that one: DER of an own certificate, of a CA's, of a revocation list; or a
/// PEM file of each.
pub(crate) fn certificate(data: &[u8]) -> bool {
    let Some((&which, bytes)) = data.split_first() else { return false };
    let issued = &scene().identity;
    let identity = |cert: &[u8], ca: &[u8]| Identity::from_pem(cert, issued.key_pem.as_bytes(), ca).is_ok();
    let wrapped = |tag: &str| pem::encode(&pem::Pem::new(tag, bytes)).into_bytes();
    match which % 6 {
        0 => identity(&wrapped(CERTIFICATE), issued.ca_pem.as_bytes()),
        1 => identity(issued.cert_pem.as_bytes(), &wrapped(CERTIFICATE)),
        2 => revokes(&wrapped(LIST)),
        3 => identity(bytes, issued.ca_pem.as_bytes()),
        4 => identity(issued.cert_pem.as_bytes(), bytes),
        _ => revokes(bytes),
    }
}

fn revokes(list: &[u8]) -> bool {
    static OWN: OnceLock<Identity> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let issued = &scene().identity;
        let pem = [issued.cert_pem.as_bytes(), issued.key_pem.as_bytes(), issued.ca_pem.as_bytes()];
        Identity::from_pem(pem[0], pem[1], pem[2]).expect("own identity")
    });
    own.clone().with_revocations(list, "crl.pem").is_ok()
}

pub(crate) fn certificate_seeds() -> Vec<Seed> {
    let scene = scene();
    let texts = [&scene.identity.cert_pem, &scene.identity.ca_pem, &scene.revocations];
    let mut seeds = Vec::new();
    for ((which, text), name) in (0..).zip(texts).zip(["certificate", "authority", "list"]) {
        let der = pem::parse(text).expect("own PEM").into_contents();
        let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
        seeds.push(good(format!("{name}.der"), with(which, &der)));
        seeds.push(good(format!("{name}.pem"), with(which + 3, text.as_bytes())));
        seeds.push(bad(format!("{name}-cut.der"), with(which, &der[..der.len() - 1])));
        if name != "authority" {
            // The same signature over another serial number; a CA's is not looked at, as it is trusted anyway.
            let mut other = der.clone();
            other[20] ^= 1;
            seeds.push(bad(format!("{name}-altered.der"), with(which, &other)));
        }
    }
    seeds
}
