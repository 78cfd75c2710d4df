//! What can go wrong on a device, sorted by exit code.

use std::path::PathBuf;
use std::time::Duration;

use twinmask_codec::RoundId;
use twinmask_masking::{IntegrityError, MaskError};
use twinmask_model::container::ContainerError;
use twinmask_model::seen::SeenError;
use twinmask_model::shapes::ShapeError;
use twinmask_ring::fixed::NotFinite;
use twinmask_ring::pack::PackError;
use twinmask_transport::frame_io::FrameIoError;
use twinmask_transport::owner_key::OwnerKeyError;
use twinmask_transport::{CloseReason, IdentityError, OutOfRange, Role, TransportError};
use twinmask_wire::WireError;

use crate::exec::ExecError;
use crate::input::InputError;

/// An error of the device library. Each text names the file, layer or peer and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The input of an inference cannot be used; nothing was sent.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Settings are missing or contradict each other.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A file of the device's folder cannot be used.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        source: FileError,
    },
    /// The owner's public key is no good.
    #[error(transparent)]
    OwnerKey(#[from] OwnerKeyError),
    /// The device's identity, or the permissions of its files, are no good.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The model's bundle does not hold what this device is to do with it.
    #[error("model {model}: {source}")]
    Model {
        /// Name of the model.
        model: String,
        /// What is wrong and what to do.
        source: ModelError,
    },
    /// An operator of the network could not be computed on the device.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// This side cannot make connections at all.
    #[error(transparent)]
    Transport(TransportError),
    /// The system gives no runtime ([`blocking`](crate::blocking)).
    #[error("cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    /// An edge cannot be reached or went away.
    #[error("{edge}: {source}")]
    Unreachable {
        /// Which edge.
        edge: Role,
        /// What happened and what to do.
        source: LinkError,
    },
    /// An edge broke the protocol, or refused what we sent.
    #[error("{edge}: {source}")]
    Protocol {
        /// Which edge.
        edge: Role,
        /// What happened and what to do.
        source: LinkError,
    },
    /// The session cannot go on.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// An integrity check failed.
    #[error("integrity check failed: {0}")]
    Integrity(#[from] CheckError),
    /// The network makes nothing of this input that can be computed with; the session goes on.
    #[error(transparent)]
    Computation(#[from] ComputationError),
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
            Self::Input(_) | Self::Setting(_) | Self::File { .. } | Self::Identity(_) | Self::Model { .. } => 3,
            Self::OwnerKey(_) | Self::Exec(_) | Self::Transport(_) | Self::Runtime(_) | Self::Computation(_) => 3,
            Self::Unreachable { .. } | Self::Busy { .. } => 4,
            Self::Protocol { .. } | Self::Session(_) => 5,
            Self::Integrity(_) => 6,
        }
    }

    /// Whether the session can be used on: nothing was sent, or an edge had no place, or the input is to blame.
    pub(crate) const fn session_goes_on(&self) -> bool {
        matches!(
            self,
            Self::Input(_)
                | Self::Busy { .. }
                | Self::Computation(_)
                | Self::Exec(ExecError::Integer { .. } | ExecError::Inputs { .. } | ExecError::Length { .. })
        )
    }

    /// The same, having come up in round `r` of `of`.
    pub(crate) fn in_round(self, r: RoundId, of: usize) -> Self {
        let within = |source| LinkError::InRound { round: r, of, source: Box::new(source) };
        match self {
            Self::Unreachable { edge, source } => Self::Unreachable { edge, source: within(source) },
            Self::Protocol { edge, source } => Self::Protocol { edge, source: within(source) },
            other => other, // names what it is about, or is no edge's fault
        }
    }

    /// Whether it only says that this side has closed the connection.
    pub(crate) const fn is_our_end(&self) -> bool {
        let (Self::Unreachable { source, .. } | Self::Protocol { source, .. }) = self else { return false };
        let source = if let LinkError::InRound { source, .. } = source { source } else { source };
        matches!(source, LinkError::Lost { reason: CloseReason::Local, .. })
    }

    /// `cause`, in the round that this came up in.
    pub(crate) fn because(self, cause: Self) -> Self {
        match self {
            Self::Unreachable { source: LinkError::InRound { round, of, .. }, .. } => cause.in_round(round, of),
            _ => cause,
        }
    }

    /// A file error.
    pub(crate) fn file(path: impl Into<PathBuf>, source: impl Into<FileError>) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }
}

/// Settings that are missing or contradict each other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No folder was named.
    #[error("no device folder: name it with --dir DIR")]
    NoFolder,
    /// An edge's address was not named.
    #[error("no address of an edge: name it with {flag} HOST:PORT")]
    NoEdge {
        /// The option that names it.
        flag: &'static str,
    },
    /// Dropped bits and the Freivalds check exclude each other.
    #[error("dropped bits change the results, so the Freivalds check cannot hold: use --integrity none or sample:N")]
    DroppedBitsUnderFreivalds,
    /// A transport setting is out of its range.
    #[error(transparent)]
    Transport(#[from] OutOfRange),
}

/// What is wrong with a file of the device's folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A bundle that does not verify.
    #[error(transparent)]
    Bundle(#[from] ContainerError),
    /// A bundle that is older than one that was used.
    #[error(transparent)]
    Older(#[from] SeenError),
    /// Anything else, and the mend.
    #[error("{0}")]
    Content(String),
}

impl From<&str> for FileError {
    fn from(text: &str) -> Self {
        Self::Content(text.into())
    }
}

impl From<String> for FileError {
    fn from(text: String) -> Self {
        Self::Content(text)
    }
}

/// What a model's bundle lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Its keys do not fit its plan.
    #[error(transparent)]
    Keys(#[from] PackError),
    /// Its graph does not check out.
    #[error(transparent)]
    Graph(#[from] ShapeError),
    /// It was issued without what the integrity checks need.
    #[error(transparent)]
    Checks(#[from] IntegrityError),
    /// It was issued without the weights that computing on the device needs.
    #[error("--local needs all weights on this device: issue it with `owner-keygen add-device --weights`")]
    NoWeights,
}

/// What happened on the way to an edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection did not come about, or ended.
    #[error(transparent)]
    Transport(TransportError),
    /// Nothing came in time.
    #[error("{at} did not send {due} within {} s: it is overloaded or stuck, see its log", timeout.as_secs_f64())]
    Stalled {
        /// Address of the edge.
        at: String,
        /// What was due.
        due: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The edge's bytes are no protocol.
    #[error("{at} broke the protocol: {source}")]
    Broke {
        /// Address of the edge.
        at: String,
        /// What is wrong with them.
        source: WireError,
    },
    /// A stream failed while its connection lives on.
    #[error("{at}: {source}")]
    Stream {
        /// Address of the edge.
        at: String,
        /// What the stream said.
        source: FrameIoError,
    },
    /// The edge refused this device's certificate.
    #[error("{at}: {reason}")]
    Refused {
        /// Address of the edge.
        at: String,
        /// In its words.
        reason: CloseReason,
    },
    /// The edge ended the session.
    #[error("{at} ended the session: {}", if text.is_empty() { "no reason given" } else { text.as_str() })]
    Ended {
        /// Address of the edge.
        at: String,
        /// Its reason.
        text: String,
    },
    /// The connection is gone.
    #[error("{at}: {reason}; check that the edge runs, then try again")]
    Lost {
        /// Address of the edge.
        at: String,
        /// How it ended.
        reason: CloseReason,
    },
    /// It derives other masks than this device does.
    #[error(
        "{at} has another mask key for this device: identity/mask.key is not of the certificate beside it, or not of \
         edge A's owner; have the owner run `owner-keygen rotate DIR --identity` for this device, copy the folder anew"
    )]
    OtherKeys {
        /// Its address.
        at: String,
    },
    /// It happened in a round of an inference; all rounds before were answered.
    #[error("in round {round} of {of} (from 0): {source}")]
    InRound {
        /// The round.
        round: RoundId,
        /// Rounds of the inference.
        of: usize,
        /// What happened and what to do.
        source: Box<LinkError>,
    },
    /// Both edges are one host.
    #[error("holds the same key as edge A: one host must not be both edges")]
    SameKey,
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// It was closed because of another inference.
    #[error("another inference of this session failed, which ended it; its error says why: try again")]
    Aborted,
    /// No counter is left to claim, the session is too old, or the process forked.
    #[error(transparent)]
    Counter(#[from] WireError),
    /// A mask would be used twice.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

/// An answer that does not check out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// A check of the masking scheme failed.
    #[error(transparent)]
    Answer(#[from] IntegrityError),
    /// The demonstration's private result is not the local one.
    #[error("the private result differs from the local one")]
    NotEqual,
}

/// The network makes nothing of this input that can be computed with. Both edges' answers have passed the checks that
/// the session has, and neither edge was shown where it was: the rounds after it were of zeros.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputationError {
    /// An activation is not finite: an operator such as Log, Div or Exp makes that of finite numbers, too.
    #[error(
        "this input gives layer {layer} activations that are no finite numbers ({source}); the result was discarded"
    )]
    NotFinite {
        /// Name of the layer.
        layer: String,
        /// Where.
        source: NotFinite,
    },
    /// An index that an operator computed is none of what it picks from.
    #[error("this input cannot be computed: {0}")]
    Index(#[source] ExecError),
}
