//! Why an edge does not start.

use std::io;
use std::path::PathBuf;

use twinmask_model::container::ContainerError;
use twinmask_transport::{IdentityError, TransportError};

use crate::Role;

/// Why an edge does not start, or does not take its models anew.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself or lacks something.
    #[error("{0}")]
    Config(String),
    /// A file of the configuration or of the edge's folder cannot be read.
    #[error("cannot read {}: {source}; is {} what owner-keygen wrote for this edge?", path.display(), dir.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The edge's folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A model bundle is no good.
    #[error("the model bundle {} {source}; have the owner write it again (owner-keygen add-model), or remove it", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, completing the sentence.
        source: ContainerError,
    },
    /// The identity folder is no good.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity folder belongs to somebody else.
    #[error("the identity in {} is that of {found}, and this program is {own}: give it the folder of {own}", dir.display())]
    WrongIdentity {
        /// The edge's folder.
        dir: PathBuf,
        /// Whose identity it is.
        found: twinmask_transport::Role,
        /// Who we are.
        own: Role,
    },
    /// The address for devices cannot be listened on.
    #[error("cannot listen for devices on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the transport said.
        source: TransportError,
    },
    /// The address for administration cannot be listened on.
    #[error("cannot listen for administration on {address}: {source}")]
    Admin {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// The exit code that tells a script: 3 configuration or files, 4 network.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Admin { .. } => 4,
            _ => 3,
        }
    }
}
