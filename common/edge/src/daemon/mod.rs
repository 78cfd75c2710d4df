//! The program around an edge: settings, command line, endpoints, administration, metrics.

pub(crate) mod admin;
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod endpoints;
pub(crate) mod meters;
pub(crate) mod settings;
pub(crate) mod throttle;

#[cfg(test)]
mod daemon_tests;
#[cfg(test)]
mod descriptor_tests;
#[cfg(test)]
mod standing_tests;
