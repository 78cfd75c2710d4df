//! `alternatives compare`: one table and one self-contained page of what all experiments have found.

mod html;
mod markdown;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::leakage::alexnet;
use crate::results::{Cell, Column, Experiment, Row, Table};
use crate::text;

/// An experiment: its name, what its row is called while it was not run, and whether it has rows in the comparison.
struct Known {
    name: &'static str,
    method: &'static str,
    title: &'static str,
}

const fn known(name: &'static str, method: &'static str, title: &'static str) -> Known {
    Known { name, method, title }
}

/// In the order of the page.
const KNOWN: [Known; 7] = [
    known("obfuscator", "obfuscator network (Leroux et al. 2018)", "1. Obfuscator network"),
    known("drift", "obfuscator, model updated (Hoefer, Salinas Monroy)", "2. Obfuscation under a changing model"),
    known("partition", "complement and partition (Sun et al. 2019)", "3. Complement and partition"),
    known("gradients", "selective gradient sharing (Bu; Shokri, Shmatikov 2015)", "4. Selective gradient sharing"),
    known("onetime", "one-time keys (LEP-CNN), one edge", "5. One-time keys"),
    known("ends", "no protection; local execution", "6. No protection and local execution"),
    known("twinmask", "twinmask", "twinmask"),
];

/// A row of the comparison and the experiment that it comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// The experiment's name.
    pub experiment: String,
    /// Method and cells.
    #[serde(flatten)]
    pub row: Row,
}

impl Compared {
    /// The cell of `column`, or the command that would measure it.
    ///
    /// # Errors
    /// The text that stands for what was not measured.
    pub fn cell(&self, column: Column) -> Result<&Cell, String> {
        let missing = || format!("not measured: `alternatives run {}`", self.experiment);
        self.row.columns.get(&column).ok_or_else(missing)
    }
}

/// All that was found, in the order of the page.
pub struct Comparison {
    /// Rows.
    pub rows: Vec<Compared>,
    /// By experiment: its title and what it found, if it was run.
    experiments: Vec<(&'static Known, Option<Experiment>)>,
}

impl Comparison {
    /// Reads whichever results are in `folder`.
    ///
    /// # Errors
    /// When a file of results cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |known| Ok((known, Experiment::read(folder, Known::name(known))?));
        let experiments = KNOWN.iter().map(read).collect::<Result<Vec<_>>>()?;
        let rows = experiments.iter().flat_map(|(known, found)| rows_of(known, found.as_ref())).collect();
        Ok(Self { rows, experiments })
    }
}

impl Known {
    const fn name(&self) -> &str {
        self.name
    }
}

fn rows_of(known: &Known, found: Option<&Experiment>) -> Vec<Compared> {
    let of = |row: Row| Compared { experiment: known.name.to_owned(), row };
    match found {
        Some(found) => found.rows.iter().cloned().map(of).collect(),
        None => vec![of(Row::new(known.method))],
    }
}

/// What a cell says, with unit; no pictures.
fn words(cell: &Cell) -> String {
    let value = text::value(&cell.value);
    match &cell.unit {
        Some(unit) => format!("{value} {unit}"),
        None => value,
    }
}

/// Tables that no experiment needs to run for: those of the leakage rule.
fn computed(known: &Known) -> Vec<(String, Table)> {
    if known.name == "partition" { alexnet::tables() } else { Vec::new() }
}

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

#[cfg(test)]
mod tests;
