//! The three files of the comparison.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::comparison::Comparison;
use super::{html, markdown};

/// Writes `compare.json`, `compare.md` and `compare.html` into `folder` and prints the table.
///
/// # Errors
/// When results cannot be read, or files not written.
pub fn run(folder: &Path) -> Result<()> {
    let comparison = Comparison::read(folder)?;
    fs::create_dir_all(folder)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())
    };
    let markdown = markdown::page(&comparison);
    write("compare.json", &serde_json::to_vec_pretty(&comparison.rows)?)?;
    write("compare.md", markdown.as_bytes())?;
    write("compare.html", html::page(&comparison, folder)?.as_bytes())?;
    println!("{markdown}\n{}", folder.join("compare.html").display());
    Ok(())
}
