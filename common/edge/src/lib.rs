//! The daemon that both edges share (PROTOCOL.md, "Parties"): edge A computes on masks that it expands from a seed,
//! edge B on masked shares that devices upload. Everything else is the same: sessions, limits, compute threads,
//! models, metrics, going up and down.
//!
//! [`run`] is all that the two programs do; [`Daemon`] is the same for tests and demonstrations inside one process,
//! where the [`Kernel`](twinmask_kernels::Kernel) is handed in.

mod admin;
mod ahead;
mod budget;
mod cli;
mod compute;
mod config;
mod crew;
mod daemon;
mod desk;
mod error;
mod inference;
mod meters;
mod models;
mod outbox;
mod pool;
mod relay;
mod relayed;
mod service;
mod session;

#[cfg(test)]
mod ahead_tests;
#[cfg(test)]
mod daemon_tests;
#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod test_support;

use std::fmt;

pub use cli::run;
pub use config::{Config, Limits, Network, Settings};
pub use daemon::Daemon;
pub use error::StartError;
pub use service::Edge;

/// Which of the two edges (PROTOCOL.md, "Parties").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The mask edge: knows mask seeds, sees no share.
    A,
    /// The data edge: sees one uniformly random share per group, knows no seed.
    B,
}

impl Role {
    /// Name of the program: `edge-a` or `edge-b`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::A => "edge-a",
            Role::B => "edge-b",
        }
    }

    /// The role that this edge's certificate must carry.
    fn certified(self) -> twinmask_transport::Role {
        match self {
            Role::A => twinmask_transport::Role::EdgeA,
            Role::B => twinmask_transport::Role::EdgeB,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
