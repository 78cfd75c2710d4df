//! Certificates through their life: issued, replaced, revoked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use twinmask_transport::{CRL_FILE, Role};

use crate::error::OwnerError;
use crate::pki::{Ca, IssuedIdentity, Validity, now_s, stage_identity};
use crate::secure_file::Batch;
use crate::store::{Registry, Store};

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
        let serial = issued.serial.iter().map(|b| format!("{b:02x}")).collect();
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
    fn check_known(&self, role: &Role) -> Result<(), OwnerError> {
        let name = role.to_string();
        if self.identities.iter().any(|i| i.role == name) {
            return Ok(());
        }
        let known: BTreeSet<&str> = self.identities.iter().map(|i| i.role.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Err(OwnerError::Unknown { what: "identity", name, known })
    }

    /// Marks all certificates of `role` so far as revoked.
    fn revoke(&mut self, role: &Role) {
        let name = role.to_string();
        let all = self.identities.iter_mut().filter(|i| i.role == name);
        all.for_each(|i| i.revoked_s = i.revoked_s.or(Some(now_s())));
    }

    /// The revocation list (PEM), if ever anything was revoked. Certificates that have expired need no place on it.
    fn list(&self, ca: &Ca) -> Result<Option<String>, OwnerError> {
        if self.identities.iter().all(|i| i.revoked_s.is_none()) {
            return Ok(None);
        }
        let bytes = |hex: &str| -> Option<Vec<u8>> {
            hex.as_bytes().chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()).collect()
        };
        let mut list = Vec::new();
        for entry in self.identities.iter().filter(|i| now_s() <= i.not_after_s) {
            if let Some(since_s) = entry.revoked_s {
                let serial = bytes(&entry.serial).filter(|s| !s.is_empty()).ok_or_else(|| {
                    OwnerError::file("registry.json", format!("'{}' is no serial number", entry.serial))
                })?;
                list.push((serial, since_s));
            }
        }
        Ok(Some(ca.revocations(&list)?))
    }
}

/// Issues `role` a fresh key with a certificate, into its folder, and with it the revocation list that there is.
///
/// # Errors
/// [`OwnerError`].
pub(crate) fn issue_identity(
    store: &Store,
    ca: &Ca,
    registry: &mut Registry,
    batch: &mut Batch,
    role: &Role,
) -> Result<(), OwnerError> {
    let issued = ca.issue(role, Validity::default())?;
    let dir = store.identity_dir(role);
    stage_identity(batch, &dir, &issued)?;
    if let Some(list) = registry.list(ca)? {
        batch.private(&dir.join(CRL_FILE), list.as_bytes())?;
    }
    registry.identities.push(IdentityEntry::of(&issued));
    Ok(())
}

/// The revocation list for everybody who has a folder.
fn stage_revocations(store: &Store, ca: &Ca, registry: &Registry, batch: &mut Batch) -> Result<(), OwnerError> {
    let Some(list) = registry.list(ca)? else { return Ok(()) };
    let mut roles: Vec<Role> = registry.identities.iter().filter_map(|i| i.role.parse().ok()).collect();
    roles.sort_by_key(ToString::to_string);
    roles.dedup();
    for dir in roles.iter().map(|role| store.identity_dir(role)).filter(|dir| dir.is_dir()) {
        batch.private(&dir.join(CRL_FILE), list.as_bytes())?;
    }
    Ok(())
}

/// Gives `role` a new key and certificate; with `revoke_old`, its certificates so far go on the revocation list, which
/// everybody's folder gets.
///
/// # Errors
/// [`OwnerError::Unknown`] for a role that never had a certificate; the deployment is as it was after any error.
pub fn rotate_identity(store: &mut Store, role: &Role, revoke_old: bool) -> Result<(), OwnerError> {
    let (ca, mut registry, mut batch) = (store.ca()?, store.registry.clone(), Batch::default());
    registry.check_known(role)?;
    if revoke_old {
        registry.revoke(role);
        stage_revocations(store, &ca, &registry, &mut batch)?;
    }
    issue_identity(store, &ca, &mut registry, &mut batch, role)?;
    store.commit(batch, registry)
}

/// Puts all certificates of `role` on the revocation list, which everybody's folder gets.
///
/// # Errors
/// As [`rotate_identity`].
pub fn revoke_identity(store: &mut Store, role: &Role) -> Result<(), OwnerError> {
    let (ca, mut registry, mut batch) = (store.ca()?, store.registry.clone(), Batch::default());
    registry.check_known(role)?;
    registry.revoke(role);
    stage_revocations(store, &ca, &registry, &mut batch)?;
    store.commit(batch, registry)
}

#[cfg(test)]
#[path = "identities_tests.rs"]
mod tests;
