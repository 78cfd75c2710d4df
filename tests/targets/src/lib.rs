//! What the fuzzers of `tests/fuzz` run, as plain functions: tests run them too, on the seeds that each target makes
//! for itself and on the inputs that once broke something (`tests/fuzz/regressions`).
//!
//! A target takes any bytes. It panics where the product does, and where what the product makes of them cannot be
//! right. Its seeds are made by the product's own code, so that they change with its formats.

mod bundles;
mod edges;
mod files;
mod formats;
mod identities;
mod lines;
mod peers;
mod scene;
mod script;
mod seeds;

use std::path::{Path, PathBuf};

pub use lines::wait_longer;
pub use seeds::Seed;

/// One thing that takes bytes from outside.
pub struct Target {
    /// Name of its fuzzer, and of its folders.
    pub name: &'static str,
    /// Runs it; says whether the bytes were taken for what they should be.
    pub run: fn(&[u8]) -> bool,
    /// Where fuzzing begins.
    pub seeds: fn() -> Vec<Seed>,
    /// Longest input that is tried, bytes: what is longer is slow and says nothing new.
    pub longest: usize,
}

const KB: usize = 1 << 10;

const fn target(name: &'static str, run: fn(&[u8]) -> bool, seeds: fn() -> Vec<Seed>, longest: usize) -> Target {
    Target { name, run, seeds, longest }
}

/// All of them.
pub static TARGETS: [Target; 14] = [
    target("frame", formats::frame, formats::frame_seeds, 4 * KB),
    target("message", formats::message, formats::message_seeds, KB),
    target("plan", formats::plan, formats::plan_seeds, 8 * KB),
    target("graph", formats::graph, formats::graph_seeds, 8 * KB),
    target("container", bundles::container, bundles::container_seeds, 8 * KB),
    target("bundle", bundles::bundle, bundles::bundle_seeds, 32 * KB),
    target("onnx", files::onnx, files::onnx_seeds, 16 * KB),
    target("picture", files::picture, files::picture_seeds, 8 * KB),
    target("npy", files::npy, files::npy_seeds, 4 * KB),
    target("settings", files::settings, files::settings_seeds, 4 * KB),
    target("certificate", identities::certificate, identities::certificate_seeds, 4 * KB),
    target("edge_a", edges::edge_a, edges::edge_a_seeds, 4 * KB),
    target("edge_b", edges::edge_b, edges::edge_b_seeds, 4 * KB),
    target("device", peers::device, peers::device_seeds, 4 * KB),
];

/// The target `name`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no target is called {name}"))
}

/// The folder of the fuzzers.
#[must_use]
pub fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, a fuzzer is missing, or a folder of kept inputs that nobody runs.
    #[test]
    fn every_target_has_a_fuzzer() {
        let manifest = std::fs::read_to_string(fuzz_dir().join("Cargo.toml")).expect("the fuzzers' manifest");
        for target in &TARGETS {
            let name = target.name;
            let text = std::fs::read_to_string(fuzz_dir().join(format!("fuzz_targets/{name}.rs"))).expect("a fuzzer");
            assert!(text.contains(&format!("named(\"{name}\")")), "{name}.rs runs another target");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
        }
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        };
        let fuzzers = names(&fuzz_dir().join("fuzz_targets"));
        assert_eq!(fuzzers.len(), TARGETS.len(), "{fuzzers:?}");
        for name in names(&fuzz_dir().join("regressions")) {
            let _ = named(&name);
        }
    }
}
