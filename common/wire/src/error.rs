//! Typed errors: application codes that travel in QUIC close and reset frames, and what a peer's bytes may be
//! refused for.

use twinmask_codec::Counter;

use crate::frame_type::FrameType;
use crate::version::VERSION;

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Application codes of the protocol (PROTOCOL.md, "Wire").
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum CloseCode { $($(#[$doc])* $name = $code,)* }

        impl CloseCode {
            /// The code with this number.
            #[must_use]
            pub fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Its name, which logs and metrics show.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

close_codes! {
    /// The session ended as planned.
    Done = 0,
    /// Frame version or ALPN that this side does not speak.
    Version = 1,
    /// The edge does not hold the model digest that was asked for, which the text names.
    UnknownModel = 2,
    /// A payload does not have the length that the plan says.
    BadShape = 3,
    /// A counter was claimed or used before, or is out of the window.
    CounterUsed = 4,
    /// A limit on sessions, streams or memory is reached.
    Limit = 5,
    /// The edge is going down; try another replica or later.
    Draining = 6,
    /// A frame that is not expected here, or malformed.
    Protocol = 7,
    /// The session is older than 24 h.
    Expired = 8,
    /// The certificate of the peer does not allow this: its role, or the models that it names.
    Role = 9,
    /// Something failed inside the edge; its log says what.
    Internal = 10,
    /// The device ended the session; one code for every reason, so that an edge learns nothing from it.
    Failed = 11,
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of a peer that were refused, or a step that the session does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not a twinmask frame, or malformed inside.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// A frame of another protocol version.
    #[error("the peer speaks frame version {0}, this program version {VERSION}: install matching releases")]
    Version(u8),
    /// A frame that the plan does not expect here.
    #[error("unexpected frame: {found} where {expected} was due")]
    Unexpected {
        /// Type that came.
        found: FrameType,
        /// What was due.
        expected: &'static str,
    },
    /// A payload whose length is not what the plan says.
    #[error("payload of {found} bytes where the plan says {expected}")]
    Shape {
        /// Bytes announced.
        found: usize,
        /// Bytes (or most bytes, for zstd) that the plan allows.
        expected: usize,
    },
    /// A counter claimed or used before, unclaimed, or outside the window.
    #[error("counter {0} was used before, never claimed, or is out of the window")]
    Counter(Counter),
    /// The session is older than 24 h.
    #[error("the session is older than 24 h; open a new one")]
    Expired,
    /// The process forked; masks must not be used in two processes.
    #[error("the session belongs to process {opened}, this is process {now}: open a session after the fork")]
    Forked {
        /// Process that opened the session.
        opened: u32,
        /// Process that uses it.
        now: u32,
    },
}

impl WireError {
    /// The code that tells the peer.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Malformed(_) | Self::Unexpected { .. } => CloseCode::Protocol,
            Self::Version(_) => CloseCode::Version,
            Self::Shape { .. } => CloseCode::BadShape,
            Self::Counter(_) => CloseCode::CounterUsed,
            Self::Expired | Self::Forked { .. } => CloseCode::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for code in 0..12u64 {
            assert_eq!(CloseCode::from_code(code).map(|c| c as u64), Some(code));
        }
        assert_eq!(CloseCode::from_code(12), None);
        assert_eq!(CloseCode::from_code(u64::MAX), None);
        assert_eq!(CloseCode::CounterUsed.to_string(), "CounterUsed");
    }

    #[test]
    fn texts_name_both_sides() {
        let unexpected = WireError::Unexpected { found: FrameType::RelayOpen, expected: "CLAIM or PREFETCH" };
        assert_eq!(unexpected.to_string(), "unexpected frame: RelayOpen where CLAIM or PREFETCH was due");
        let version = WireError::Version(9).to_string();
        let start = format!("the peer speaks frame version 9, this program version {VERSION}: ");
        assert!(version.starts_with(&start), "{version}");
    }
}
