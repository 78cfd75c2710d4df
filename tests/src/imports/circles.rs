//! Imports between files, and circles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Sources;
use super::resolve;

/// Which file imports which names of which other file.
#[derive(Debug, Default)]
pub struct Imports {
    files: BTreeSet<String>,
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Imports {
    /// Those of all crates in `sources`, each from its roots (`lib.rs`, `main.rs`, …) on.
    ///
    /// # Panics
    /// When a module is declared whose file is not among the sources.
    #[must_use]
    pub fn of(sources: &Sources) -> Self {
        let mut imports = Self::default();
        resolve::all(sources, &mut imports);
        imports
    }

    /// Files that were reached from their crate's root.
    #[must_use]
    pub fn files(&self) -> &BTreeSet<String> {
        &self.files
    }

    /// Pairs of files of which one imports the other.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.edges.values().map(BTreeMap::len).sum()
    }

    /// Whether the file `from` imports something of the file `to`.
    #[must_use]
    pub fn has(&self, from: &str, to: &str) -> bool {
        self.edges.get(from).is_some_and(|to_files| to_files.contains_key(to))
    }

    /// A text for each knot of files that all reach each other: its shortest circle with the names imported, and what
    /// else belongs to it.
    #[must_use]
    pub fn circles(&self) -> Vec<String> {
        let (mut told, mut texts) = (BTreeSet::new(), Vec::new());
        for file in &self.files {
            if told.contains(file.as_str()) {
                continue;
            }
            let reached = self.reached(file);
            let knot: BTreeSet<&str> =
                reached.into_iter().filter(|f| self.reached(f).contains(file.as_str())).collect();
            let circles = knot.iter().filter_map(|f| self.shortest(f));
            if let Some(circle) = circles.min_by_key(Vec::len) {
                texts.push(self.text(&circle, &knot));
            }
            told.extend(knot);
        }
        texts
    }

    pub(super) fn file(&mut self, file: &str) {
        self.files.insert(file.to_owned());
    }

    pub(super) fn add(&mut self, from: &str, to: &str, name: &str) {
        if from != to {
            let names = self.edges.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
            names.insert(name.to_owned());
        }
    }

    fn next<'a>(&'a self, file: &str) -> impl Iterator<Item = &'a str> {
        self.edges.get(file).into_iter().flat_map(|to| to.keys().map(String::as_str))
    }

    /// All files that `file` imports, directly or not.
    fn reached<'a>(&'a self, file: &str) -> BTreeSet<&'a str> {
        let (mut reached, mut waiting) = (BTreeSet::new(), self.next(file).collect::<Vec<_>>());
        while let Some(at) = waiting.pop() {
            if reached.insert(at) {
                waiting.extend(self.next(at));
            }
        }
        reached
    }

    /// The shortest way from `file` to itself, without its end.
    fn shortest<'a>(&'a self, file: &'a str) -> Option<Vec<&'a str>> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut waiting = VecDeque::from([file]);
        while let Some(at) = waiting.pop_front() {
            for next in self.next(at) {
                if before.contains_key(next) {
                    continue;
                }
                before.insert(next, at);
                waiting.push_back(next);
            }
        }
        let mut circle = vec![*before.get(file)?];
        while let Some(&last) = circle.last().filter(|last| **last != file) {
            circle.push(before[last]);
        }
        circle.reverse();
        Some(circle)
    }

    fn text(&self, circle: &[&str], knot: &BTreeSet<&str>) -> String {
        let step = |(i, from): (usize, &&str)| {
            let to = circle[(i + 1) % circle.len()];
            let names: Vec<&str> = self.edges[*from][to].iter().map(String::as_str).collect();
            format!("{from} -> {to}: {}", names.join(", "))
        };
        let steps: Vec<String> = circle.iter().enumerate().map(step).collect();
        let others: Vec<&str> = knot.iter().filter(|f| !circle.contains(f)).copied().collect();
        let more = if others.is_empty() { String::new() } else { format!("\n  knotted with {}", others.join(", ")) };
        format!("  {}{more}", steps.join("\n  "))
    }
}
