//! Who may access files that hold secrets.

use std::path::Path;

use crate::error::IdentityError;

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
