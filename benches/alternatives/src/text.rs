//! Numbers and tables as text.

use crate::results::{Table, Value};

/// A value as people read it: integers in groups of three digits, others with about four digits.
#[must_use]
pub fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(n) => number(*n),
    }
}

/// A number in groups of three digits if it is whole or large, else with about four digits.
#[must_use]
pub fn number(n: f64) -> String {
    if !n.is_finite() {
        return n.to_string();
    }
    match n.abs() {
        a if a.fract() == 0.0 || a >= 1000.0 => grouped(n),
        a if a >= 100.0 => decimals(n, 1),
        a if a >= 10.0 => decimals(n, 2),
        _ => decimals(n, 3),
    }
}

fn decimals(n: f64, most: usize) -> String {
    let text = format!("{n:.most$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn grouped(n: f64) -> String {
    let digits = format!("{:.0}", n.abs());
    let mut out = String::from(if n < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A table in Markdown, columns of numbers to the right, with its note.
#[must_use]
pub fn markdown(table: &Table) -> String {
    let right =
        |c: usize| !table.rows.is_empty() && table.rows.iter().all(|r| matches!(r.get(c), Some(Value::Number(_))));
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..table.columns.len()).map(|c| if right(c) { "---:" } else { "---" }.to_owned()).collect();
    let rows = table.rows.iter().map(|row| line(row.iter().map(|v| value(v).replace('|', "\\|")).collect()));
    let head = line(table.columns.clone()) + &line(rule);
    let note = table.note.as_ref().map_or_else(String::new, |note| format!("\n{note}\n"));
    head + &rows.collect::<String>() + &note
}

/// Columns of Markdown's prose.
const WIDTH: usize = 120;

/// Markdown with its prose in lines of at most 120 characters, as far as words allow; tables and pictures stay.
#[must_use]
pub fn wrapped(markdown: &str) -> String {
    markdown
        .lines()
        .map(|line| if line.starts_with(['|', '!']) { format!("{line}\n") } else { wrapped_line(line) })
        .collect()
}

/// One line, an item of a list going on below its text. No line begins with what Markdown takes for a list or heading.
fn wrapped_line(line: &str) -> String {
    let indent = if line.starts_with("- ") { "  " } else { "" };
    let (mut out, mut length) = (String::new(), 0);
    for word in line.split(' ') {
        let more = word.chars().count() + 1;
        if length > 0 && length + more > WIDTH && !["-", "+", "*", ">", "#"].contains(&word) {
            out += "\n";
            out += indent;
            length = indent.len();
        } else if length > 0 {
            out.push(' ');
        }
        out += word;
        length += more;
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let shown = [0.0, 7.0, 1234567.0, -1000.0, 0.1234, 12.346, 345.67, 1234.6, 1.49].map(number);
        assert_eq!(shown, ["0", "7", "1,234,567", "-1,000", "0.123", "12.35", "345.7", "1,235", "1.49"]);
    }

    #[test]
    fn prose_is_wrapped_and_tables_are_not() {
        let word = "w".repeat(59);
        assert_eq!(wrapped(&format!("- {word} {word} - x")), format!("- {word}\n  {word} - x\n"));
        let table = format!("| {word} {word} {word} |\n");
        assert_eq!(wrapped(&table), table);
        assert_eq!(wrapped("a\n\nb"), "a\n\nb\n");
    }

    #[test]
    fn tables_are_markdown() {
        let table = Table {
            columns: vec!["a".into(), "b".into()],
            rows: vec![vec!["x|y".into(), 2.0.into()]],
            note: Some("n".into()),
        };
        assert_eq!(markdown(&table), "| a | b |\n| --- | ---: |\n| x\\|y | 2 |\n\nn\n");
    }
}
