//! The owner's folder (docs/cli.md): `owner/` holds the CA, the signing key, the registry and every model
//! version; `edge-a/`, `edge-b/` and `devices/NAME/` are each all that their host needs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use twinmask_ring::keys::MaskKey;
use twinmask_transport::Role;
use twinmask_transport::mask_key::{self, MASK_KEY_FILE};
use twinmask_transport::owner_key::OWNER_FILE;
use zeroize::Zeroizing;

use crate::error::OwnerError;
use crate::hex::{self, hex_line};
use crate::pki::{Ca, Validity};
use crate::registry::Registry;
use crate::secure_file::{Batch, create_private_dir, rename_dir, sweep};

const OWNER: &str = "owner";
/// What `owner/` is called until it is whole.
const UNFINISHED: &str = "owner.new";
const SIGN_KEY: &str = "sign.key";
const REGISTRY: &str = "registry.json";
const DEVICES: &str = "devices";
/// Who holds the lock on this file of `owner/` may change the deployment.
const LOCK: &str = "lock";
/// Of a version of a model, in the owner's store: what the edges get.
pub(crate) const EDGE_BUNDLE: &str = "edge.twm";
/// What is the same for all devices.
pub(crate) const MODEL_BUNDLE: &str = "model.twm";

/// The owner's folder, opened to be changed: nobody else may until this is dropped.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// What was issued so far.
    pub registry: Registry,
    _lock: File,
}

impl Store {
    /// Makes a new deployment at `root`: CA, signing key, identities of both edges. `owner/` gets its name last, so
    /// that what was cut short is made anew, with another CA.
    ///
    /// # Errors
    /// When there is one already, or a file cannot be written.
    pub fn init(root: &Path) -> Result<Self, OwnerError> {
        let (owner, unfinished) = (root.join(OWNER), root.join(UNFINISHED));
        let free = || if owner.exists() { Err(OwnerError::Exists(owner.clone())) } else { Ok(()) };
        free()?;
        create_private_dir(&unfinished)?;
        let lock = lock(&unfinished);
        // Somebody else may have come first.
        if let Err(exists) = free() {
            let _ = std::fs::remove_dir_all(&unfinished);
            return Err(exists);
        }
        let mut store = Self { root: root.into(), registry: Registry::default(), _lock: lock? };
        store.sweep()?;
        let (ca, mut batch, mut registry) = (Ca::create()?, Batch::default(), Registry::default());
        ca.stage(&mut batch, &unfinished)?;
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| OwnerError::Random)?;
        let key = Zeroizing::new(key.as_ref().to_vec());
        batch.private(&unfinished.join(SIGN_KEY), &key)?;
        let mask = new_mask_key()?;
        batch.private(&unfinished.join(MASK_KEY_FILE), hex::secret_line(mask.expose()).as_bytes())?;
        let public = hex_line(&public_key(&signing(&unfinished.join(SIGN_KEY), &key)?));
        batch.public(&unfinished.join(OWNER_FILE), public.as_bytes())?;
        for (role, dir) in [(Role::EdgeA, store.edge_dir("edge-a")), (Role::EdgeB, store.edge_dir("edge-b"))] {
            batch.folder(&dir.join("models"))?;
            create_private_dir(&dir)?;
            registry.issue((&ca, &mask), &mut batch, &role, &store.identity_dir(&role))?;
            batch.public(&dir.join(OWNER_FILE), public.as_bytes())?;
        }
        registry.lists.until_s = Validity::days(registry.lists.days).not_after_s;
        batch.private(&unfinished.join(REGISTRY), &registry.json())?;
        batch.commit()?;
        rename_dir(&unfinished, &owner)?;
        store.registry = registry;
        Ok(store)
    }

    /// Opens the deployment at `root` to change it, as soon as nobody else does: a person is told of the wait. What
    /// somebody who was killed has left half written is removed.
    ///
    /// # Errors
    /// When there is none, or others may read its keys.
    pub fn open(root: &Path) -> Result<Self, OwnerError> {
        read_registry(root)?;
        let lock = lock(&root.join(OWNER))?;
        let store = Self { root: root.into(), registry: read_registry(root)?, _lock: lock };
        twinmask_transport::check_private_permissions(&store.owner_dir(), 0o700).map_err(crate::pki::PkiError::from)?;
        store.sweep()?;
        Ok(store)
    }

    fn sweep(&self) -> Result<(), OwnerError> {
        let folders = [OWNER, UNFINISHED, "edge-a", "edge-b", DEVICES];
        Ok(folders.iter().try_for_each(|folder| sweep(&self.root.join(folder)))?)
    }

    /// Gives the files of `before` their names, then the registry, then those of `after`. Certificates and keys belong
    /// there: one that exists and is not on record could not be revoked, one on record that does not exist harms
    /// nobody. What the registry says is there for others to use, like a model, belongs before it.
    ///
    /// # Errors
    /// When something cannot be written; the deployment is as it was if that is for want of room.
    pub fn commit(&mut self, mut before: Batch, registry: Registry, after: Batch) -> Result<(), OwnerError> {
        before.private(&self.owner_dir().join(REGISTRY), &registry.json())?;
        before.append(after);
        before.commit()?;
        self.registry = registry;
        Ok(())
    }

    /// The deployment's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `owner/`.
    #[must_use]
    pub fn owner_dir(&self) -> PathBuf {
        self.root.join(OWNER)
    }

    /// `edge-a/` or `edge-b/`.
    #[must_use]
    pub fn edge_dir(&self, edge: &str) -> PathBuf {
        self.root.join(edge)
    }

    /// `devices/NAME/`.
    #[must_use]
    pub fn device_dir(&self, name: &str) -> PathBuf {
        self.root.join(DEVICES).join(name)
    }

    /// Folder of the identity of `role`.
    #[must_use]
    pub fn identity_dir(&self, role: &Role) -> PathBuf {
        let dir = match role {
            Role::Device(name) => self.device_dir(name),
            edge => self.edge_dir(&edge.to_string()),
        };
        dir.join("identity")
    }

    /// Folder of one version of a model in the owner's store.
    #[must_use]
    pub fn model_dir(&self, name: &str, version: u32) -> PathBuf {
        model_dir(&self.root, name, version)
    }

    /// The certificate authority.
    ///
    /// # Errors
    /// When its files are missing or others may read them.
    pub fn ca(&self) -> Result<Ca, OwnerError> {
        Ok(Ca::load(&self.owner_dir())?)
    }

    /// Edge A's master key, from which devices' mask keys are derived. A folder of a release that had none gets one
    /// now; edge A gets it when it is issued its next identity.
    ///
    /// # Errors
    /// When the file is malformed, others may read it, or it cannot be written.
    pub fn mask_key(&self) -> Result<MaskKey, OwnerError> {
        if let Some(key) = mask_key::read(&self.owner_dir()).map_err(crate::pki::PkiError::from)? {
            return Ok(key);
        }
        let (key, mut batch) = (new_mask_key()?, Batch::default());
        batch.private(&self.owner_dir().join(MASK_KEY_FILE), hex::secret_line(key.expose()).as_bytes())?;
        batch.commit()?;
        Ok(key)
    }

    /// The key that bundles are signed with.
    ///
    /// # Errors
    /// When the file is missing, malformed, or others may read it.
    pub fn sign_key(&self) -> Result<Ed25519KeyPair, OwnerError> {
        let path = self.owner_dir().join(SIGN_KEY);
        twinmask_transport::check_private_permissions(&path, 0o600).map_err(crate::pki::PkiError::from)?;
        let bytes = Zeroizing::new(std::fs::read(&path).map_err(|e| OwnerError::file(&path, e))?);
        signing(&path, &bytes)
    }

    /// The public key that bundles are verified with.
    ///
    /// # Errors
    /// As [`sign_key`](Self::sign_key).
    pub fn public_key(&self) -> Result<[u8; 32], OwnerError> {
        self.sign_key().map(|key| public_key(&key))
    }
}

fn signing(path: &Path, pkcs8: &[u8]) -> Result<Ed25519KeyPair, OwnerError> {
    Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|e| OwnerError::file(path, e.to_string()))
}

fn public_key(key: &Ed25519KeyPair) -> [u8; 32] {
    key.public_key().as_ref().try_into().expect("ed25519 public keys have 32 bytes")
}

/// What the deployment at `root` has issued, to be looked at: it may change at any time.
///
/// # Errors
/// When there is no deployment, or its registry cannot be read.
pub fn read_registry(root: &Path) -> Result<Registry, OwnerError> {
    let path = root.join(OWNER).join(REGISTRY);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| OwnerError::file(&path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && root.join(OWNER).exists() => {
            Err(OwnerError::file(path, "is missing; restore the owner folder from a backup"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(OwnerError::NoDeployment(root.into())),
        Err(e) => Err(OwnerError::file(path, e)),
    }
}

/// Folder of one version of a model in the owner's store of the deployment at `root`.
#[must_use]
pub fn model_dir(root: &Path, name: &str, version: u32) -> PathBuf {
    root.join(OWNER).join("models").join(format!("{name}-v{version}"))
}

/// The lock of the owner's folder `dir`, which ends with the process, however that ends.
fn lock(dir: &Path) -> Result<File, OwnerError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |e| OwnerError::file(&path, e);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another owner-keygen that is at work in {}", dir.display());
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    Ok(file)
}

/// A fresh master key from the operating system.
fn new_mask_key() -> Result<MaskKey, OwnerError> {
    let mut key = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(key.as_mut()).map_err(|_| OwnerError::Random)?;
    Ok(MaskKey::new(*key))
}

/// Checks a name of a model or device: it becomes a file name and part of a certificate.
///
/// # Errors
/// When it is empty, longer than 63 characters, or holds more than letters, digits, `-`, `_` and `.`.
pub fn check_name(what: &'static str, name: &str) -> Result<(), OwnerError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.chars().all(fits) {
        return Err(OwnerError::Name { what, name: name.into() });
    }
    Ok(())
}
