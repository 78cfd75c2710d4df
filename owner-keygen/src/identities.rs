//! Certificates that are replaced or revoked, and the lists that say so.

use std::path::Path;

use twinmask_transport::{CA_FILE, CERT_FILE, CRL_FILE, Role, read_certificate};

use crate::error::OwnerError;
use crate::pki::{Ca, PkiError, Validity};
use crate::registry::Registry;
use crate::secure_file::Batch;
use crate::store::Store;

/// A new revocation list for everybody who has a folder.
fn stage_revocations(store: &Store, ca: &Ca, registry: &mut Registry, batch: &mut Batch) -> Result<(), OwnerError> {
    let list = registry.revocations(ca)?;
    registry.lists.until_s = Validity::days(registry.lists.days).not_after_s;
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
        stage_revocations(store, &ca, &mut registry, &mut batch)?;
    }
    registry.issue((&ca, &store.mask_key()?), &mut batch, role, &store.identity_dir(role))?;
    store.commit(Batch::default(), registry, batch)
}

/// Puts all certificates of `role` on the revocation list, which everybody's folder gets.
///
/// # Errors
/// As [`rotate_identity`].
pub fn revoke_identity(store: &mut Store, role: &Role) -> Result<(), OwnerError> {
    store.registry.check_known(role)?;
    hand_out(store, |registry| registry.revoke(role))
}

/// Puts one certificate of this deployment's CA on the revocation list, also one that is not on record: that in the
/// file `path`, or in the folder of an edge, a device or its identity. Returns whose it is.
///
/// # Errors
/// A file that cannot be read, or holds no certificate of this CA; the deployment is as it was after any error.
pub fn revoke_certificate(store: &mut Store, path: &Path) -> Result<Role, OwnerError> {
    let places = [path.to_owned(), path.join(CERT_FILE), path.join("identity").join(CERT_FILE)];
    let file = places.iter().find(|p| p.is_file()).unwrap_or(&places[1]);
    let read = |file: &Path| std::fs::read(file).map_err(|e| OwnerError::file(file, e));
    let ca = read(&store.owner_dir().join(CA_FILE))?;
    let facts = read_certificate(&read(file)?, &file.display().to_string(), &ca).map_err(PkiError::from)?;
    hand_out(store, |registry| registry.revoke_certificate(&facts))?;
    Ok(facts.role)
}

/// Gives everybody's folder a new revocation list, good for `days` from now, or as long as the one before. Returns its
/// last second, since 1970.
///
/// # Errors
/// [`OwnerError`]; the deployment is as it was then.
pub fn refresh_revocations(store: &mut Store, days: Option<u32>) -> Result<i64, OwnerError> {
    hand_out(store, |registry| registry.lists.days = days.unwrap_or(registry.lists.days))?;
    Ok(store.registry.lists.until_s)
}

/// A revocation list for everybody, after `change`.
fn hand_out(store: &mut Store, change: impl FnOnce(&mut Registry)) -> Result<(), OwnerError> {
    let (ca, mut registry, mut batch) = (store.ca()?, store.registry.clone(), Batch::default());
    change(&mut registry);
    stage_revocations(store, &ca, &mut registry, &mut batch)?;
    store.commit(Batch::default(), registry, batch)
}

#[cfg(test)]
#[path = "identities_tests.rs"]
mod tests;
