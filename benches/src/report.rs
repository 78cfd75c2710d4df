//! Results as files: `benches/results/NAME.md` for people, which is checked in, and every row with all that was
//! measured in `target/benches/NAME.jsonl` for programs, both from one run.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::folders::{raw_dir, results_dir};
use crate::machine::Machine;

/// Columns of the Markdown's prose.
const WIDTH: usize = 120;

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
        let _ = write!(self.markdown, "\n{}\n", wrapped(text.as_ref()));
    }

    /// Adds a table under a heading; numbers are right-aligned.
    pub fn table(&mut self, heading: &str, columns: &[&str], rows: &[Vec<String>]) {
        let text = table(columns, rows);
        eprintln!("\n{heading}\n{text}");
        let _ = write!(self.markdown, "\n## {heading}\n\n{text}");
    }

    /// Adds `value` to the raw results under `key`, in place of what was there; of a list, each element has a line.
    pub fn data(&mut self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.data.insert(key.to_owned(), value);
    }

    /// Writes both files; may be called again when more has been added, so that a long run that fails leaves what it
    /// had.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self) -> Result<()> {
        let head = format!("Printed by `{}` on {}.", self.command, self.machine.line());
        let markdown = format!("# {}\n\n{}\n{}", self.title, wrapped(&head), self.markdown);
        write_file(results_dir(), &format!("{}.md", self.name), &markdown)?;
        write_file(raw_dir(), &format!("{}.jsonl", self.name), &self.lines())
    }

    /// The raw results: a line on the benchmark, then one for each datum, `{"KEY": DATUM}`.
    fn lines(&self) -> String {
        let head = json!({"benchmark": self.name, "command": self.command, "machine": self.machine});
        let line = |key: &String, datum: &Value| json!({key: datum});
        let lines = self.data.iter().flat_map(|(key, value)| match value {
            Value::Array(data) => data.iter().map(|datum| line(key, datum)).collect(),
            datum => vec![line(key, datum)],
        });
        std::iter::once(head).chain(lines).map(|line| format!("{line}\n")).collect()
    }
}

fn write_file(dir: PathBuf, name: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// `text` in lines of at most [`WIDTH`] characters, as far as its words allow; none begins with what Markdown takes for
/// a list or heading.
fn wrapped(text: &str) -> String {
    let fits = |line: &str, word: &str| line.chars().count() + 1 + word.chars().count() <= WIDTH;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if fits(line, word) || ["-", "+", "*", ">", "#"].contains(&word) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
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
    fn prose_is_wrapped_between_words() {
        assert_eq!(wrapped("short, with  two spaces"), "short, with  two spaces");
        let long = ["w".repeat(100), "x".repeat(19), "y".to_owned(), "z".repeat(130)];
        assert_eq!(wrapped(&long.join(" ")), format!("{} {}\n{}\n{}", long[0], long[1], long[2], long[3]));
        assert_eq!(wrapped(&format!("{} - a", long[3])), format!("{} -\na", long[3]));
    }

    #[test]
    fn raw_results_are_lines() {
        let mut report = Report::new("name", "Title");
        report.data("rows", &[1, 2]);
        report.data("rows", &[3, 4]);
        report.data("sum", &7);
        let lines: Vec<Value> = report.lines().lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines[0]["benchmark"], "name");
        assert_eq!(lines[1..], [json!({"rows": 3}), json!({"rows": 4}), json!({"sum": 7})]);
    }

    #[test]
    fn tables_align_numbers() {
        let rows = [vec!["a".to_owned(), "1.5".to_owned()], vec!["b".to_owned(), "-".to_owned()]];
        assert_eq!(table(&["x", "y"], &rows), "| x | y |\n| --- | ---: |\n| a | 1.5 |\n| b | - |\n");
        assert_eq!([1234.5, 12.34, 1.234, 0.1234].map(number), ["1234", "12.3", "1.23", "0.123"]);
    }
}
