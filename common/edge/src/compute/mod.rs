//! Linear layers on shares: threads, their queue, and what becomes of the answers.

pub(crate) mod parallel;
pub(crate) mod payloads;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod shares;
pub(crate) mod stripes;

#[cfg(test)]
mod parallel_tests;
#[cfg(test)]
mod pool_tests;
