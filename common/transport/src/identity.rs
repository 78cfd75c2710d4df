//! The folder that the owner gave to this host: certificate, key, CA.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, RootCertStore};
use twinmask_ring::keys::MaskKey;
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::{self, Facts, Fingerprint, now_s};
use crate::error::IdentityError;
use crate::mask_key;
use crate::permissions::check_private_permissions;
use crate::provider::provider;
use crate::revocation::{RevocationList, SEEN_FILE, Seen};
use crate::role::Role;

/// The certificate chain of an identity folder, own certificate first.
pub const CERT_FILE: &str = "cert.pem";
/// The private key of an identity folder (PKCS #8), mode 0600.
pub const KEY_FILE: &str = "key.pem";
/// The owner's CA certificate in an identity folder.
pub const CA_FILE: &str = "ca.pem";
/// The owner's revocation list in an identity folder; there may be none.
pub const CRL_FILE: &str = "crl.pem";

/// Larger than any PEM file that belongs here, bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Larger than any revocation list, bytes: some 70,000 certificates.
const MAX_CRL: u64 = 4 * 1024 * 1024;

/// Who we are, and whom we trust: the own certificate chain with its key, the owner's CA, and its revocation list.
///
/// With a list, every certificate must be one that the list's issuer speaks for, and not on it. Without one, nothing
/// is revoked; but once a host has seen a list it takes none that is older, and does not go without. A list counts
/// beyond the end of its own validity: the owner is offline, a list is as good as the day it was copied, and refusing
/// everybody because nobody was revoked lately would help nobody. [`RevocationList::is_out_of_date`] is for people.
#[derive(Clone)]
pub struct Identity {
    facts: Facts,
    chain: Vec<CertificateDer<'static>>,
    pub(crate) certified: Arc<SingleCertAndKey>,
    ca: Arc<RootCertStore>,
    authorities: Arc<Vec<CertificateDer<'static>>>,
    pub(crate) trust: Trust,
    list: Option<Arc<RevocationList>>,
    mask_key: Option<MaskKey>,
    /// Secret of this identity from which endpoints derive what must survive a restart.
    pub(crate) restart_key: Arc<ring::hmac::Key>,
}

impl Identity {
    /// Loads `cert.pem`, `key.pem`, `ca.pem` and, if they are there, `mask.key` and `crl.pem` from an identity folder,
    /// and notes the number of the list in [`SEEN_FILE`] there.
    ///
    /// # Errors
    /// Missing or malformed files, a key that does not belong to the certificate, a certificate that is not of the CA,
    /// access by others than the owner of the files to the folder or the key, a revocation list that is not the CA's,
    /// or older than one that was seen here, or has gone, and a certificate that is not valid now or was revoked.
    pub fn load(dir: &Path) -> Result<Identity, IdentityError> {
        let identity = Self::load_after(dir, None)?;
        identity.check_standing()?;
        Ok(identity)
    }

    /// As [`Identity::load`] for a process that runs with this identity: a list that is older than its own is refused,
    /// and an identity that is itself no longer valid is returned, so that its list is known;
    /// [`Identity::check_standing`] tells.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load_anew(&self, dir: &Path) -> Result<Identity, IdentityError> {
        Self::load_after(dir, Some(self))
    }

    /// As [`Identity::load`], but the revocation list is neither read nor noted, and nobody looks at the clock: for who
    /// only keeps the folder.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load_bare(dir: &Path) -> Result<Identity, IdentityError> {
        check_private_permissions(dir, 0o700)?;
        check_private_permissions(&dir.join(KEY_FILE), 0o600)?;
        let read = |name: &str| read_bounded(&dir.join(name), MAX_FILE);
        let shown = |name: &str| dir.join(name).display().to_string();
        let (cert, key, ca) = (read(CERT_FILE)?, read(KEY_FILE)?, read(CA_FILE)?);
        let mut identity = Self::parse([&cert, &key, &ca], [shown(CERT_FILE), shown(KEY_FILE), shown(CA_FILE)])?;
        identity.mask_key = mask_key::read(dir)?;
        Ok(identity)
    }

    fn load_after(dir: &Path, before: Option<&Identity>) -> Result<Identity, IdentityError> {
        let mut identity = Self::load_bare(dir)?;
        let in_memory = before.filter(|before| before.authorities == identity.authorities);
        let in_memory = in_memory.and_then(|before| before.list.as_ref()).map(|list| list.number().clone());
        let on_disk = seen(dir)?.and_then(|seen| seen.number_of(&identity.authorities));
        let (file, remembered) = (dir.join(CRL_FILE), on_disk.clone());
        let newest = in_memory.max(on_disk);
        match file.try_exists() {
            Ok(false) => match newest {
                None => return Ok(identity),
                Some(seen) => return Err(IdentityError::ListGone { path: file, seen }),
            },
            Ok(true) => identity = identity.with_list(&read_bounded(&file, MAX_CRL)?, &file.display().to_string())?,
            Err(source) => return Err(IdentityError::Read { path: file, source }),
        }
        if let Some(list) = identity.list.as_mut().map(Arc::make_mut) {
            let found = list.number().clone();
            match newest {
                Some(seen) if found < seen => return Err(IdentityError::ListOlder { path: file, found, seen }),
                _ if remembered.as_ref() == Some(&found) => {}
                _ => {
                    let written = Seen::new(found, &identity.authorities).write(dir);
                    list.unremembered = written.err().map(|e| format!("{}: {e}", dir.join(SEEN_FILE).display()));
                }
            }
        }
        Ok(identity)
    }

    /// An identity from PEM texts, for those that do not come from a folder. Does not look at the clock: see
    /// [`Identity::check_standing`].
    ///
    /// # Errors
    /// As [`Identity::load`], without permissions and clock.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Identity, IdentityError> {
        Self::parse([cert, key, ca], [CERT_FILE, KEY_FILE, CA_FILE].map(str::to_owned))
    }

    fn parse(pem: [&[u8]; 3], [cert_file, key_file, ca_file]: [String; 3]) -> Result<Identity, IdentityError> {
        let wrong = |file: &String, problem: String| IdentityError::Content { file: file.clone(), problem };
        let Issued { chain, facts, authorities, ca, trust } = issued_by([pem[0], pem[2]], [&cert_file, &ca_file])?;
        let mut key = PrivateKeyDer::from_pem_slice(pem[1])
            .map_err(|e| wrong(&key_file, format!("holds no private key in PEM ({e})")))?;
        let restart_key = Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.secret_der()));
        let signing = rustls::crypto::ring::sign::any_supported_type(&key);
        key.zeroize();
        let signing = signing.map_err(|e| wrong(&key_file, format!("holds no usable private key ({e})")))?;
        let certified = CertifiedKey::new(chain.clone(), signing);
        certified.keys_match().map_err(|e| wrong(&key_file, format!("does not belong to {cert_file} ({e})")))?;
        let (certified, authorities) = (Arc::new(certified.into()), Arc::new(authorities));
        Ok(Identity { facts, chain, certified, ca, authorities, trust, list: None, mask_key: None, restart_key })
    }

    /// The same with the owner's revocation list (PEM), read from `file`.
    ///
    /// # Errors
    /// Anything that is no list of the CA, or [`IdentityError::Revoked`] when the own certificate is on it.
    pub fn with_revocations(self, pem: &[u8], file: &str) -> Result<Identity, IdentityError> {
        let identity = self.with_list(pem, file)?;
        if identity.revokes(identity.serial()) {
            return Err(IdentityError::Revoked { role: identity.facts.role });
        }
        Ok(identity)
    }

    fn with_list(mut self, pem: &[u8], file: &str) -> Result<Identity, IdentityError> {
        let wrong = |problem: String| IdentityError::Content { file: file.to_owned(), problem };
        let (der, list) = RevocationList::read(pem).map_err(wrong)?;
        let trust = Trust::new(&self.ca, &[der]);
        let checked = trust.and_then(|trust| match trust.check_own(&self.chain, &self.facts) {
            Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)) | Ok(()) => Ok(trust),
            Err(e) => Err(e),
        });
        let foreign = |e| wrong(format!("is not a revocation list of the CA in {CA_FILE} ({e})"));
        (self.trust, self.list) = (checked.map_err(foreign)?, Some(Arc::new(list)));
        Ok(self)
    }

    /// Whether the owner's list names the certificate of this serial number.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        self.list.as_ref().is_some_and(|list| list.names(serial))
    }

    /// The owner's revocation list, if there is one.
    #[must_use]
    pub fn revocation_list(&self) -> Option<&RevocationList> {
        self.list.as_deref()
    }

    /// Checks that the own certificate is valid now, by this machine's clock, and not revoked.
    ///
    /// # Errors
    /// [`IdentityError::Expired`] or [`IdentityError::NotYetValid`], with both times, or [`IdentityError::Revoked`].
    pub fn check_standing(&self) -> Result<(), IdentityError> {
        let (role, now_s) = (self.facts.role.clone(), now_s());
        if self.revokes(self.serial()) {
            return Err(IdentityError::Revoked { role });
        }
        if now_s > self.facts.not_after_s {
            return Err(IdentityError::Expired { role, not_after_s: self.facts.not_after_s, now_s });
        }
        if now_s < self.facts.not_before_s {
            return Err(IdentityError::NotYetValid { role, not_before_s: self.facts.not_before_s, now_s });
        }
        Ok(())
    }

    /// The key that masks hang on beside the seed: a device's own, edge A's master key.
    ///
    /// # Errors
    /// [`IdentityError::NoMaskKey`] when the folder holds none.
    pub fn mask_key(&self) -> Result<&MaskKey, IdentityError> {
        self.mask_key.as_ref().ok_or_else(|| IdentityError::NoMaskKey { role: self.facts.role.clone() })
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The role in the own certificate.
    pub fn role(&self) -> &Role {
        &self.facts.role
    }

    /// The fingerprint of the own public key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.facts.key
    }

    /// The serial number of the own certificate, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.facts.serial
    }

    /// The start of the own certificate's validity, seconds since 1970.
    pub fn not_before_s(&self) -> i64 {
        self.facts.not_before_s
    }

    /// The end of the own certificate's validity, seconds since 1970.
    pub fn not_after_s(&self) -> i64 {
        self.facts.not_after_s
    }

    /// Names of the models that the own certificate lets a device use.
    pub fn models(&self) -> &[String] {
        &self.facts.models
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.facts.role, self.facts.key)
    }
}

/// What the certificate (PEM) in `file` says, once it is seen to be one of the CA in `ca` (PEM). Neither its key is
/// asked for nor the clock.
///
/// # Errors
/// [`IdentityError::Content`].
pub fn read_certificate(cert: &[u8], file: &str, ca: &[u8]) -> Result<Facts, IdentityError> {
    issued_by([cert, ca], [file, CA_FILE]).map(|issued| issued.facts)
}

/// A chain with its facts, and those who have signed it.
struct Issued {
    chain: Vec<CertificateDer<'static>>,
    facts: Facts,
    authorities: Vec<CertificateDer<'static>>,
    ca: Arc<RootCertStore>,
    trust: Trust,
}

/// The chain in `cert` (PEM), which the authorities in `ca` (PEM) must have signed.
fn issued_by([cert, ca]: [&[u8]; 2], [cert_file, ca_file]: [&str; 2]) -> Result<Issued, IdentityError> {
    let wrong = |file: &str, problem: String| IdentityError::Content { file: file.to_owned(), problem };
    let chain = certificates(cert, cert_file)?;
    let facts = certificate::read(&chain[0]).map_err(|e| wrong(cert_file, format!("the certificate {e}")))?;
    let authorities = certificates(ca, ca_file)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|e| wrong(ca_file, format!("is no usable CA certificate ({e})")))?;
    }
    let ca = Arc::new(roots);
    let trust = Trust::new(&ca, &[]);
    let trust = trust
        .and_then(|trust| trust.check_own(&chain, &facts).map(|()| trust))
        .map_err(|e| wrong(cert_file, format!("was not issued by the CA in {CA_FILE} ({e})")))?;
    Ok(Issued { chain, facts, authorities, ca, trust })
}

fn read_bounded(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > most {
        let problem = format!("has {size} bytes, more than any PEM file that belongs here");
        return Err(IdentityError::Content { file: path.display().to_string(), problem });
    }
    std::fs::read(path).map(Zeroizing::new).map_err(failed)
}

/// What stands in [`SEEN_FILE`] of the folder `dir`.
fn seen(dir: &Path) -> Result<Option<Seen>, IdentityError> {
    let path = dir.join(SEEN_FILE);
    match path.try_exists() {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(source) => return Err(IdentityError::Read { path, source }),
    }
    let problem = || "does not say which revocation list was seen here last".to_owned();
    let unreadable = || IdentityError::Content { file: path.display().to_string(), problem: problem() };
    Seen::parse(&read_bounded(&path, MAX_FILE)?).ok_or_else(unreadable).map(Some)
}

fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let wrong = |problem: String| IdentityError::Content { file: file.to_owned(), problem };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(format!("is no certificate in PEM ({e})")))?;
    if found.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(found) }
}

/// The stock verifiers of an identity, made once: each holds the revocation list ready to be searched.
#[derive(Clone)]
pub(crate) struct Trust {
    /// What servers ask of clients.
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
    /// What clients ask of servers.
    pub(crate) servers: Arc<WebPkiServerVerifier>,
}

impl Trust {
    fn new(ca: &Arc<RootCertStore>, crls: &[CertificateRevocationListDer<'static>]) -> Result<Trust, rustls::Error> {
        let unusable = |e: rustls::client::VerifierBuilderError| rustls::Error::General(e.to_string());
        let clients = WebPkiClientVerifier::builder_with_provider(ca.clone(), provider());
        let servers = WebPkiServerVerifier::builder_with_provider(ca.clone(), provider());
        Ok(Trust {
            clients: clients.with_crls(crls.iter().cloned()).build().map_err(unusable)?,
            servers: servers.with_crls(crls.iter().cloned()).build().map_err(unusable)?,
        })
    }

    /// Checks our own chain as a peer will do, in the middle of its validity: the clock is looked at elsewhere.
    fn check_own(&self, chain: &[CertificateDer<'_>], facts: &Facts) -> Result<(), rustls::Error> {
        let middle_s = facts.not_before_s.midpoint(facts.not_after_s).max(0).unsigned_abs();
        let middle = UnixTime::since_unix_epoch(std::time::Duration::from_secs(middle_s));
        self.clients.verify_client_cert(&chain[0], &chain[1..], middle).map(drop)
    }
}
