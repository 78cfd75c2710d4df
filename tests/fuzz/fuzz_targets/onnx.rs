#![no_main]
//! Any bytes as a model file: an error or a checked graph, never a panic.

use libfuzzer_sys::fuzz_target;
use twinmask_onnx::{ImportOptions, import_bytes};

fuzz_target!(|data: &[u8]| {
    let options = ImportOptions { memory_cap: 64 << 20, ..ImportOptions::default() };
    if let Ok(imported) = import_bytes(data, "fuzz.onnx".as_ref(), &options) {
        twinmask_model::shapes::check(&imported.graph, usize::MAX).expect("imported graphs check out");
    }
});
