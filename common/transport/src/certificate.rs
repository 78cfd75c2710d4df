//! What we read from a certificate: role, public key, validity.

use std::fmt;

use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::role::Role;

/// What precedes the name of a model in a SAN URI.
const MODEL_SCHEME: &str = "twinmask-model:";

/// The SAN URI by which a device's certificate names a model that the device may use: `twinmask-model:NAME`.
#[must_use]
pub fn model_uri(model: &str) -> String {
    format!("{MODEL_SCHEME}{model}")
}

/// SHA-256 of the DER of a certificate's public key (SubjectPublicKeyInfo): two parties with equal fingerprints hold
/// the same private key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(bytes: &[u8]) -> Fingerprint {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Fingerprint(hash)
    }
}

impl fmt::Display for Fingerprint {
    /// The first 16 bytes in hexadecimal: enough for people to compare.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The facts of one certificate that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub role: Role,
    /// Its public key.
    pub key: Fingerprint,
    /// Serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// First second of its validity, since 1970.
    pub not_before_s: i64,
    /// Last second of its validity, since 1970.
    pub not_after_s: i64,
    /// Names of the models that a device may use.
    pub models: Vec<String>,
}

/// Reads the facts of a certificate in DER. Nothing in it is verified.
///
/// # Errors
/// A text that completes "the certificate ...".
pub(crate) fn read(der: &[u8]) -> Result<Facts, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| format!("cannot be parsed: {e}"))?;
    if !rest.is_empty() {
        return Err("has trailing bytes".to_owned());
    }
    let validity = certificate.validity();
    let uris = uris_of(&certificate)?;
    Ok(Facts {
        role: role_of(&uris)?,
        models: uris.iter().filter_map(|uri| uri.strip_prefix(MODEL_SCHEME)).map(str::to_owned).collect(),
        key: Fingerprint::of(certificate.public_key().raw),
        serial: trimmed(certificate.raw_serial()).to_vec(),
        not_before_s: validity.not_before.timestamp(),
        not_after_s: validity.not_after.timestamp(),
    })
}

/// A number in DER may have a leading zero for its sign.
pub(crate) fn trimmed(serial: &[u8]) -> &[u8] {
    &serial[serial.iter().take_while(|&&b| b == 0).count()..]
}

fn uris_of<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, String> {
    let names = certificate.subject_alternative_name().map_err(|e| format!("has bad alternative names: {e}"))?;
    let uris = names.into_iter().flat_map(|ext| &ext.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Ok(uris.collect())
}

/// Exactly one twinmask URI: with two, two checks could each pick the one that suits them.
fn role_of(uris: &[&str]) -> Result<Role, String> {
    let mut roles = uris.iter().filter_map(|uri| Role::from_uri(uri));
    match (roles.next(), roles.next()) {
        (Some(role), None) => role.map_err(|e| format!("names a bad role: {e}")),
        (None, _) => Err("names no twinmask role".to_owned()),
        (Some(_), Some(_)) => Err("names more than one twinmask role".to_owned()),
    }
}

/// `seconds` since 1970 as a person reads it: `2026-11-20 19:02:00 UTC`.
pub fn utc(seconds: i64) -> String {
    match ASN1Time::from_timestamp(seconds) {
        Ok(time) => {
            let t = time.to_datetime();
            let (y, mo, d) = (t.year(), u8::from(t.month()), t.day());
            format!("{y:04}-{mo:02}-{d:02} {:02}:{:02}:{:02} UTC", t.hour(), t.minute(), t.second())
        }
        Err(_) => format!("second {seconds} of the UNIX clock"),
    }
}

/// Seconds since 1970 by this machine's clock.
pub(crate) fn now_s() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_is_what_a_person_reads() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_795_201_325), "2026-11-20 19:02:05 UTC");
        assert_eq!(utc(i64::MAX), format!("second {} of the UNIX clock", i64::MAX));
    }

    #[test]
    fn rubbish_is_no_certificate() {
        assert!(read(b"").is_err());
        assert!(read(&[0x30; 40]).is_err());
    }
}
