//! Other ways to offload a network privately, measured beside twinmask.

pub mod results;
