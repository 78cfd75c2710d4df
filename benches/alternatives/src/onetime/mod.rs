//! One-time keys (LEP-CNN: Tian, Yuan, Yu, Hou 2019; the reference that the two-edge paper compares with): one edge,
//! and for every request a fresh pair `(S_in, S_out = W·S_in)` that the owner has made and the device consumes.
//!
//! ```text
//! owner, offline    S_in uniform in Z_2^k for every group, S_out = W·S_in for every layer, as a file for the device
//! device            v = x + S_in           to the edge, which sees uniform elements
//! edge              z = W·v                to the device
//! device            z - S_out = W·x        exactly; the pair is wiped before it is used, and never used again
//! ```
//!
//! Integers, rings, layers, checks of samples and QUIC are twinmask's own, so that only the scheme differs: elements
//! have the ring's k bits instead of the publication's 160.

pub mod device;
pub mod edge;
pub mod experiment;
pub mod measured;
pub mod owner;
mod protocol;
mod samples;
pub mod store;

pub use device::{Device, FailedCheck};
pub use edge::Edge;
pub use owner::Owner;
pub use store::{KeyError, KeyStore, RequestKey};

#[cfg(test)]
mod tests;
