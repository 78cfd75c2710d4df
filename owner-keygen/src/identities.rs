//! Certificates that are replaced or revoked.

use twinmask_transport::{CRL_FILE, Role};

use crate::error::OwnerError;
use crate::pki::Ca;
use crate::registry::Registry;
use crate::secure_file::Batch;
use crate::store::Store;

/// The revocation list for everybody who has a folder.
fn stage_revocations(store: &Store, ca: &Ca, registry: &Registry, batch: &mut Batch) -> Result<(), OwnerError> {
    let Some(list) = registry.revocations(ca)? else { return Ok(()) };
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
    registry.issue((&ca, &store.mask_key()?), &mut batch, role, &store.identity_dir(role))?;
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
