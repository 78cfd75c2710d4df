//! What the owner has issued: models, devices, certificates.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twinmask_ring::keys::MaskKey;
use twinmask_transport::mask_key::MASK_KEY_FILE;
use twinmask_transport::{CRL_FILE, Facts, Role};

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
    /// Revocation lists.
    #[serde(default)]
    pub lists: Lists,
    /// Number of the newest bundle that was issued to a device, which every later one exceeds; 0 before there is any.
    #[serde(default)]
    pub issued: u64,
}

/// Revocation lists that the owner has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// Number of the newest, which every later one exceeds; 0 before there is any.
    pub number: u64,
    /// By when a list is to be followed by another, in days.
    pub days: u32,
    /// The second, since 1970, by which all hosts are to get others; 0 before they got any.
    pub until_s: i64,
}

impl Default for Lists {
    fn default() -> Self {
        Self { number: 0, days: 90, until_s: 0 }
    }
}

/// One certificate that the owner has issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityEntry {
    /// `edge-a`, `edge-b` or `device/NAME`.
    pub role: String,
    /// Serial number, hex.
    pub serial: String,
    /// Models that it lets a device use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
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
        let (serial, models) = (hex::hex(&issued.serial), issued.models.clone());
        Self { role: issued.role.to_string(), serial, models, not_before_s, not_after_s, revoked_s: None }
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

    /// Marks one certificate as revoked, which the registry may not have known so far.
    pub(crate) fn revoke_certificate(&mut self, facts: &Facts) {
        let serial = hex::hex(&facts.serial);
        let at = self.identities.iter().position(|i| i.serial == serial).unwrap_or_else(|| {
            let Facts { not_before_s, not_after_s, .. } = *facts;
            let (role, models) = (facts.role.to_string(), facts.models.clone());
            let entry = IdentityEntry { role, serial, models, not_before_s, not_after_s, revoked_s: None };
            // Where it belongs by its age: the last of a role is what it stands with.
            let at = self.identities.partition_point(|i| i.not_before_s < not_before_s);
            self.identities.insert(at, entry);
            at
        });
        let revoked = &mut self.identities[at].revoked_s;
        *revoked = revoked.or(Some(now_s()));
    }

    /// Whether a certificate is on record and not revoked.
    pub(crate) fn knows(&self, serial: &[u8]) -> bool {
        let serial = hex::hex(serial);
        self.identities.iter().any(|i| i.serial == serial && i.revoked_s.is_none())
    }

    /// A new revocation list (PEM), with a number higher than any before. Certificates that have expired need no place
    /// on it.
    pub(crate) fn revocations(&mut self, ca: &Ca) -> Result<String, OwnerError> {
        let mut list = Vec::new();
        for entry in self.identities.iter().filter(|i| now_s() <= i.not_after_s) {
            if let Some(since_s) = entry.revoked_s {
                let serial = hex::bytes(&entry.serial).filter(|s| !s.is_empty()).ok_or_else(|| {
                    OwnerError::file("registry.json", format!("'{}' is no serial number", entry.serial))
                })?;
                list.push((serial, since_s));
            }
        }
        self.lists.number = above(self.lists.number);
        Ok(ca.revocations(&list, self.lists.number, Validity::days(self.lists.days))?)
    }

    /// Names of the models that were issued to `role`.
    pub(crate) fn models_of(&self, role: &Role) -> Vec<String> {
        let device = self.devices.iter().find(|d| matches!(role, Role::Device(name) if *name == d.name));
        let mut models: Vec<String> = device.into_iter().flat_map(|d| &d.models).map(|(m, _)| m.clone()).collect();
        models.sort();
        models
    }

    /// Issues `role` a fresh key with a certificate, which names a device's models, into its identity folder `dir`, and
    /// a revocation list; a device also the mask key of that certificate, edge A the master key `mask`.
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
        let issued = ca.issue(role, &self.models_of(role), Validity::default())?;
        // The certificate comes last: a folder that has it is whole.
        batch.folder(dir)?;
        batch.private(&dir.join(CRL_FILE), self.revocations(ca)?.as_bytes())?;
        let mask = match role {
            Role::Device(name) => Some(mask.of_device(name, &issued.serial)),
            Role::EdgeA => Some(mask.clone()),
            Role::EdgeB => None,
        };
        if let Some(key) = mask {
            batch.private(&dir.join(MASK_KEY_FILE), hex::secret_line(key.expose()).as_bytes())?;
        }
        stage_identity(batch, dir, &issued)?;
        self.identities.push(IdentityEntry::of(&issued));
        Ok(())
    }

    /// The number of the next bundle for a device.
    pub(crate) fn next_issue(&mut self) -> u64 {
        self.issued = above(self.issued);
        self.issued
    }

    /// As a file.
    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data has a JSON form")
    }
}

/// A number above `last`: one more, or the second of the clock, which is above what a registry restored from a backup
/// has forgotten.
fn above(last: u64) -> u64 {
    now_s().unsigned_abs().max(last.saturating_add(1))
}
