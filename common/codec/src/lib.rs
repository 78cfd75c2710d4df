//! What crosses the wire or stands in a bundle, below any of its meaning: how plain data is encoded, ids, sizes of
//! parts.

mod encoding;
mod ids;
mod part;

pub use encoding::{CodecError, decode, encode, encode_into};
pub use ids::{Counter, GroupId, LayerId, RoundId};
pub use part::{MAX_PAYLOAD, MAX_ROUND, Part, packed_parts_len};
