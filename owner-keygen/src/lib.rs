//! The owner's tool: ONNX import, partition, quantization, masking keys, identities.

pub mod cli;
pub mod devices;
mod error;
mod hex;
pub mod identities;
pub mod import;
pub mod inspect;
mod kept;
#[cfg(all(test, unix))]
mod killed_tests;
pub mod list;
pub mod models;
pub mod partition;
pub mod pki;
pub mod predict;
pub mod registry;
pub mod secure_file;
pub mod store;
pub mod zoo;

pub use error::{OwnerError, UsageError};
