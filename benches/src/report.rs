//! Results as files: `benches/results/NAME.json` for programs, `NAME.md` for people, both from one run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::machine::Machine;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// The folder of results.
#[must_use]
pub fn results_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// One benchmark's results, as they grow.
pub struct Report {
    name: &'static str,
    title: String,
    command: String,
    machine: Machine,
    markdown: String,
    data: Map<String, Value>,
}

impl Report {
    /// Begins the report `name` (file name without extension). The machine's load is taken now.
    #[must_use]
    pub fn new(name: &'static str, title: impl Into<String>) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let program = std::env::current_exe().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
        let command = [vec!["target/release/".to_owned() + &program.unwrap_or_default()], arguments].concat().join(" ");
        let machine = Machine::here();
        eprintln!("{}", machine.line());
        Self { name, title: title.into(), command, machine, markdown: String::new(), data: Map::new() }
    }

    /// Replaces the command in the head, for programs that cargo starts with arguments of its own.
    pub fn command(&mut self, command: impl Into<String>) {
        self.command = command.into();
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
        let _ = write!(self.markdown, "\n{}\n", text.as_ref());
    }

    /// Adds a table under a heading; numbers are right-aligned.
    pub fn table(&mut self, heading: &str, columns: &[&str], rows: &[Vec<String>]) {
        let text = table(columns, rows);
        eprintln!("\n{heading}\n{text}");
        let _ = write!(self.markdown, "\n## {heading}\n\n{text}");
    }

    /// Adds `value` to the JSON under `key`.
    pub fn data(&mut self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.data.insert(key.to_owned(), value);
    }

    /// Writes both files; may be called again when more has been added, so that a long run that fails leaves what it had.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self) -> Result<()> {
        let dir = results_dir();
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let head = format!("# {}\n\nPrinted by `{}` on {}.\n", self.title, self.command, self.machine.line());
        let json = serde_json::json!({
            "benchmark": self.name, "command": self.command, "machine": self.machine, "results": self.data,
        });
        for (extension, text) in [("md", head + &self.markdown), ("json", format!("{json:#}\n"))] {
            let path = dir.join(format!("{}.{extension}", self.name));
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// A Markdown table; columns whose cells all begin with a digit, sign or dash are right-aligned.
#[must_use]
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let number = |c: usize| {
        let cell = |r: &Vec<String>| r.get(c).is_some_and(|t| t.starts_with(|f: char| f.is_ascii_digit() || f == '-'));
        !rows.is_empty() && rows.iter().all(cell)
    };
    let rule = (0..columns.len()).map(|c| if number(c) { "---:" } else { "---" });
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = columns.iter().map(ToString::to_string).collect();
    line(&head)
        + &line(&rule.map(str::to_owned).collect::<Vec<_>>())
        + &rows.iter().map(|r| line(r)).collect::<String>()
}

/// `value` with so many decimals that three digits or so can be told: milliseconds, ratios, rates.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_numbers() {
        let rows = [vec!["a".to_owned(), "1.5".to_owned()], vec!["b".to_owned(), "-".to_owned()]];
        assert_eq!(table(&["x", "y"], &rows), "| x | y |\n| --- | ---: |\n| a | 1.5 |\n| b | - |\n");
        assert_eq!([1234.5, 12.34, 1.234, 0.1234].map(number), ["1234", "12.3", "1.23", "0.123"]);
    }
}
