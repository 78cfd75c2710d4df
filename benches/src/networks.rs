//! The files of the networks that are measured.

use std::path::PathBuf;

use anyhow::Result;
use twinmask_owner_keygen::zoo::{self, Arch};

use crate::deployment::SEED;
use crate::folders::{model_path, workspace};
use crate::mnist;

/// The file of the zoo's network `arch`, written once to `target/bench-models`.
///
/// # Errors
/// When there is no such network or the file cannot be written.
pub fn zoo_file(arch: &str) -> Result<PathBuf> {
    let arch: Arch = arch.parse()?;
    let path = model_path(arch.name())?;
    if !path.exists() {
        let part = path.with_extension("part");
        zoo::write_file(arch, SEED, &part)?;
        std::fs::rename(&part, &path)?;
    }
    Ok(path)
}

/// A file below the folder of real data (`TWINMASK_DATA`, by default `../shared/data` beside the workspace), if it is
/// there.
#[must_use]
pub fn data_file(below: &str) -> Option<PathBuf> {
    let default = || workspace().join("../shared/data");
    let path = std::env::var_os("TWINMASK_DATA").map_or_else(default, PathBuf::from).join(below);
    path.is_file().then_some(path)
}

/// The file of the network `name`: of the zoo, `squeezenet` of the real data, or one of [`mnist`].
/// `None` when it is real and not there.
///
/// # Errors
/// When a file that is made here cannot be written.
pub fn network_file(name: &str) -> Result<Option<PathBuf>> {
    match name {
        "squeezenet" => Ok(data_file("models/squeezenet1.1.onnx")),
        _ => match mnist::NETWORKS.iter().find(|n| n.name == name) {
            Some(network) => network.file().map(Some),
            None => zoo_file(name).map(Some),
        },
    }
}
