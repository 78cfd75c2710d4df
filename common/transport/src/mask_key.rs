//! The key that masks hang on beside the seed (PROTOCOL.md, "Keys"), as a host holds it beside its certificate:
//! `mask.key`, 64 hexadecimal digits. On a device it is the device's own, at edge A the master key, edge B has none.

use std::path::Path;

use twinmask_ring::keys::MaskKey;

use crate::error::IdentityError;
use crate::hex_file;
use crate::permissions::check_private_permissions;

/// Name of the file in an identity folder, mode 0600.
pub const MASK_KEY_FILE: &str = "mask.key";

/// Reads the key in the identity folder `dir`; `None` if there is no such file.
///
/// # Errors
/// A file that others can access, that cannot be read, or that holds anything but 64 hexadecimal digits.
pub fn read(dir: &Path) -> Result<Option<MaskKey>, IdentityError> {
    let path = dir.join(MASK_KEY_FILE);
    let failed = |source| IdentityError::Read { path: path.clone(), source };
    if !path.try_exists().map_err(failed)? {
        return Ok(None);
    }
    check_private_permissions(&path, 0o600)?;
    let key = hex_file::read(&path).map_err(failed)?.ok_or_else(|| {
        let problem = "does not hold 64 hexadecimal characters; copy it anew from the owner".to_owned();
        IdentityError::Content { file: path.display().to_string(), problem }
    })?;
    Ok(Some(MaskKey::new(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_read_and_anything_else_is_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(MASK_KEY_FILE);
        assert!(read(dir.path()).expect("no file is no error").is_none());
        let put = |text: &str, mode| {
            std::fs::write(&path, text).expect("writes");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("sets");
            read(dir.path())
        };
        let key = put(&format!("a1{}\n", "0f".repeat(31)), 0o600).expect("readable").expect("a key");
        assert_eq!(key.expose()[..2], [0xa1, 0x0f]);
        assert!(matches!(put(&"0f".repeat(32), 0o644), Err(IdentityError::Permissions { .. })));
        let error = put("0f", 0o600).expect_err("too short").to_string();
        assert!(error.contains("mask.key") && error.contains("64 hexadecimal"), "{error}");
    }
}
