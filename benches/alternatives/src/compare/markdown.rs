//! The comparison as Markdown: methods as columns would be too wide, so each column of the comparison is a row.

use super::comparison::{Compared, Comparison, computed, words};
use crate::results::{Column, Experiment};
use crate::text;

/// The whole page.
pub(super) fn page(comparison: &Comparison) -> String {
    let mut out = String::from("# The other ways to offload a network privately, beside twinmask\n\n");
    out += "Made by `alternatives compare` from the results in this folder; [the page with pictures](compare.html). \
            Cells without a mark were measured here; (s) marks a source, named below the table. What to choose when: \
            [docs/alternatives.md](../../../docs/alternatives.md).\n\n";
    out += &table(&comparison.rows);
    out += &sources(&comparison.rows);
    for (known, found) in &comparison.experiments {
        out += &format!("\n## {}\n", known.title);
        match found {
            Some(found) => out += &about(found),
            None => out += &format!("\nNot run yet: `alternatives run {}`.\n", known.name),
        }
        let own = found.iter().flat_map(|f| f.tables.clone());
        for (title, table) in own.chain(computed(known)) {
            out += &format!("\n### {title}\n\n{}", text::markdown(&table));
        }
    }
    text::wrapped(&out)
}

fn table(rows: &[Compared]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let heads = rows.iter().map(|r| r.row.method.clone());
    let mut out = line(std::iter::once(String::new()).chain(heads).collect());
    out += &line(vec!["---".to_owned(); rows.len() + 1]);
    for column in Column::ALL {
        let cells = rows.iter().map(|row| cell(row, column));
        out += &line(std::iter::once(column.title().to_owned()).chain(cells).collect());
    }
    out
}

fn cell(row: &Compared, column: Column) -> String {
    let text = match row.cell(column) {
        Err(missing) => missing,
        Ok(cell) => {
            let mark = if cell.measured { "" } else { " (s)" };
            let picture = cell.picture.as_ref().map_or_else(String::new, |p| format!(" [picture]({p})"));
            words(cell) + mark + &picture
        }
    };
    text.replace('|', "\\|")
}

/// Where cells that were not measured come from, and how others were.
fn sources(rows: &[Compared]) -> String {
    let mut out = String::new();
    for row in rows {
        let of = |c: Column| {
            let cell = row.row.columns.get(&c)?;
            cell.source.as_ref().map(|s| format!("{}: {s}", c.title()))
        };
        let lines: Vec<String> = Column::ALL.into_iter().filter_map(of).collect();
        if !lines.is_empty() {
            out += &format!("\n- **{}**: {}.", row.row.method, lines.join("; "));
        }
    }
    out + "\n"
}

fn about(found: &Experiment) -> String {
    let mut out = format!(
        "\nBudget `{}`, seed {}, {} s on {}.\n",
        found.budget,
        found.seed,
        text::number(found.took_s),
        found.machine
    );
    for (title, file) in &found.pictures {
        out += &format!("\n![{title}]({file})\n");
    }
    if !found.differences.is_empty() {
        out += "\nHow it differs from what was published:\n\n";
        out.extend(found.differences.iter().map(|d| format!("- {d}\n")));
    }
    out
}
