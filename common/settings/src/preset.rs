//! Networks that QUIC is tuned for.

use serde::{Deserialize, Serialize};
use twinmask_transport::TransportLimits;

/// The network that windows and timeouts of QUIC are chosen for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// A wired local network or loopback.
    #[default]
    Lan,
    /// A radio link.
    Wifi,
    /// The open internet.
    Wan,
}

impl Preset {
    /// The limits of a device on this network; an edge takes them [`serving`](TransportLimits::serving).
    #[must_use]
    pub fn limits(self) -> TransportLimits {
        match self {
            Preset::Lan => TransportLimits::lan(),
            Preset::Wifi => TransportLimits::wifi(),
            Preset::Wan => TransportLimits::wan(),
        }
    }
}
