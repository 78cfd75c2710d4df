//! From a file, or its bytes, to a network.

use std::path::Path;

use twinmask_model::graph::Graph;

use super::error::ImportError;
use super::options::ImportOptions;
use super::{call, functions, reader, walk};

/// Operator set versions whose semantics are implemented.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=22;

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
    let graph = walk::run(&graph, opset, path, options)?;
    let producer = model.producer.join(" ").trim().to_owned();
    Ok(Imported { graph, opset, producer, warnings })
}
