//! Sessions with the two edges (PROTOCOL.md, "Sessions and counters").

mod answers;
mod incoming;
mod lifecycle;
mod link;
mod remote;
mod shared;
mod streams;
mod upload;

pub use lifecycle::Session;
#[cfg(feature = "cli")]
pub(crate) use link::transport_error;
pub use remote::RemoteInference;
pub use shared::{EdgeUsage, Edges, SessionOptions, Usage};
pub use upload::Glimpse;
