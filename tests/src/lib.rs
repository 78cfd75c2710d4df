//! What the system tests share: a deployment made by the real `owner-keygen`, real edge processes, the real device
//! command, networks and data to run, an edge that lies and a wire that flips bytes.
//!
//! Everything here panics with a reason instead of returning errors: its only callers are tests.

pub mod binaries;
pub mod data;
mod deployment;
mod edge;
pub mod flipper;
pub mod imports;
mod liar;
pub mod networks;
pub mod onnx;
mod process;
pub mod secrets;
pub mod supply;
pub mod tap;

pub use deployment::{DEVICE, Deployment, Inferred, Pair};
pub use edge::{Edge, until};
pub use liar::liar;
pub use process::{Output, Running, command, run};

/// The kernels that every end-to-end test runs with.
#[must_use]
pub fn kernels() -> Vec<&'static str> {
    let offered = twinmask_kernels::Kernels::native().names();
    ["portable", "openblas", "vnni"].into_iter().filter(|k| *k != "vnni" || offered.contains(k)).collect()
}

/// The ring profiles.
pub const PROFILES: [&str; 3] = ["compact", "balanced", "precise"];
