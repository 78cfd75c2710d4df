//! The folder of real data.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use twinmask_benches::folders::workspace;

/// The folder of real data: `TWINMASK_DATA`, by default `../shared/data` beside the workspace.
#[must_use]
pub fn data_folder() -> PathBuf {
    let default = || workspace().join("../shared/data");
    std::env::var_os("TWINMASK_DATA").map_or_else(default, PathBuf::from)
}

/// The file `below` the data folder `data`.
///
/// # Errors
/// When it is not there; the error names it.
pub fn data_file(data: &Path, below: &str) -> Result<PathBuf> {
    let path = data.join(below);
    if !path.is_file() {
        bail!("{} is not there: set TWINMASK_DATA to the folder of real data", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = data_file(Path::new("/nowhere"), "models/lenet_mnist.onnx").expect_err("not there").to_string();
        assert!(error.contains("/nowhere/models/lenet_mnist.onnx") && error.contains("TWINMASK_DATA"), "{error}");
    }
}
