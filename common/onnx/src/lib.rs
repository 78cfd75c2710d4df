//! ONNX import: file bytes -> [`Graph`](twinmask_model::graph::Graph) with static shapes, batch 1, constants folded
//! (ARCHITECTURE.md, "Data flow"). Only the owner's tool reads ONNX; no program that is online depends on this crate.
//!
//! `reader` parses the protobuf, `functions` inlines local functions, `walk` goes over the nodes: `fold` evaluates
//! those on constants, the `ops_*` modules translate all others into the graph of `importer`. `passes` folds
//! per-channel arithmetic into weights.

mod call;
mod data;
mod error;
mod fold;
mod functions;
mod importer;
mod integers;
mod interface;
mod load;
mod ops_composed;
mod ops_dense;
mod ops_elementwise;
mod ops_normalize;
mod ops_resize;
mod ops_shape;
mod ops_window;
mod options;
mod passes;
mod reader;
mod tensor;
mod walk;

pub use error::ImportError;
pub use load::{Imported, OPSETS, import, import_bytes};
pub use options::ImportOptions;

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
