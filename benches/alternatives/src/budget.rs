//! How much is run.

use std::fmt;

use clap::ValueEnum;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Budget {
    /// Everything once, too short to learn much: minutes for all.
    Smoke,
    /// What is committed: at most 100 minutes for all on two cores.
    Normal,
    /// As the publications, without limit.
    Full,
}

impl Budget {
    /// One of three: for smoke, normal and full.
    #[must_use]
    pub fn of<T>(self, smoke: T, normal: T, full: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Normal => normal,
            Self::Full => full,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.of("smoke", "normal", "full"))
    }
}
