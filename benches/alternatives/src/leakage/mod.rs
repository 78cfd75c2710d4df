//! The leakage rule of complement and partition (Sun, Wu, Hwang 2019) as a tool: can the provider, who gets a
//! convolution's outputs and knows its kernels, solve for the inputs? It counts equations and unknowns of the window
//! that one position's kernels overlap with. Counting is no proof: `alternatives run partition` attacks with a trained
//! decoder.

pub mod alexnet;
pub mod cli;
mod rule;

pub use rule::{Layer, Refused, RuleError, check};
