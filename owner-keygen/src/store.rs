//! The owner's folder (docs/cli.md): `owner/` holds the CA, the signing key, the registry and every model
//! version; `edge-a/`, `edge-b/` and `devices/NAME/` are each all that their host needs.

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
use crate::pki::Ca;
use crate::registry::Registry;
use crate::secure_file::{Batch, create_private_dir, write_private, write_public};

const SIGN_KEY: &str = "sign.key";
const REGISTRY: &str = "registry.json";

/// The owner's folder, opened.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// What was issued so far.
    pub registry: Registry,
}

impl Store {
    /// Makes a new deployment at `root`: CA, signing key, identities of both edges.
    ///
    /// # Errors
    /// When there is one already, or a file cannot be written.
    pub fn init(root: &Path) -> Result<Self, OwnerError> {
        let mut store = Self { root: root.into(), registry: Registry::default() };
        if store.owner_dir().exists() {
            return Err(OwnerError::Exists(store.owner_dir()));
        }
        let ca = Ca::create()?;
        create_private_dir(&store.owner_dir())?;
        ca.save(&store.owner_dir())?;
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| OwnerError::Random)?;
        write_private(&store.owner_dir().join(SIGN_KEY), Zeroizing::new(key.as_ref().to_vec()).as_ref())?;
        let mask = store.mask_key()?;
        let public = store.public_key()?;
        write_public(&store.owner_dir().join(OWNER_FILE), hex_line(&public).as_bytes())?;
        let (mut batch, mut registry) = (Batch::default(), Registry::default());
        for (role, dir) in [(Role::EdgeA, store.edge_dir("edge-a")), (Role::EdgeB, store.edge_dir("edge-b"))] {
            batch.folder(&dir.join("models"))?;
            create_private_dir(&dir)?;
            registry.issue((&ca, &mask), &mut batch, &role, &store.identity_dir(&role))?;
            batch.public(&dir.join(OWNER_FILE), hex_line(&public).as_bytes())?;
        }
        // The registry comes last: a deployment without one was cut short and is refused.
        store.commit(batch, registry)?;
        Ok(store)
    }

    /// Opens the deployment at `root`.
    ///
    /// # Errors
    /// When there is none, or others may read its keys.
    pub fn open(root: &Path) -> Result<Self, OwnerError> {
        let mut store = Self { root: root.into(), registry: Registry::default() };
        let path = store.owner_dir().join(REGISTRY);
        if !path.exists() {
            return Err(OwnerError::NoDeployment(root.into()));
        }
        let text = std::fs::read(&path).map_err(|e| OwnerError::file(&path, e))?;
        store.registry = serde_json::from_slice(&text).map_err(|e| OwnerError::file(&path, e))?;
        twinmask_transport::check_private_permissions(&store.owner_dir(), 0o700).map_err(crate::pki::PkiError::from)?;
        Ok(store)
    }

    /// Gives the files of `batch` their names, and last the registry, which says from then on what was issued.
    ///
    /// # Errors
    /// When something cannot be written; the deployment is as it was then.
    pub fn commit(&mut self, mut batch: Batch, registry: Registry) -> Result<(), OwnerError> {
        let text = serde_json::to_vec_pretty(&registry).expect("plain data has a JSON form");
        batch.private(&self.owner_dir().join(REGISTRY), &text)?;
        batch.commit()?;
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
        self.root.join("owner")
    }

    /// `edge-a/` or `edge-b/`.
    #[must_use]
    pub fn edge_dir(&self, edge: &str) -> PathBuf {
        self.root.join(edge)
    }

    /// `devices/NAME/`.
    #[must_use]
    pub fn device_dir(&self, name: &str) -> PathBuf {
        self.root.join("devices").join(name)
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
        self.owner_dir().join("models").join(format!("{name}-v{version}"))
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
        let mut key = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(key.as_mut()).map_err(|_| OwnerError::Random)?;
        write_private(&self.owner_dir().join(MASK_KEY_FILE), hex::secret_line(&key).as_bytes())?;
        Ok(MaskKey::new(*key))
    }

    /// The key that bundles are signed with.
    ///
    /// # Errors
    /// When the file is missing, malformed, or others may read it.
    pub fn sign_key(&self) -> Result<Ed25519KeyPair, OwnerError> {
        let path = self.owner_dir().join(SIGN_KEY);
        twinmask_transport::check_private_permissions(&path, 0o600).map_err(crate::pki::PkiError::from)?;
        let bytes = Zeroizing::new(std::fs::read(&path).map_err(|e| OwnerError::file(&path, e))?);
        Ed25519KeyPair::from_pkcs8(&bytes).map_err(|e| OwnerError::file(&path, e.to_string()))
    }

    /// The public key that bundles are verified with.
    ///
    /// # Errors
    /// As [`sign_key`](Self::sign_key).
    pub fn public_key(&self) -> Result<[u8; 32], OwnerError> {
        let key = self.sign_key()?;
        Ok(key.public_key().as_ref().try_into().expect("ed25519 public keys have 32 bytes"))
    }
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
