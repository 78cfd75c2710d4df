//! Partition: constant-weight layers of an imported graph become integer layers behind
//! [`Linear`](twinmask_model::ops::Linear) holes; the rest stays on the device (ARCHITECTURE.md, "Data
//! flow").
//!
//! ```text
//! Graph -> Cut          which layers leave; holes in their places
//!       -> Layout       siblings, rounds, signs
//!       -> [GroupBits]  ring, weight and activation widths of each group
//!       -> Partitioned  plan and integers
//! ```

mod bits;
mod cut;
mod error;
mod layout;
mod partitioned;
mod search;

pub use cut::{Offload, decide};
pub use error::PartitionError;
pub use partitioned::{Partitioned, partition};
pub use search::Predicted;

#[cfg(test)]
mod tests;
