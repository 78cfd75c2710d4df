//! Which file of a crate imports which, read from the sources; and where imports run in a circle.
//!
//! A file imports another if it names something that is defined there: in a `use`, or by a path in its code. Re-exports
//! are followed to the file that defines the name, so a facade (`mod.rs`, `lib.rs`) that only declares its modules and
//! re-exports from them imports nothing, and nobody imports it. Code for tests does not count, nor do methods: who
//! calls one need not know where it is written.

mod circles;
mod module;
mod resolve;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::path::Path;

pub use circles::Imports;

/// Source files by their path from the workspace's root, `/` between folders.
pub type Sources = BTreeMap<String, String>;

/// Folders of the workspace that hold no production code.
const LEFT_OUT: [&str; 3] = ["target", "tests", "results"];

/// The production sources of the workspace in `root`. Files that only tests use are among them where they lie beside
/// others; nothing that is followed from a crate's root leads there.
#[must_use]
pub fn sources(root: &Path) -> Sources {
    let mut found = Sources::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Sources) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if !name.starts_with('.') && !LEFT_OUT.contains(&name.as_str()) {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs") {
            let below = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            found.insert(below, std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
