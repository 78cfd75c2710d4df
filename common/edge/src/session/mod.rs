//! Sessions of devices (PROTOCOL.md, "Sessions and counters"): one connection, its session, its inferences.

pub(crate) mod connection;
pub(crate) mod inference;
pub(crate) mod opening;
pub(crate) mod state;
mod stripes;

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod stripes_tests;
