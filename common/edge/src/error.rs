//! Why an edge does not start.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use twinmask_kernels::UnknownKernel;
use twinmask_model::container::ContainerError;
use twinmask_model::seen::SeenError;
use twinmask_settings::{FileError, LogError};
use twinmask_transport::owner_key::OwnerKeyError;
use twinmask_transport::{IdentityError, OutOfRange, TransportError};

use crate::role::Role;

/// Why an edge does not start, or does not take its models anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration file is no good.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log filter is none.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No folder is named.
    #[error("the folder of {0} is missing: give --dir, TWINMASK_DIR or `dir`")]
    NoFolder(Role),
    /// Edge B is told to dial.
    #[error("`peer` is for edge-a, which dials edge-b: edge-b learns of sessions from it")]
    PeerOfEdgeB,
    /// A field of `[transport]` is out of range.
    #[error(transparent)]
    Transport(#[from] OutOfRange),
    /// More inferences of one session than there may be.
    #[error("max_in_flight is {0}; at most 1024")]
    MaxInFlight(NonZeroUsize),
    /// There is no such kernel here.
    #[error(transparent)]
    Kernel(#[from] UnknownKernel),
    /// The system does not let the program run.
    #[error("the system gives no threads or signals: {0}")]
    System(#[source] io::Error),
    /// The owner's public key is none.
    #[error(transparent)]
    OwnerKey(#[from] OwnerKeyError),
    /// Edge A has no master key.
    #[error(
        "{} is missing: masks hang on it; have the owner run `owner-keygen rotate DIR --identity edge-a` and copy \
         the folder edge-a here anew", .0.display()
    )]
    NoMaskKey(PathBuf),
    /// Edge B has a mask key.
    #[error(
        "{} must not be here: with it edge B can compute masks; remove it, and have the owner replace the key, \
         as edge B has had it (docs/cli.md, \"When edge A's key is lost\")", .0.display()
    )]
    MaskKeyOfEdgeB(PathBuf),
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
    /// A model bundle is older than one that this edge has had.
    #[error("the model bundle {} {source}", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Both versions and the mend, completing the sentence.
        source: SeenError,
    },
    /// What this edge has seen cannot be read.
    #[error(transparent)]
    Seen(#[from] SeenError),
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
