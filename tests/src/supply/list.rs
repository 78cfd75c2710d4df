//! The list of `docs/dependencies.md`.

use std::collections::BTreeMap;

use super::packages::{Package, Supply};

const HEAD: &str = "| crate | version | licence | in | unsafe | for | read |";
const RULE: &str = "| --- | --- | --- | --- | --- | --- | --- |";

/// The page `old` with a table that holds now: what it says in front of the table stays, and what people have written
/// about a crate; of another version nobody has read anything yet. What nobody has written yet is `?`.
///
/// # Panics
/// If `old` has no table.
#[must_use]
pub fn fresh(old: &str, supply: &Supply) -> String {
    let (before, table) = old.split_once(HEAD).expect("a page with the table");
    let (mut purposes, mut read) = (BTreeMap::new(), BTreeMap::new());
    for row in table.lines() {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        if let [name, version, _, _, _, purpose, by] = cells[..] {
            read.insert((name, version), by);
            if !purpose.starts_with("of ") {
                purposes.insert(name, purpose);
            }
        }
    }
    let mut page = format!("{before}{HEAD}\n{RULE}\n");
    for package in supply.0.values() {
        let Package { name, version, licence, programs, .. } = package;
        let purpose = if package.direct { purposes.get(&**name).copied().unwrap_or("?") } else { &needed(package) };
        let read = read.get(&(&**name, &**version)).unwrap_or(&"-");
        let place = if programs.is_empty() { "build" } else { programs };
        let unchecked = package.unchecked();
        page.push_str(&format!("| {name} | {version} | {licence} | {place} | {unchecked} | {purpose} | {read} |\n"));
    }
    page
}

/// Who needs a package that none of ours names.
fn needed(package: &Package) -> String {
    const SHOWN: usize = 4;
    let by: Vec<&str> = package.needed_by.iter().map(String::as_str).collect();
    let more = if by.len() > SHOWN { ", ..." } else { "" };
    format!("of {}{more}", by[..by.len().min(SHOWN)].join(", "))
}
