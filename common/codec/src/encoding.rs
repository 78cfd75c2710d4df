//! The one module that touches bincode: fixed-width little-endian integers, a decode limit, no trailing bytes.
//! (bincode 2 is complete and unmaintained; `deny.toml` says why it stays.)

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no encoding of what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Not an encoding of the expected type, or beyond the decode limit.
    #[error("malformed encoding: {0}")]
    Malformed(bincode::error::DecodeError),
    /// Refused by the type itself, with its reason.
    #[error("{0}")]
    Refused(String),
    /// Bytes are left behind the value.
    #[error("{0} trailing bytes behind the encoding")]
    Trailing(usize),
}

impl From<bincode::error::DecodeError> for CodecError {
    fn from(e: bincode::error::DecodeError) -> Self {
        match e {
            bincode::error::DecodeError::OtherString(reason) => Self::Refused(reason),
            other => Self::Malformed(other),
        }
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding().with_little_endian()
}

/// The encoding of `value`.
///
/// # Panics
/// Never for types that derive `Serialize` on plain data, which is all that the workspace encodes.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config()).expect("plain data encodes into memory")
}

/// Encodes `value` into the beginning of `out`: its length, or `None` if it does not fit. Leaves no copy elsewhere.
pub fn encode_into<T: Serialize>(value: &T, out: &mut [u8]) -> Option<usize> {
    bincode::serde::encode_into_slice(value, out, config()).ok()
}

/// Decodes a `T` that claims at most `LIMIT` bytes of memory while it is read.
///
/// # Errors
/// [`CodecError`] when the bytes are malformed, exceed the limit, or are longer than the value.
pub fn decode<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    let limited = bincode::config::standard().with_fixed_int_encoding().with_little_endian().with_limit::<LIMIT>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, limited)?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing(bytes.len() - used)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_limit_and_trailing() {
        let value = (7u32, vec![1u16, 2, 3], "text".to_string());
        let bytes = encode(&value);
        assert_eq!(bytes.len(), 4 + 8 + 6 + 8 + 4);
        assert_eq!(decode::<(u32, Vec<u16>, String), 1024>(&bytes).expect("own encoding"), value);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(decode::<(u32, Vec<u16>, String), 1024>(&longer), Err(CodecError::Trailing(1))));
        assert!(decode::<(u32, Vec<u16>, String), 1024>(&bytes[..bytes.len() - 1]).is_err());
        // A length of 2^60 elements must fail by the limit, before memory is claimed.
        let mut huge = encode(&7u32);
        huge.extend_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(decode::<(u32, Vec<u16>), 1024>(&huge).is_err());
    }
}
