//! What edge A computes ahead of time (PROTOCOL.md, "One inference"): answers do not depend on the input, so those of
//! the next counters are made while nobody waits. In `split` they are kept until the inference begins, in `relay` they
//! go to edge B.

pub(crate) mod run;
pub(crate) mod store;

#[cfg(test)]
mod ahead_tests;
