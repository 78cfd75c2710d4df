//! Other ways to offload a network privately, measured beside twinmask.
#![recursion_limit = "256"]

pub mod attack;
pub mod classify;
pub mod data;
pub mod drift;
pub mod export;
pub mod gradients;
pub mod nets;
pub mod obfuscator;
pub mod partition;
pub mod report;
pub mod results;
pub mod train;
pub mod trained;
