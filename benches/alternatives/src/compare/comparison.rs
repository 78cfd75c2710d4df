//! What is compared.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::leakage::alexnet;
use crate::results::{Cell, Column, Experiment, Row, Table};
use crate::{payload, text};

/// An experiment: its name, what its row is called while it was not run, and its heading.
pub(super) struct Known {
    pub(super) name: &'static str,
    method: &'static str,
    pub(super) title: &'static str,
}

const fn known(name: &'static str, method: &'static str, title: &'static str) -> Known {
    Known { name, method, title }
}

/// In the order of the page.
pub(super) const KNOWN: [Known; 7] = [
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
pub(super) struct Compared {
    /// The experiment's name.
    pub(super) experiment: String,
    /// Method and cells.
    #[serde(flatten)]
    pub(super) row: Row,
}

impl Compared {
    /// The cell of `column`, or the command that would measure it.
    ///
    /// # Errors
    /// The text that stands for what was not measured.
    pub(super) fn cell(&self, column: Column) -> Result<&Cell, String> {
        let knows = |c| self.row.columns.contains_key(&c);
        let measuring = match column {
            // What is sent has to be known first.
            Column::LatencyMs if payload::OF.contains(&&*self.experiment) && knows(Column::BytesPerInference) => {
                payload::NAME
            }
            _ => &self.experiment,
        };
        let missing = || format!("not measured: `alternatives run {measuring}`");
        self.row.columns.get(&column).ok_or_else(missing)
    }
}

/// All that was found, in the order of the page.
pub(super) struct Comparison {
    /// Rows.
    pub(super) rows: Vec<Compared>,
    /// By experiment: its title and what it found, if it was run.
    pub(super) experiments: Vec<(&'static Known, Option<Experiment>)>,
}

impl Comparison {
    /// Reads whichever results are in `folder`.
    ///
    /// # Errors
    /// When a file of results cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let read = |known: &'static Known| Ok((known, Experiment::read(folder, known.name)?));
        let experiments = KNOWN.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut rows: Vec<Compared> =
            experiments.iter().flat_map(|(known, found)| rows_of(known, found.as_ref())).collect();
        for latency in Experiment::read(folder, payload::NAME)?.map_or_else(Vec::new, |e| e.rows) {
            let named = |r: &&mut Compared| payload::key(&r.experiment, &r.row.method) == latency.method;
            if let Some(found) = rows.iter_mut().find(named) {
                for (column, cell) in latency.columns {
                    found.row.columns.entry(column).or_insert(cell);
                }
            }
        }
        Ok(Self { rows, experiments })
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
pub(super) fn words(cell: &Cell) -> String {
    let value = text::value(&cell.value);
    match &cell.unit {
        Some(unit) => format!("{value} {unit}"),
        None => value,
    }
}

/// Tables that no experiment needs to run for: those of the leakage rule.
pub(super) fn computed(known: &Known) -> Vec<(String, Table)> {
    if known.name == "partition" { alexnet::tables() } else { Vec::new() }
}
