//! The owner's certificate authority and the identities it issues (PROTOCOL.md, "Wire").
//!
//! All keys are ECDSA P-256. The role of an identity is a SAN URI, as is each model that a device may use; edges also
//! carry the DNS name that TLS looks for.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use twinmask_transport::{
    CA_FILE, CERT_FILE, Identity, IdentityError, KEY_FILE, Role, check_private_permissions, model_uri, utc,
};
use zeroize::Zeroizing;

use crate::hex::hex;
use crate::secure_file::{Batch, WriteError};

/// The CA's private key (PKCS #8, PEM), mode 0600, beside its certificate `ca.pem`.
pub const CA_KEY_FILE: &str = "ca.key";

/// Validity of the CA, years.
const CA_YEARS: u32 = 10;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
const YEAR_S: i64 = 365 * DAY_S;
/// The last second that a certificate can name: end of the year 9999.
const LAST_S: i64 = 253_402_300_799;

/// Why an identity or the CA could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file of the CA could not be read, or others can access it.
    #[error(transparent)]
    Read(#[from] IdentityError),
    /// The file of the CA's key holds none.
    #[error("{file}: holds no private key ({source}); restore the owner folder from a backup")]
    NoKey {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// The CA's key is not the certificate's.
    #[error("{file}: does not belong to {certificate} ({source}); restore the owner folder from a backup")]
    Foreign {
        /// The key's file.
        file: String,
        /// The certificate's file.
        certificate: String,
        /// How that shows.
        source: Box<PkiError>,
    },
    /// The validity is empty or outside of what a certificate can say.
    #[error("a certificate cannot be valid from {} to {}", utc(.0.not_before_s), utc(.0.not_after_s))]
    Validity(Validity),
    /// The certificate library failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before_s: i64,
    /// Last second.
    pub not_after_s: i64,
}

impl Validity {
    /// `years` of 365 days from now on, and the hour before now: clocks of hosts differ.
    pub fn years(years: u32) -> Validity {
        Self::seconds(i64::from(years) * YEAR_S)
    }

    /// As [`years`](Self::years), for `days`.
    pub fn days(days: u32) -> Validity {
        Self::seconds(i64::from(days) * DAY_S)
    }

    fn seconds(seconds: i64) -> Validity {
        let now_s = now_s();
        Validity { not_before_s: now_s - HOUR_S, not_after_s: now_s.saturating_add(seconds).min(LAST_S) }
    }

    fn apply(self, params: &mut CertificateParams) -> Result<(), PkiError> {
        if !(0 <= self.not_before_s && self.not_before_s < self.not_after_s && self.not_after_s <= LAST_S) {
            return Err(PkiError::Validity(self));
        }
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + seconds(self.not_before_s);
        params.not_after = epoch + seconds(self.not_after_s);
        Ok(())
    }
}

/// Seconds since 1970 by this machine's clock.
#[must_use]
pub fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(LAST_S).min(LAST_S)
}

/// A time since 1970 as certificates can say it.
fn seconds(since_1970: i64) -> Duration {
    Duration::from_secs(since_1970.clamp(0, LAST_S).unsigned_abs())
}

impl Default for Validity {
    /// Two years: what identities get.
    fn default() -> Self {
        Self::years(2)
    }
}

/// The owner's certificate authority. Holds its private key, wiped on drop.
pub struct Ca {
    cert_pem: String,
    key: Zeroizing<KeyPair>,
}

/// What one host needs to be somebody: three PEM texts for the identity folder.
pub struct IssuedIdentity {
    /// Whose it is.
    pub role: Role,
    /// The models that it names.
    pub models: Vec<String>,
    /// The serial number of the certificate, big-endian.
    pub serial: [u8; 16],
    /// From when to when it is valid.
    pub validity: Validity,
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: Zeroizing<String>,
    /// The certificate of the CA.
    pub ca_pem: String,
}

impl Ca {
    /// A new CA with a fresh key and a name of its own, valid for 10 years. It can issue identities, no further CAs.
    ///
    /// # Errors
    /// [`PkiError::Random`] or [`PkiError::Certificate`].
    pub fn create() -> Result<Ca, PkiError> {
        let key = Zeroizing::new(KeyPair::generate()?);
        let mut params = CertificateParams::default();
        Validity::years(CA_YEARS).apply(&mut params)?;
        let tag = hex(&random::<4>()?);
        params.distinguished_name.push(DnType::CommonName, format!("twinmask owner {tag}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
        Ok(Ca { cert_pem: params.self_signed(&*key)?.pem(), key })
    }

    /// Loads `ca.pem` and `ca.key` from the owner's folder.
    ///
    /// # Errors
    /// Missing or malformed files, files that do not belong together, and access by others to the folder or the key.
    pub fn load(dir: &Path) -> Result<Ca, PkiError> {
        let key_path = dir.join(CA_KEY_FILE);
        check_private_permissions(dir, 0o700)?;
        check_private_permissions(&key_path, 0o600)?;
        let cert_pem = read(&dir.join(CA_FILE))?;
        let key_pem = Zeroizing::new(read(&key_path)?);
        let file = || key_path.display().to_string();
        let key = KeyPair::from_pem(&key_pem).map_err(|source| PkiError::NoKey { file: file(), source })?;
        let ca = Ca { cert_pem, key: Zeroizing::new(key) };
        let certificate = || dir.join(CA_FILE).display().to_string();
        let foreign = |e| PkiError::Foreign { file: file(), certificate: certificate(), source: Box::new(e) };
        ca.prove().map_err(foreign)?;
        Ok(ca)
    }

    /// Certificate and key belong together if what the key signs is accepted by whoever trusts the certificate.
    fn prove(&self) -> Result<(), PkiError> {
        let probe = self.issue(&Role::EdgeA, &[], Validity::default())?;
        Identity::from_pem(probe.cert_pem.as_bytes(), probe.key_pem.as_bytes(), self.cert_pem.as_bytes())?;
        Ok(())
    }

    /// Writes `ca.pem` and `ca.key` (both 0600) to the folder `dir`, which must be there.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn stage(&self, batch: &mut Batch, dir: &Path) -> Result<(), WriteError> {
        batch.private(&dir.join(CA_FILE), self.cert_pem.as_bytes())?;
        batch.private(&dir.join(CA_KEY_FILE), Zeroizing::new(self.key.serialize_pem()).as_bytes())
    }

    /// The CA's certificate, PEM.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// A signed list (PEM) of the certificates that are no longer to be trusted: serial numbers, and since when in
    /// seconds since 1970. Whoever has seen a list with a higher `number` refuses it; by the end of `valid` there is to
    /// be another.
    ///
    /// # Errors
    /// [`PkiError::Certificate`].
    pub fn revocations(&self, revoked: &[(Vec<u8>, i64)], number: u64, valid: Validity) -> Result<String, PkiError> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let entry = |(serial, since_s): &(Vec<u8>, i64)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: epoch + seconds(*since_s),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: epoch + seconds(valid.not_before_s),
            next_update: epoch + seconds(valid.not_after_s),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, &*self.key)?;
        Ok(list.signed_by(&issuer)?.pem()?)
    }

    /// A fresh key for `role`, with a certificate for it, which names the `models` that a device may use. Devices may
    /// only be TLS clients; edges both (edge A dials edge B for `relay`).
    ///
    /// # Errors
    /// [`PkiError::Validity`], [`PkiError::Random`] or [`PkiError::Certificate`].
    pub fn issue(&self, role: &Role, models: &[String], validity: Validity) -> Result<IssuedIdentity, PkiError> {
        let key = Zeroizing::new(KeyPair::generate()?);
        let mut params = CertificateParams::default();
        validity.apply(&mut params)?;
        let name = if let Role::Device(name) = role { name.clone() } else { role.to_string() };
        params.distinguished_name.push(DnType::CommonName, name);
        let uris = [role.uri()].into_iter().chain(models.iter().map(|m| model_uri(m)));
        params.subject_alt_names =
            uris.map(|uri| Ok(SanType::URI(uri.try_into()?))).collect::<Result<_, PkiError>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(dns) = role.dns_name() {
            params.subject_alt_names.push(SanType::DnsName(dns.try_into()?));
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let serial = random_serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, &*self.key)?;
        Ok(IssuedIdentity {
            role: role.clone(),
            models: models.to_vec(),
            serial,
            validity,
            cert_pem: params.signed_by(&*key, &issuer)?.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            ca_pem: self.cert_pem.clone(),
        })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ca(..)")
    }
}

impl fmt::Debug for IssuedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedIdentity({})", self.role)
    }
}

/// Writes `cert.pem`, `key.pem` and `ca.pem` (0600) to the identity folder `dir`, made with mode 0700. A kill at the
/// very moment they get their names leaves a folder that is refused on load, to be issued again.
///
/// # Errors
/// [`PkiError::Write`]; a folder that was there is as it was.
pub fn write_identity(dir: &Path, issued: &IssuedIdentity) -> Result<(), PkiError> {
    let mut batch = Batch::default();
    stage_identity(&mut batch, dir, issued)?;
    Ok(batch.commit()?)
}

/// As [`write_identity`], together with other files.
///
/// # Errors
/// [`WriteError`].
pub fn stage_identity(batch: &mut Batch, dir: &Path, issued: &IssuedIdentity) -> Result<(), WriteError> {
    batch.folder(dir)?;
    batch.private(&dir.join(CA_FILE), issued.ca_pem.as_bytes())?;
    batch.private(&dir.join(KEY_FILE), issued.key_pem.as_bytes())?;
    batch.private(&dir.join(CERT_FILE), issued.cert_pem.as_bytes())
}

fn read(path: &Path) -> Result<String, PkiError> {
    Ok(std::fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })?)
}

fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(bytes)
}

/// 126 random bits, positive and of fixed length (RFC 5280, section 4.1.2.2).
fn random_serial() -> Result<[u8; 16], PkiError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(bytes)
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
