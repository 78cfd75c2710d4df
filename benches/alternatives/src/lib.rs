//! Other ways to offload a network privately, working and measured beside twinmask (docs/alternatives.md).

pub mod compare;
pub mod ends;
pub mod leakage;
pub mod measure;
pub mod onetime;
pub mod payload;
pub mod results;
pub mod roles;
pub mod text;
pub mod twinmask;
pub mod untrained;
