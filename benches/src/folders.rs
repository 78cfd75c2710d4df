//! Where results go, and what is kept between benchmarks.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// The folder of results for people, which are checked in.
#[must_use]
pub fn results_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// The folder of raw results, which are not.
#[must_use]
pub fn raw_dir() -> PathBuf {
    workspace().join("target/benches")
}

/// Where the network `name` is kept between benchmarks.
///
/// # Errors
/// When the folder cannot be made.
pub fn model_path(name: &str) -> Result<PathBuf> {
    let folder = workspace().join("target/bench-models");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{name}.onnx")))
}
