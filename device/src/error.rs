//! What can go wrong on a device, sorted by exit code.

use std::path::PathBuf;

use twinmask_transport::Role;

/// An error of the device library. Each text names the file, layer or peer and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A file of the device's folder or an input cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A setting makes no sense here.
    #[error("{0}")]
    Config(String),
    /// An edge cannot be reached or went away.
    #[error("{edge}: {reason}")]
    Network {
        /// Which edge.
        edge: Role,
        /// What happened and what to do.
        reason: String,
    },
    /// An edge broke the protocol, or refused what we sent.
    #[error("{edge}: {reason}")]
    Protocol {
        /// Which edge.
        edge: Role,
        /// What happened and what to do.
        reason: String,
    },
    /// The session cannot go on.
    #[error("{0}")]
    Session(String),
    /// An integrity check failed.
    #[error("integrity check failed: {0}")]
    Integrity(String),
    /// An edge has no place for the inference; try again after this time.
    #[error("{edge} is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// Which edge.
        edge: Role,
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
}

impl DeviceError {
    /// Exit code of the command line: 3 configuration or files, 4 network, 5 protocol or version, 6 integrity.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Config(_) => 3,
            Self::Network { .. } | Self::Busy { .. } => 4,
            Self::Protocol { .. } | Self::Session(_) => 5,
            Self::Integrity(_) => 6,
        }
    }

    /// A file error.
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }
}
