//! The owner's tool: ONNX import, partition, quantization, masking keys, identities.

pub mod cli;
mod error;
pub mod identities;
pub mod inspect;
pub mod issue;
pub mod list;
pub mod partition;
pub mod pki;
pub mod predict;
pub mod secure_file;
pub mod store;
pub mod zoo;

pub use error::OwnerError;
