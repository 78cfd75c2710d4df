//! What twinmask is measured against on the same links and the same QUIC: offloading layer by layer in f32 to one
//! server (no privacy), the same with wider elements for schemes whose shares are wide (one-time keys, the paper's
//! encoding), and uploading the whole network's input to one server (no privacy).
//!
//! The server computes with OpenBLAS sgemm. Wide elements are an f32 and padding, so the arithmetic costs those schemes
//! no more than unprotected offloading; only their bytes are theirs.

pub mod client;
pub mod network;
pub mod protocol;
pub mod role;
pub mod server;
mod sgemm;

/// Bytes of one element of the paper's encoding: 160-bit masks and 160-bit shares (paper, "Numerical analysis").
pub const PAPER_WIDTH: usize = 20;
/// The same if compression took away the 70 % that the paper reports.
pub const PAPER_WIDTH_COMPRESSED: usize = 6;
