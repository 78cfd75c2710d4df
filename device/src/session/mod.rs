//! Sessions with the two edges (PROTOCOL.md, "Sessions and counters").

mod incoming;
mod lifecycle;
mod link;
mod remote;
mod shared;
mod streams;

pub use lifecycle::Session;
#[cfg(feature = "cli")]
pub(crate) use link::transport_error;
pub use remote::{Glimpse, RemoteInference};
pub use shared::{EdgeUsage, Edges, SessionOptions, Usage};
