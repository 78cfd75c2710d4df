//! How linear layers are computed.

/// Where the linear layers are computed, and over which links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Mode {
    /// The paper's scheme: both edges answer the device.
    #[default]
    Split,
    /// Edge A sends its part to edge B ahead of time, and edge B answers for both.
    Relay,
    /// On this very device, which holds all weights; no edge is contacted.
    Local,
}

impl Mode {
    /// `split`, `relay` or `local`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Relay => "relay",
            Self::Local => "local",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
