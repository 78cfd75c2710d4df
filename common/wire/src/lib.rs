//! The protocol without I/O: frames, messages, payload codecs, errors and sessions (PROTOCOL.md, "Sessions and
//! counters" and "Wire"). No socket, no clock, no async runtime here or below.

pub mod error;
pub mod frame;
mod frame_type;
pub mod message;
pub mod payload;
mod printable;
pub mod session;
mod version;

pub use error::{CloseCode, WireError};
pub use frame::{FrameHeader, HEADER_LEN, MAX_BODY};
pub use frame_type::FrameType;
pub use payload::{Codec, CodecChoice, UnknownCodec};
pub use printable::printable;
pub use version::{ALPN, VERSION};
