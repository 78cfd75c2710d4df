//! What can be wrong with a model file.

use std::path::PathBuf;

/// Import of an ONNX file failed. Every text names the file, the node or tensor, and the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read '{}': {source}; check the path and its permissions", path.display())]
    Read {
        /// Model file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file's bytes are no ONNX model.
    #[error("'{}' is not a readable ONNX file: {reason}; export or download it again", path.display())]
    Malformed {
        /// Model file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model needs more memory than allowed.
    #[error("'{}' needs {needed} bytes or more, the cap is {cap}; raise the memory cap or use a smaller model", path.display())]
    TooLarge {
        /// Model file.
        path: PathBuf,
        /// Bytes known to be needed.
        needed: u64,
        /// Bytes allowed.
        cap: u64,
    },
    /// The network's input or output does not fit.
    #[error("'{}': {reason}", path.display())]
    Interface {
        /// Model file.
        path: PathBuf,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// A tensor's data is wrong.
    #[error("'{}': tensor '{tensor}': {reason}; export the model again", path.display())]
    Tensor {
        /// Model file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// An operator that the importer does not know.
    #[error("'{}': node '{node}': operator '{op}' is not supported; replace it before export. Supported: {supported}", path.display())]
    Unsupported {
        /// Model file.
        path: PathBuf,
        /// Name of the node.
        node: String,
        /// Operator, with its domain unless it is ONNX's own.
        op: String,
        /// All operators that are.
        supported: String,
    },
    /// A known operator in a form that cannot be expressed.
    #[error("'{}': node '{node}' ({op}): {reason}; change this node or export the model again", path.display())]
    Node {
        /// Model file.
        path: PathBuf,
        /// Name of the node.
        node: String,
        /// Operator.
        op: String,
        /// What is wrong.
        reason: String,
    },
}
