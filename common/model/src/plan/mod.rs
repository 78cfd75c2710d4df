//! The plan: what both sides of the protocol know of a network. Layers, groups of siblings that share one upload,
//! rounds, ring widths (PROTOCOL.md, "Ring and fixed point"). Everything that is sent has a length that follows
//! from it.

mod checked;
mod error;
mod parts;
mod stripes;

pub use checked::{Group, KEPT_BITS, Layer, Plan};
pub use error::{GroupFault, PlanError};
pub use parts::{GroupParts, LayerParts, MAX_LAYERS, PlanParts};
