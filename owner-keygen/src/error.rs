//! What can go wrong for the owner.

use std::path::PathBuf;

use crate::partition::PartitionError;
use crate::pki::PkiError;
use crate::secure_file::WriteError;
use crate::zoo::ZooError;
use twinmask_model::preprocess::PreprocessError;
use twinmask_onnx::ImportError;
use twinmask_transport::InvalidRole;
use twinmask_transport::owner_key::OwnerKeyError;

/// An error of the owner's tool. Each text names the file or name and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// `init` on a folder that is in use.
    #[error("{path} exists: this folder holds a deployment already; choose another one", path = .0.display())]
    Exists(PathBuf),
    /// No deployment where one was expected.
    #[error("{path} holds no deployment: make one with `owner-keygen init {path}`", path = .0.display())]
    NoDeployment(PathBuf),
    /// A file cannot be read or is malformed.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The owner's public key that a bundle is checked with.
    #[error(transparent)]
    OwnerKey(#[from] OwnerKeyError),
    /// A name that cannot become a file name.
    #[error("'{name}' is no name of a {what}: use up to 63 letters, digits, '-', '_' and '.'")]
    Name {
        /// Model or device.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No such model.
    #[error("there is no model '{name}'; there are: {known} (add one with `owner-keygen add-model`)")]
    UnknownModel {
        /// The name.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// No such device, identity or model version.
    #[error("there is no {what} '{name}'; there are: {known}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// A device that was revoked gets nothing more.
    #[error("device '{0}' was revoked: `owner-keygen rotate DIR --identity device/{0}` makes it a new identity first")]
    Revoked(String),
    /// Arguments that contradict each other or the model.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The operating system has no randomness to give.
    #[error("the operating system provides no randomness")]
    Random,
    /// ONNX import.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Partition.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Certificates and keys.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Writing files.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Model zoo.
    #[error(transparent)]
    Zoo(#[from] ZooError),
}

impl OwnerError {
    /// A file error.
    pub(crate) fn file(path: impl Into<PathBuf>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }
}

/// Arguments that contradict each other or the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// `add-model` without a network.
    #[error("name a network with --onnx or --zoo")]
    NoNetwork,
    /// A threshold out of range.
    #[error("--threshold {0} is no cosine: it lies between -1 and 1")]
    Threshold(f32),
    /// Preprocessing that does not fit the model's input.
    #[error("--preprocess: {0}")]
    Preprocess(PreprocessError),
    /// Preprocessing that there is not.
    #[error(transparent)]
    Preset(PreprocessError),
    /// A device with more models than its certificate can name.
    #[error("device {device} has {most} models, and its certificate names no more: add another device")]
    TooManyModels {
        /// The device.
        device: String,
        /// How many there may be.
        most: usize,
    },
    /// A device name that is none.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// Import options for what is no ONNX file.
    #[error(
        "{path} was divided when it was added: --ring, --offload and --input-size are for .onnx files",
        path = .0.display()
    )]
    Divided(PathBuf),
}
