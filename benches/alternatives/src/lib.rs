//! Other ways to offload a network privately, working and measured beside twinmask (docs/alternatives.md).
#![recursion_limit = "256"]

pub mod attack;
pub mod budget;
pub mod classify;
pub mod compare;
pub mod data;
pub mod drift;
pub mod ends;
pub mod export;
pub mod gradients;
pub mod leakage;
pub mod measure;
pub mod nets;
pub mod obfuscator;
pub mod onetime;
pub mod partition;
pub mod payload;
pub mod report;
pub mod results;
pub mod roles;
pub mod text;
pub mod train;
pub mod trained;
pub mod twinmask;
pub mod untrained;
