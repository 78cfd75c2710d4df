//! The device's library: an application opens its folder ([`DeviceDir`]), loads a [`Network`], opens a [`Session`] to
//! the two edges, and runs inferences ([`Device`] does all of it).

pub mod cli;
mod device;
mod embedding;
mod error;
mod incoming;
pub mod infer;
pub mod input;
mod link;
mod local;
mod network;
mod remote;
mod rescale;
mod session;
mod store;

pub use device::{Device, Inference};
pub use embedding::Similarity;
pub use error::DeviceError;
pub use infer::{Outcome, Output};
pub use local::Local;
pub use network::Network;
pub use remote::{Glimpse, RemoteInference};
pub use session::{EdgeUsage, Edges, Session, SessionOptions, Usage};
pub use store::DeviceDir;
/// The executor, whose [`Values`](exec::Values) an inference runs in.
pub use twinmask_exec as exec;
