//! The experiments that train nothing, by name.

use std::path::Path;

use anyhow::{Result, bail};

use crate::budget::Budget;
use crate::results::Experiment;
use crate::{ends, onetime, payload, twinmask};

/// Their names; the last is about the rows of others.
pub const EXPERIMENTS: [&str; 4] = ["onetime", "ends", "twinmask", payload::NAME];

/// Runs the experiment `name`; its pictures and results go to the folder `out`.
///
/// # Errors
/// When there is none of that name, or it fails.
pub fn run(name: &str, budget: Budget, out: &Path) -> Result<Experiment> {
    std::fs::create_dir_all(out)?;
    let found = match name {
        "onetime" => onetime::experiment::run(budget, out)?,
        "ends" => ends::run(budget, out)?,
        "twinmask" => twinmask::run(budget, out)?,
        payload::NAME => payload::run(budget, out)?,
        other => bail!("no experiment '{other}': there are {}", EXPERIMENTS.join(", ")),
    };
    println!("{}: {} s", found.write(out)?.display(), found.took_s);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = run("other", Budget::Smoke, folder.path()).expect_err("no such").to_string();
        assert!(error.contains("onetime, ends, twinmask"), "{error}");
    }
}
