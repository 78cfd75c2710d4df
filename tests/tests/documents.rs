//! The Markdown of the repository: lines that can be read, and links that lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use twinmask_tests::binaries::workspace;

const WIDTH: usize = 120;

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            pages(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

/// The lines of `text` with their numbers, those in code left out.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Lines that are too long, of `text`; tables and pictures are as long as they must be.
fn long_lines(text: &str) -> Vec<usize> {
    let long = |line: &str| !line.starts_with(['|', '!']) && line.chars().count() > WIDTH;
    prose(text).filter(|(_, line)| long(line)).map(|(number, _)| number).collect()
}

/// The anchors of `text`'s headings, as Git hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || ['-', '_', ' '].contains(c);
    let anchor = |line: &str| line.trim_start_matches('#').trim().chars().filter(kept).collect::<String>();
    headings.map(|(_, line)| anchor(line).to_lowercase().replace(' ', "-")).collect()
}

/// Links of `text`, which lies in `folder`, that lead nowhere.
fn dead_links(text: &str, folder: &Path) -> Vec<String> {
    let ends = prose(text).flat_map(|(_, line)| line.split("](").skip(1));
    let links = ends.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    let dead = |link: &&str| {
        let (file, anchor) = link.split_once('#').map_or((*link, None), |(file, anchor)| (file, Some(anchor)));
        let target = if file.is_empty() { Ok(text.to_owned()) } else { std::fs::read_to_string(folder.join(file)) };
        let known = anchor.is_none_or(|a| target.is_ok_and(|t| anchors(&t).contains(a)));
        let here = known && folder.join(file).exists();
        !here && !link.starts_with("http")
    };
    links.filter(dead).map(str::to_owned).collect()
}

/// If this fails, a page cannot be read beside code, or sends its reader to where nothing is.
#[test]
fn pages_can_be_read_and_links_lead_somewhere() {
    let mut found = Vec::new();
    pages(workspace(), &mut found);
    assert!(found.len() >= 15, "{found:?}");
    let mut faults = Vec::new();
    for page in &found {
        let text = std::fs::read_to_string(page).expect("a page");
        let name = page.strip_prefix(workspace()).expect("below the workspace").display();
        faults.extend(long_lines(&text).iter().map(|line| format!("{name}:{line} is longer than {WIDTH} characters")));
        let folder = page.parent().expect("a page lies in a folder");
        faults.extend(dead_links(&text, folder).iter().map(|link| format!("{name}: {link} leads nowhere")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn faults_are_found() {
    let long = "x".repeat(WIDTH + 1);
    let text = format!("# A head, `line`\n{long}\n| {long} |\n```\n{long}\n[a](nowhere.md)\n```\n[b](nowhere.md)");
    assert_eq!(long_lines(&text), [2]);
    assert_eq!(dead_links(&text, workspace()), ["nowhere.md"]);
    let links =
        "# Where it is\n[a](README.md) [b](#where-it-is) [c](#elsewhere) [d](README.md#twinmask) [e](README.md#x)";
    assert_eq!(dead_links(links, workspace()), ["#elsewhere", "README.md#x"]);
    assert_eq!(anchors(&text).into_iter().collect::<Vec<_>>(), ["a-head-line"]);
}
