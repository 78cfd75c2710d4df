//! The daemon that both edges share (PROTOCOL.md, "Parties"): edge A computes on masks that it expands from a seed,
//! edge B on masked shares that devices upload. Everything else is the same: sessions, limits, compute threads,
//! models, metrics, going up and down.
//!
//! [`run`] is all that the two programs do; [`Daemon`] is the same for tests and demonstrations inside one process,
//! where the [`Kernel`](twinmask_kernels::Kernel) is handed in.
//!
//! From the ground up: `compute/` has threads and queue, [`Edge`] what all sessions share, `rounds` what the rounds of
//! one session are computed with; on that stand `relay/` and `ahead/`, on those `session/`, and `daemon/` on all of it.

mod ahead;
mod budget;
mod compute;
mod daemon;
mod edge;
mod error;
mod fault;
mod lock;
mod models;
mod relay;
mod role;
mod rounds;
mod serve;
mod session;

#[cfg(test)]
mod random_tests;
#[cfg(all(test, feature = "shuttle"))]
mod shuttle_tests;
#[cfg(test)]
mod test_support;

pub use daemon::cli::run;
pub use daemon::config::{Config, Limits};
pub use daemon::endpoints::Daemon;
pub use daemon::settings::Settings;
pub use edge::{Edge, NotReady};
pub use error::StartError;
pub use role::Role;
