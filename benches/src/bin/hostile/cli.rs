//! What is measured, and how much.

use clap::Parser;

use crate::attack::Attack;

/// The command line.
#[derive(Parser)]
pub(crate) struct Cli {
    /// Only the rows of this name: idle, frames, device.
    #[arg(long, default_value = "")]
    pub(crate) only: String,
    /// Network of the zoo that all sessions are of.
    #[arg(long, default_value = "alexnet")]
    pub(crate) network: String,
    /// Sessions that only stay open.
    #[arg(long, default_value_t = 1000)]
    pub(crate) sessions: usize,
    /// Seconds between the last inference, or attack, and the measurement of memory.
    #[arg(long, default_value_t = 60)]
    pub(crate) pause: u64,
    /// Malformed frames to each edge.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) frames: u64,
    /// Seconds that an honest device is watched, calm and attacked.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    #[command(flatten)]
    pub(crate) attack: Attack,
}
