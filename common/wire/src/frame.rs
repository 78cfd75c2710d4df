//! Frames (PROTOCOL.md, "Wire"): "TWMK", version u8, type u8, flags u16, body length u32, payload length u32, all
//! little-endian; then the body and the payload. Lengths are checked before anything is allocated.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twinmask_codec::{self as codec, MAX_PAYLOAD, Part};

use crate::error::WireError;
use crate::frame_type::FrameType;
use crate::payload::Codec;
use crate::printable::printable;
use crate::version::VERSION;

const MAGIC: &[u8; 4] = b"TWMK";
/// Bytes of a frame header.
pub const HEADER_LEN: usize = 16;
/// Most bytes of a frame's body.
pub const MAX_BODY: usize = 4096;

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it carries.
    pub kind: FrameType,
    /// How the payload is encoded.
    pub codec: Codec,
    /// Bytes of the body.
    pub body_len: usize,
    /// Bytes of the payload.
    pub payload_len: usize,
}

impl FrameHeader {
    /// Reads a header and checks what can be checked without the plan.
    ///
    /// # Errors
    /// [`WireError`] for another magic, version, unknown type or flag, oversized lengths.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let malformed = |text: String| Err(WireError::Malformed(text));
        if &bytes[..4] != MAGIC {
            return malformed("no twinmask frame starts here".into());
        }
        if bytes[4] != VERSION {
            return Err(WireError::Version(bytes[4]));
        }
        let Some(kind) = FrameType::from_code(bytes[5]) else {
            return malformed(format!("unknown frame type {}", bytes[5]));
        };
        let flags = u16::from_le_bytes([bytes[6], bytes[7]]);
        let Some(codec) = Codec::from_flags(flags) else {
            return malformed(format!("unknown flags {flags:#x}"));
        };
        let len = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let (body_len, payload_len) = (len(8), len(12));
        if body_len > MAX_BODY || payload_len > MAX_PAYLOAD {
            return malformed(format!("oversized frame: body {body_len}, payload {payload_len} bytes"));
        }
        Ok(Self { kind, codec, body_len, payload_len })
    }

    /// Checks type and payload length against what is due: exactly the plan's length, or for zstd at most its bound.
    ///
    /// # Errors
    /// [`WireError::Unexpected`] or [`WireError::Shape`]; nothing has been allocated yet.
    pub fn expect(&self, kind: FrameType, parts: &[Part], due: &'static str) -> Result<(), WireError> {
        if self.kind != kind {
            return Err(WireError::Unexpected { found: self.kind, expected: due });
        }
        self.codec.check_len(self.payload_len, parts)
    }
}

/// A whole frame without payload.
#[must_use]
pub fn encode<T: Serialize>(kind: FrameType, body: &T) -> Vec<u8> {
    encode_with(kind, body, Codec::Packed, &[])
}

/// A whole frame.
///
/// # Panics
/// As [`encode_head`].
#[must_use]
pub fn encode_with<T: Serialize>(kind: FrameType, body: &T, codec: Codec, payload: &[u8]) -> Vec<u8> {
    let mut out = encode_head(kind, body, codec, payload.len());
    out.extend_from_slice(payload);
    out
}

/// Header and body of a frame, for writers that send its `payload_len` bytes of payload behind it without a copy. There
/// is no other copy of the body: who wipes this has wiped it.
///
/// # Panics
/// If the body is above [`MAX_BODY`] or the payload above [`MAX_PAYLOAD`]; messages stay below, and plans are refused
/// that do not.
#[must_use]
pub fn encode_head<T: Serialize>(kind: FrameType, body: &T, codec: Codec, payload_len: usize) -> Vec<u8> {
    assert!(payload_len <= MAX_PAYLOAD, "own frames stay within the limits");
    let mut out = vec![0; HEADER_LEN + MAX_BODY];
    let body_len = codec::encode_into(body, &mut out[HEADER_LEN..]).expect("own frames stay within the limits");
    out[..4].copy_from_slice(MAGIC);
    out[4..6].copy_from_slice(&[VERSION, kind as u8]);
    out[6..8].copy_from_slice(&codec.flags().to_le_bytes());
    out[8..12].copy_from_slice(&(body_len as u32).to_le_bytes());
    out[12..HEADER_LEN].copy_from_slice(&(payload_len as u32).to_le_bytes());
    out.truncate(HEADER_LEN + body_len);
    out
}

/// The body of a frame.
///
/// # Errors
/// [`WireError::Malformed`] when it is no encoding of a `T` or longer than it.
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    codec::decode::<T, { 4 * MAX_BODY }>(bytes).map_err(|e| WireError::Malformed(printable(&e.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Claim;
    use twinmask_codec::Counter;

    fn header(bytes: &[u8]) -> [u8; HEADER_LEN] {
        bytes[..HEADER_LEN].try_into().expect("long enough")
    }

    /// The vector that other implementations can be held against.
    #[test]
    fn known_vector() {
        let bytes = encode_with(FrameType::Claim, &Claim { counter: Counter::new(5) }, Codec::Packed, &[0xaa]);
        let expected =
            [b"TWMK\x02\x03\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00".as_slice(), &[5, 0, 0, 0, 0, 0, 0, 0, 0xaa]]
                .concat();
        assert_eq!(bytes, expected);
        let parsed = FrameHeader::parse(&header(&bytes)).expect("own frame");
        assert_eq!((parsed.kind, parsed.body_len, parsed.payload_len), (FrameType::Claim, 8, 1));
        assert_eq!(decode_body::<Claim>(&bytes[16..24]).expect("own body").counter, Counter::new(5));
        assert!(decode_body::<Claim>(&bytes[16..25]).is_err(), "trailing byte");
        assert!(decode_body::<Claim>(&bytes[16..23]).is_err(), "truncated");
    }

    #[test]
    fn hostile_headers_are_refused() {
        let good = header(&encode(FrameType::Claim, &Claim { counter: Counter::new(5) }));
        let with = |at: usize, value: u8| {
            let mut h = good;
            h[at] = value;
            FrameHeader::parse(&h)
        };
        assert!(with(0, b'X').is_err());
        assert_eq!(with(4, 9), Err(WireError::Version(9)));
        assert!(with(5, 0).is_err() && with(5, 255).is_err());
        assert!(with(6, 3).is_err() && with(7, 1).is_err());
        assert!(with(9, 0x20).is_err(), "body of 8 KiB");
        assert!(with(15, 0x80).is_err(), "payload of 2 GiB");
    }

    #[test]
    fn lengths_must_be_the_plans() {
        let h = |codec, payload_len| FrameHeader { kind: FrameType::Round, codec, body_len: 4, payload_len };
        let parts = [Part { len: 100, bits: 20 }, Part { len: 3, bits: 20 }];
        assert!(h(Codec::Packed, 258).expect(FrameType::Round, &parts, "a round").is_ok());
        for wrong in [0, 257, 259, 1 << 30] {
            assert!(matches!(
                h(Codec::Packed, wrong).expect(FrameType::Round, &parts, "a round"),
                Err(WireError::Shape { .. })
            ));
        }
        assert!(h(Codec::Raw, 412).expect(FrameType::Round, &parts, "a round").is_ok());
        assert!(h(Codec::Raw, 258).expect(FrameType::Round, &parts, "a round").is_err());
        assert!(h(Codec::Zstd, 60).expect(FrameType::Round, &parts, "a round").is_ok());
        assert!(h(Codec::Zstd, 5000).expect(FrameType::Round, &parts, "a round").is_err());
        assert!(matches!(
            h(Codec::Packed, 258).expect(FrameType::Answer, &parts, "an answer"),
            Err(WireError::Unexpected { .. })
        ));
    }
}
