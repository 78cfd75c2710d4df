//! Results for people: Markdown, curves and bars (SVG), images (PNG).

mod picture;
mod plot;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::budget::Budget;
use crate::results::{Experiment, Table, Value};
use crate::text;

pub use picture::{grid, stretched};
pub use plot::{Series, bars, by_epoch, curves};

/// Results of an experiment before anything is in them.
#[must_use]
pub fn empty(name: &str, seed: u64, budget: Budget, machine: String, took_s: f64) -> Experiment {
    Experiment {
        experiment: name.into(),
        seed,
        budget: budget.to_string(),
        machine,
        took_s,
        rows: vec![],
        tables: BTreeMap::new(),
        pictures: BTreeMap::new(),
        differences: vec![],
    }
}

/// A table from its heads and rows.
#[must_use]
pub fn table(columns: &[&str], rows: Vec<Vec<Value>>, note: &str) -> Table {
    let columns = columns.iter().map(ToString::to_string).collect();
    Table { columns, rows, note: (!note.is_empty()).then(|| note.to_owned()) }
}

/// A number of so many decimals, as a cell.
#[must_use]
pub fn rounded(value: f64, decimals: i32) -> Value {
    if !value.is_finite() {
        return "-".into();
    }
    let scale = 10f64.powi(decimals);
    ((value * scale).round() / scale).into()
}

/// Writes `NAME.md` to `folder`.
///
/// # Errors
/// When it cannot be written.
pub fn markdown(found: &Experiment, folder: &Path) -> Result<()> {
    let mut text = format!(
        "# {}\n\nBudget `{}`, seed {}, {:.0} s of one core; {}.\n",
        found.experiment, found.budget, found.seed, found.took_s, found.machine
    );
    for (title, table) in &found.tables {
        write!(text, "\n## {title}\n\n{}", lines(table))?;
    }
    for (title, file) in &found.pictures {
        write!(text, "\n## {title}\n\n![{title}]({file})\n")?;
    }
    if !found.differences.is_empty() {
        text += "\n## How this differs from the publication\n\n";
        found.differences.iter().try_for_each(|d| writeln!(text, "- {d}"))?;
    }
    let path = folder.join(format!("{}.md", found.experiment));
    std::fs::write(&path, text::wrapped(&text)).with_context(|| path.display().to_string())
}

fn lines(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let cell = |value: &Value| match value {
        Value::Number(n) => n.to_string(),
        Value::Text(t) => t.clone(),
    };
    let mut text = line(table.columns.clone()) + &line(vec!["---".into(); table.columns.len()]);
    table.rows.iter().for_each(|row| text += &line(row.iter().map(cell).collect()));
    table.note.iter().for_each(|note| text += &format!("\n{note}\n"));
    text
}
