//! A device's folder: `identity/`, `owner.pub`, `models/NAME.twm` (docs/cli.md).

use std::path::{Path, PathBuf};

use twinmask_model::bundle::DeviceBundle;
use twinmask_model::seen::{Seen, SeenError};
use twinmask_transport::owner_key::{self, OWNER_FILE};
use twinmask_transport::{Identity, check_private_permissions};
use zeroize::Zeroizing;

use crate::error::DeviceError;

/// A device's folder, checked for permissions.
#[derive(Debug)]
pub struct DeviceDir {
    path: PathBuf,
    owner: [u8; 32],
}

impl DeviceDir {
    /// Opens the folder that `owner-keygen add-device` wrote.
    ///
    /// # Errors
    /// When it is missing or others may read it.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        if !path.is_dir() {
            return Err(DeviceError::file(
                path,
                "is no folder: name the folder that `owner-keygen add-device` wrote with --dir",
            ));
        }
        check_private_permissions(path, 0o700)?;
        Ok(Self { path: path.into(), owner: owner_key::read(&path.join(OWNER_FILE))? })
    }

    /// The device's TLS identity.
    ///
    /// # Errors
    /// When it is missing, expired, or others may read it.
    pub fn identity(&self) -> Result<Identity, DeviceError> {
        Ok(Identity::load(&self.identity_dir())?)
    }

    /// Where that is.
    pub(crate) fn identity_dir(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// Names of the models that the folder holds, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn models(&self) -> Result<Vec<String>, DeviceError> {
        let dir = self.path.join("models");
        let entries = std::fs::read_dir(&dir).map_err(|e| DeviceError::file(&dir, e))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_suffix(".twm").map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Loads and verifies the model `name`, or the only one there is.
    ///
    /// # Errors
    /// When there is no such model, or its bundle is off in any way, or older than one that was used here.
    pub fn load(&self, name: Option<&str>) -> Result<DeviceBundle, DeviceError> {
        let models = self.models()?;
        let name = match (name, models.as_slice()) {
            (Some(name), _) if models.iter().any(|m| m == name) => name,
            (None, [only]) => only,
            (_, []) => {
                return Err(DeviceError::file(
                    self.path.join("models"),
                    "holds no model: `owner-keygen add-device` makes one",
                ));
            }
            _ => {
                let text = format!("holds the models {}: choose one with --model", models.join(", "));
                return Err(DeviceError::file(self.path.join("models"), text));
            }
        };
        let file = self.path.join("models").join(format!("{name}.twm"));
        check_private_permissions(&file, 0o600)?;
        let bytes = Zeroizing::new(std::fs::read(&file).map_err(|e| DeviceError::file(&file, e))?);
        let bundle = DeviceBundle::read(&bytes, &self.owner).map_err(|e| DeviceError::file(&file, e))?;
        if bundle.model.model != name {
            let text = format!("is a bundle of the model {}: copy the folder from the owner anew", bundle.model.model);
            return Err(DeviceError::file(file, text));
        }
        self.check_newest(&bundle).map_err(|e| DeviceError::file(file, e))?;
        Ok(bundle)
    }

    /// Refuses a bundle that was issued before one that this device has used, and writes down which that is.
    fn check_newest(&self, bundle: &DeviceBundle) -> Result<(), SeenError> {
        let mut seen = Seen::open(&self.path)?;
        seen.device(&bundle.model.model, bundle.model.version, bundle.issued)?;
        let file = seen.file().display().to_string();
        if let Err(error) = seen.save() {
            tracing::warn!(%error, file, "cannot write down which bundle was used: an older one will not be noticed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_testkit::{InMemory, read_only};

    /// If this fails, a device whose folder is not to be written does nothing at all.
    #[test]
    fn a_read_only_folder_does_and_remembers_nothing() {
        let deployment = std::cell::OnceCell::new();
        let test = "store::tests::a_read_only_folder_does_and_remembers_nothing";
        let folder = || deployment.get_or_init(InMemory::lenet).device_dir();
        let Some(dir) = read_only(test, folder) else { return };
        std::fs::write(dir.join("probe"), "").expect_err("read-only");
        DeviceDir::open(&dir).expect("a device's folder").load(None).expect("a good bundle");
        assert!(!dir.join(twinmask_model::seen::SEEN_FILE).exists());
    }
}
