//! The folder that the owner gave to this host: certificate, key, CA.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::{self, Facts, now_s};
use crate::{Fingerprint, IdentityError, Role, tls};

/// The certificate chain of an identity folder, own certificate first.
pub const CERT_FILE: &str = "cert.pem";
/// The private key of an identity folder (PKCS #8), mode 0600.
pub const KEY_FILE: &str = "key.pem";
/// The owner's CA certificate in an identity folder.
pub const CA_FILE: &str = "ca.pem";

/// Larger than any PEM file that belongs here, bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Who we are, and whom we trust: the own certificate chain with its key, and the owner's CA.
#[derive(Clone)]
pub struct Identity {
    facts: Facts,
    pub(crate) certified: Arc<SingleCertAndKey>,
    pub(crate) ca: Arc<RootCertStore>,
    /// Secret of this identity from which endpoints derive what must survive a restart.
    pub(crate) restart_key: Arc<ring::hmac::Key>,
}

impl Identity {
    /// Loads `cert.pem`, `key.pem` and `ca.pem` from an identity folder.
    ///
    /// # Errors
    /// Missing or malformed files, a key that does not belong to the certificate, a certificate that is not of the CA,
    /// access by others than the owner of the files to the folder or the key, and a certificate that is not valid now.
    pub fn load(dir: &Path) -> Result<Identity, IdentityError> {
        check_private_permissions(dir, 0o700)?;
        check_private_permissions(&dir.join(KEY_FILE), 0o600)?;
        let read = |name: &str| read_bounded(&dir.join(name));
        let shown = |name: &str| dir.join(name).display().to_string();
        let (cert, key, ca) = (read(CERT_FILE)?, read(KEY_FILE)?, read(CA_FILE)?);
        let identity = Self::parse([&cert, &key, &ca], [shown(CERT_FILE), shown(KEY_FILE), shown(CA_FILE)])?;
        identity.check_validity()?;
        Ok(identity)
    }

    /// An identity from PEM texts, for those that do not come from a folder. Does not look at the clock: see
    /// [`Identity::check_validity`].
    ///
    /// # Errors
    /// As [`Identity::load`], without permissions and clock.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Identity, IdentityError> {
        Self::parse([cert, key, ca], [CERT_FILE, KEY_FILE, CA_FILE].map(str::to_owned))
    }

    fn parse(pem: [&[u8]; 3], [cert_file, key_file, ca_file]: [String; 3]) -> Result<Identity, IdentityError> {
        let chain = certificates(pem[0], &cert_file)?;
        let wrong = |file: &String, problem: String| IdentityError::Content { file: file.clone(), problem };
        let facts = certificate::read(&chain[0]).map_err(|e| wrong(&cert_file, format!("the certificate {e}")))?;

        let mut ca = RootCertStore::empty();
        for authority in certificates(pem[2], &ca_file)? {
            ca.add(authority).map_err(|e| wrong(&ca_file, format!("is no usable CA certificate ({e})")))?;
        }
        let ca = Arc::new(ca);
        check_issuer(&chain, &ca, &facts).map_err(|problem| wrong(&cert_file, problem))?;

        let mut key = PrivateKeyDer::from_pem_slice(pem[1])
            .map_err(|e| wrong(&key_file, format!("holds no private key in PEM ({e})")))?;
        let restart_key = Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.secret_der()));
        let signing = rustls::crypto::ring::sign::any_supported_type(&key);
        key.zeroize();
        let signing = signing.map_err(|e| wrong(&key_file, format!("holds no usable private key ({e})")))?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|e| wrong(&key_file, format!("does not belong to {cert_file} ({e})")))?;
        Ok(Identity { facts, certified: Arc::new(certified.into()), ca, restart_key })
    }

    /// Checks that the own certificate is valid now, by this machine's clock.
    ///
    /// # Errors
    /// [`IdentityError::Expired`] or [`IdentityError::NotYetValid`], with both times.
    pub fn check_validity(&self) -> Result<(), IdentityError> {
        let (role, now_s) = (self.facts.role.clone(), now_s());
        if now_s > self.facts.not_after_s {
            return Err(IdentityError::Expired { role, not_after_s: self.facts.not_after_s, now_s });
        }
        if now_s < self.facts.not_before_s {
            return Err(IdentityError::NotYetValid { role, not_before_s: self.facts.not_before_s, now_s });
        }
        Ok(())
    }

    /// The role in the own certificate.
    pub fn role(&self) -> &Role {
        &self.facts.role
    }

    /// The fingerprint of the own public key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.facts.key
    }

    /// The end of the own certificate's validity, seconds since 1970.
    pub fn not_after_s(&self) -> i64 {
        self.facts.not_after_s
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.facts.role, self.facts.key)
    }
}

/// Refuses a file or folder that others than its owner can access.
///
/// # Errors
/// [`IdentityError::Permissions`] with the command that mends it (`wanted` is the mode to show, 0o600 or 0o700), or
/// [`IdentityError::Read`] when there is no such file. Systems without UNIX modes only check the latter.
pub fn check_private_permissions(path: &Path, wanted: u32) -> Result<(), IdentityError> {
    let metadata = std::fs::metadata(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Permissions { path: path.to_owned(), mode, wanted });
        }
    }
    #[cfg(not(unix))]
    let _ = (metadata, wanted);
    Ok(())
}

fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        let problem = format!("has {size} bytes, more than any PEM file that belongs here");
        return Err(IdentityError::Content { file: path.display().to_string(), problem });
    }
    std::fs::read(path).map(Zeroizing::new).map_err(failed)
}

fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let wrong = |problem: String| IdentityError::Content { file: file.to_owned(), problem };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(format!("is no certificate in PEM ({e})")))?;
    if found.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(found) }
}

/// Checks our own chain as a peer will do, in the middle of its validity: the clock is looked at elsewhere.
fn check_issuer(chain: &[CertificateDer<'_>], ca: &Arc<RootCertStore>, facts: &Facts) -> Result<(), String> {
    let verifier = WebPkiClientVerifier::builder_with_provider(ca.clone(), tls::provider())
        .build()
        .map_err(|e| format!("cannot be checked against {CA_FILE} ({e})"))?;
    let middle_s = facts.not_before_s.midpoint(facts.not_after_s).max(0).unsigned_abs();
    let middle = UnixTime::since_unix_epoch(std::time::Duration::from_secs(middle_s));
    verifier
        .verify_client_cert(&chain[0], &chain[1..], middle)
        .map_err(|e| format!("was not issued by the CA in {CA_FILE} ({e})"))?;
    Ok(())
}
