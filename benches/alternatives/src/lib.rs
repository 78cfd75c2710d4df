//! Other ways to offload a network privately, working and measured beside twinmask (docs/alternatives.md).

pub mod leakage;
pub mod results;
pub mod text;
