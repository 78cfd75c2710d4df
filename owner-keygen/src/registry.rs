//! What the owner has issued: models, devices, certificates.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twinmask_ring::keys::MaskKey;
use twinmask_transport::mask_key::MASK_KEY_FILE;
use twinmask_transport::{CRL_FILE, Role};

use crate::error::OwnerError;
use crate::hex;
use crate::pki::{Ca, IssuedIdentity, Validity, now_s, stage_identity};
use crate::secure_file::Batch;

/// One version of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Model name.
    pub name: String,
    /// Version, from 1.
    pub version: u32,
    /// Digest of the edge bundle, hex.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// Ring profile.
    pub ring: String,
    /// The least cosine at which two embeddings are the same person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Whether the edges' folders no longer hold it.
    #[serde(default)]
    pub withdrawn: bool,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// Device name.
    pub name: String,
    /// Models issued to it: name and version.
    pub models: Vec<(String, u32)>,
}

/// What the owner has issued.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Models, oldest version first.
    pub models: Vec<ModelEntry>,
    /// Devices.
    pub devices: Vec<DeviceEntry>,
    /// Certificates, oldest first.
    #[serde(default)]
    pub identities: Vec<IdentityEntry>,
}

/// One certificate that the owner has issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityEntry {
    /// `edge-a`, `edge-b` or `device/NAME`.
    pub role: String,
    /// Serial number, hex.
    pub serial: String,
    /// First second of its validity, since 1970.
    pub not_before_s: i64,
    /// Last second of its validity, since 1970.
    pub not_after_s: i64,
    /// Since when it is revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_s: Option<i64>,
}

impl IdentityEntry {
    fn of(issued: &IssuedIdentity) -> Self {
        let Validity { not_before_s, not_after_s } = issued.validity;
        let serial = hex::hex(&issued.serial);
        Self { role: issued.role.to_string(), serial, not_before_s, not_after_s, revoked_s: None }
    }

    /// `revoked`, `expired`, `not yet valid` or `valid` at the second `now_s`.
    #[must_use]
    pub const fn status(&self, now_s: i64) -> &'static str {
        if self.revoked_s.is_some() {
            "revoked"
        } else if now_s > self.not_after_s {
            "expired"
        } else if now_s < self.not_before_s {
            "not yet valid"
        } else {
            "valid"
        }
    }
}

/// How a role stands with the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has no certificate, or only such as are out of their time.
    Unknown,
    /// It has a certificate that counts.
    Valid,
    /// Its last certificate was revoked.
    Revoked,
}

impl Registry {
    /// The newest version of the model `name` that was not withdrawn.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().filter(|m| m.name == name && !m.withdrawn).max_by_key(|m| m.version)
    }

    /// The number of the next version of the model `name`; those of withdrawn ones are not used again.
    #[must_use]
    pub fn next_version(&self, name: &str) -> u32 {
        self.models.iter().filter(|m| m.name == name).map(|m| m.version + 1).max().unwrap_or(1)
    }

    /// How `role` stands.
    #[must_use]
    pub fn standing(&self, role: &Role) -> Standing {
        let role = role.to_string();
        match self.identities.iter().rfind(|i| i.role == role).map(|i| i.status(now_s())) {
            Some("valid") => Standing::Valid,
            Some("revoked") => Standing::Revoked,
            _ => Standing::Unknown,
        }
    }

    /// Refuses a role that never had a certificate.
    pub(crate) fn check_known(&self, role: &Role) -> Result<(), OwnerError> {
        let name = role.to_string();
        if self.identities.iter().any(|i| i.role == name) {
            return Ok(());
        }
        let known: BTreeSet<&str> = self.identities.iter().map(|i| i.role.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Err(OwnerError::Unknown { what: "identity", name, known })
    }

    /// Marks all certificates of `role` so far as revoked.
    pub(crate) fn revoke(&mut self, role: &Role) {
        let name = role.to_string();
        let all = self.identities.iter_mut().filter(|i| i.role == name);
        all.for_each(|i| i.revoked_s = i.revoked_s.or(Some(now_s())));
    }

    /// The revocation list (PEM), if ever anything was revoked. Certificates that have expired need no place on it.
    pub(crate) fn revocations(&self, ca: &Ca) -> Result<Option<String>, OwnerError> {
        if self.identities.iter().all(|i| i.revoked_s.is_none()) {
            return Ok(None);
        }
        let mut list = Vec::new();
        for entry in self.identities.iter().filter(|i| now_s() <= i.not_after_s) {
            if let Some(since_s) = entry.revoked_s {
                let serial = hex::bytes(&entry.serial).filter(|s| !s.is_empty()).ok_or_else(|| {
                    OwnerError::file("registry.json", format!("'{}' is no serial number", entry.serial))
                })?;
                list.push((serial, since_s));
            }
        }
        Ok(Some(ca.revocations(&list)?))
    }

    /// Issues `role` a fresh key with a certificate, into its identity folder `dir`, and with it the revocation list
    /// that there is; a device also the mask key of that certificate, edge A the master key `mask`.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub(crate) fn issue(
        &mut self,
        (ca, mask): (&Ca, &MaskKey),
        batch: &mut Batch,
        role: &Role,
        dir: &Path,
    ) -> Result<(), OwnerError> {
        let issued = ca.issue(role, Validity::default())?;
        stage_identity(batch, dir, &issued)?;
        let mask = match role {
            Role::Device(name) => Some(mask.of_device(name, &issued.serial)),
            Role::EdgeA => Some(mask.clone()),
            Role::EdgeB => None,
        };
        if let Some(key) = mask {
            batch.private(&dir.join(MASK_KEY_FILE), hex::secret_line(key.expose()).as_bytes())?;
        }
        if let Some(list) = self.revocations(ca)? {
            batch.private(&dir.join(CRL_FILE), list.as_bytes())?;
        }
        self.identities.push(IdentityEntry::of(&issued));
        Ok(())
    }
}
