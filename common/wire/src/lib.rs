//! The protocol without I/O: frames, messages, payload codecs, errors and sessions (PROTOCOL.md, "Sessions and
//! counters" and "Wire"). No socket, no clock, no async runtime here or below.

pub mod error;
pub mod frame;
pub mod message;
pub mod payload;
pub mod session;

pub use error::{CloseCode, WireError};
pub use frame::{FrameHeader, FrameType, HEADER_LEN, MAX_BODY};
pub use payload::{Codec, CodecChoice};
