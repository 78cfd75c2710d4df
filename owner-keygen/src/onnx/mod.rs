//! ONNX import: file bytes -> [`Graph`] with static shapes, batch 1, constants folded (ARCHITECTURE.md, "Data flow").
//!
//! `reader` parses the protobuf, `functions` inlines local functions, `fold` evaluates nodes on constants, the
//! `ops_*` modules translate all others, `passes` folds per-channel arithmetic into weights and drops what is dead.

mod call;
mod data;
mod error;
mod fold;
mod functions;
mod importer;
mod integers;
mod interface;
mod ops_composed;
mod ops_dense;
mod ops_elementwise;
mod ops_normalize;
mod ops_resize;
mod ops_shape;
mod ops_window;
mod passes;
mod reader;
mod tensor;

use std::path::Path;

use twinmask_model::graph::Graph;

pub use error::ImportError;
pub(crate) use passes::compact;

/// Operator set versions whose semantics are implemented.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=22;

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Height and width to give to an image input whose size the file leaves open.
    pub input_size: Option<(u32, u32)>,
    /// Most bytes of the file, and of all tensors together.
    pub memory_cap: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { input_size: None, memory_cap: 4 << 30 }
    }
}

/// An imported network.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network; passes [`twinmask_model::shapes::check`].
    pub graph: Graph,
    /// Version of the ONNX operator set.
    pub opset: i64,
    /// Name and version of the program that wrote the file, as the file says.
    pub producer: String,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Imports the model file at `path`.
///
/// # Errors
/// [`ImportError`], naming file, node or tensor, and the mend.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
    let read = |source| ImportError::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > options.memory_cap {
        return Err(ImportError::TooLarge { path: path.into(), needed: length, cap: options.memory_cap });
    }
    import_bytes(&std::fs::read(path).map_err(read)?, path, options)
}

/// Imports a model file's bytes; `path` is for messages and says where external data lies.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(bytes: &[u8], path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
    let malformed = |reason| ImportError::Malformed { path: path.into(), reason };
    let mut model = reader::read(bytes).map_err(malformed)?;
    let graph = model.graph.take().ok_or_else(|| malformed("it holds no graph".into()))?;
    let opset = model.opsets.iter().find(|(d, _)| call::is_onnx(d)).map(|&(_, v)| v);
    let opset = opset.ok_or_else(|| malformed("it names no version of the ONNX operators".into()))?;
    let mut warnings = Vec::new();
    if !OPSETS.contains(&opset) {
        let (low, high) = (OPSETS.start(), OPSETS.end());
        warnings.push(format!("operator set {opset} is outside {low} to {high}: check the network's results"));
    }
    let graph = functions::inline(graph, &model.functions).map_err(malformed)?;
    let graph = importer::run(&graph, opset, path, options)?;
    let producer = model.producer.join(" ").trim().to_owned();
    Ok(Imported { graph, opset, producer, warnings })
}

#[cfg(test)]
mod test_models;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_files;
#[cfg(test)]
mod tests_index;
#[cfg(test)]
mod tests_ops;
