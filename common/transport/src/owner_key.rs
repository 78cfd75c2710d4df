//! The owner's public key, which bundles are signed with, as a host holds it: `owner.pub`, 64 hexadecimal digits.

use std::io;
use std::path::{Path, PathBuf};

use crate::hex_file;

/// Name of the file in the folder of an edge or a device.
pub const OWNER_FILE: &str = "owner.pub";

/// Why there is no owner's key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerKeyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold 64 hexadecimal characters; copy it anew from the owner", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the Ed25519 key in the file `path`.
///
/// # Errors
/// A file that cannot be read or holds anything but 64 hexadecimal digits, blanks around them left aside.
pub fn read(path: &Path) -> Result<[u8; 32], OwnerKeyError> {
    let key = hex_file::read(path).map_err(|source| OwnerKeyError::Read { path: path.to_owned(), source })?;
    key.map(|key| *key).ok_or_else(|| OwnerKeyError::Content { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_64_hexadecimal_digits() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(OWNER_FILE);
        let mut key = [0x0f; 32];
        key[0] = 0xa1;
        for good in [format!("a1{}", "0f".repeat(31)), format!("A1{}\n", "0F".repeat(31))] {
            std::fs::write(&path, good).expect("writes");
            assert_eq!(read(&path).expect("a key"), key);
        }
        let long = "0f".repeat(33);
        let padded = "0f".repeat(32) + &" ".repeat(2000);
        let signed = format!("+{}", "f".repeat(63));
        for bad in ["", "0f", &"0g".repeat(32), &"é".repeat(32), &"0f".repeat(31), &long, &padded, &signed] {
            std::fs::write(&path, bad).expect("writes");
            let error = read(&path).expect_err(bad);
            assert!(matches!(error, OwnerKeyError::Content { .. }), "{error}");
            assert!(error.to_string().contains("owner.pub does not hold 64 hexadecimal"), "{error}");
        }
        std::fs::remove_file(&path).expect("removes");
        let error = read(&path).expect_err("no file");
        assert!(matches!(error, OwnerKeyError::Read { .. }) && error.to_string().contains("owner.pub"), "{error}");
    }
}
