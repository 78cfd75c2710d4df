//! Payload codecs: how the shares of a frame become bytes (PROTOCOL.md, "Wire").
//!
//! Shares are uniform and independent of the data, so neither their compressed size nor anything else about them
//! tells anything, and no compressor gets them below k bits.

use serde::{Deserialize, Serialize};
use twinmask_codec::{Part, packed_parts_len};
use twinmask_ring::{mask, pack};

use crate::error::WireError;

const ZSTD_LEVEL: i32 = 1;

/// How one payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// k bits per element.
    Packed,
    /// zstd over the packed form.
    Zstd,
    /// A little-endian u32 per element.
    Raw,
}

/// What the device asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecChoice {
    /// zstd is tried on the first frame of each kind in a session; the smaller form is kept.
    Auto,
    /// Always packed.
    Packed,
    /// Always zstd.
    Zstd,
    /// Always raw.
    Raw,
}

/// A text that names no [`CodecChoice`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no codec: auto, packed, zstd or raw")]
pub struct UnknownCodec(String);

impl std::str::FromStr for CodecChoice {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        match text {
            "auto" => Ok(Self::Auto),
            "packed" => Ok(Self::Packed),
            "zstd" => Ok(Self::Zstd),
            "raw" => Ok(Self::Raw),
            _ => Err(UnknownCodec(text.to_owned())),
        }
    }
}

impl Codec {
    pub(crate) const fn flags(self) -> u16 {
        match self {
            Self::Packed => 0,
            Self::Zstd => 1,
            Self::Raw => 2,
        }
    }

    pub(crate) const fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            0 => Some(Self::Packed),
            1 => Some(Self::Zstd),
            2 => Some(Self::Raw),
            _ => None,
        }
    }

    /// Checks a payload length against the parts that are due.
    pub(crate) fn check_len(self, found: usize, parts: &[Part]) -> Result<(), WireError> {
        let packed = packed_parts_len(parts);
        let (fits, expected) = match self {
            Self::Packed => (found == packed, packed),
            Self::Raw => {
                let raw = 4 * parts.iter().map(|p| p.len).sum::<usize>();
                (found == raw, raw)
            }
            Self::Zstd => {
                let bound = zstd::zstd_safe::compress_bound(packed);
                (found <= bound && (packed > 0 || found == 0), bound)
            }
        };
        if fits { Ok(()) } else { Err(WireError::Shape { found, expected }) }
    }
}

/// Most bytes that a payload of these parts may take, whatever its codec.
#[must_use]
pub fn most_len(parts: &[Part]) -> usize {
    let raw = 4 * parts.iter().map(|p| p.len).sum::<usize>();
    raw.max(zstd::zstd_safe::compress_bound(packed_parts_len(parts)))
}

/// The payload that holds `parts` (elements, ring width).
///
/// # Panics
/// If zstd runs out of memory.
#[must_use]
pub fn encode(parts: &[(&[u32], u32)], codec: Codec) -> Vec<u8> {
    let len = |&(elements, k): &(&[u32], u32)| {
        if codec == Codec::Raw { 4 * elements.len() } else { pack::packed_len(elements.len(), k) }
    };
    let mut out = Vec::with_capacity(parts.iter().map(len).sum());
    for &(elements, k) in parts {
        match codec {
            Codec::Raw => {
                let keep = mask(k);
                out.extend(elements.iter().flat_map(|e| (e & keep).to_le_bytes()));
            }
            Codec::Packed | Codec::Zstd => pack::pack(elements, k, &mut out),
        }
    }
    if codec == Codec::Zstd {
        zstd::bulk::compress(&out, ZSTD_LEVEL).expect("zstd compresses into memory")
    } else {
        out
    }
}

/// The elements of each part of `payload`.
///
/// # Errors
/// [`WireError`] when the payload does not hold exactly these parts.
pub fn decode(payload: &[u8], codec: Codec, parts: &[Part]) -> Result<Vec<Vec<u32>>, WireError> {
    decode_into(payload, codec, parts, |n| vec![0; n])
}

/// As [`decode`], into the buffers that `room` gives: of as many elements as it is asked for, whatever they are.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(
    payload: &[u8],
    codec: Codec,
    parts: &[Part],
    mut room: impl FnMut(usize) -> Vec<u32>,
) -> Result<Vec<Vec<u32>>, WireError> {
    codec.check_len(payload.len(), parts)?;
    let malformed = |e: &dyn std::fmt::Display| WireError::Malformed(format!("payload: {e}"));
    let unpacked;
    let bytes = if codec == Codec::Zstd {
        unpacked = zstd::bulk::decompress(payload, packed_parts_len(parts)).map_err(|e| malformed(&e))?;
        Codec::Packed.check_len(unpacked.len(), parts)?;
        &unpacked
    } else {
        payload
    };
    let mut rest = bytes;
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        let mut elements = room(part.len);
        let len = if codec == Codec::Raw { 4 * part.len } else { part.packed_len() };
        let (head, tail) = rest.split_at(len);
        if codec == Codec::Raw {
            for (e, b) in elements.iter_mut().zip(head.chunks_exact(4)) {
                *e = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
            if elements.iter().any(|e| e & !mask(part.bits) != 0) {
                return Err(malformed(&"an element is wider than the ring"));
            }
        } else {
            pack::unpack(head, part.bits, &mut elements).map_err(|e| malformed(&e))?;
        }
        rest = tail;
        out.push(elements);
    }
    Ok(out)
}

/// Adds the elements of each part of `payload`, a [`Codec::Packed`] one, to those of `sums` (by part, as many), mod
/// 2^32.
///
/// # Errors
/// [`WireError`] when the payload does not hold exactly these parts.
pub fn add_packed(payload: &[u8], parts: &[Part], sums: &mut [Vec<u32>]) -> Result<(), WireError> {
    Codec::Packed.check_len(payload.len(), parts)?;
    let mut rest = payload;
    for (sum, part) in sums.iter_mut().zip(parts) {
        let (head, tail) = rest.split_at(part.packed_len());
        pack::unpack_add(head, part.bits, sum).map_err(|e| WireError::Malformed(format!("payload: {e}")))?;
        rest = tail;
    }
    Ok(())
}

/// Turns a [`CodecChoice`] into the codec of each frame of one kind in one session.
#[derive(Debug, Clone)]
pub struct Encoder {
    settled: Option<Codec>,
}

impl Encoder {
    /// For frames of one kind.
    #[must_use]
    pub const fn new(choice: CodecChoice) -> Self {
        let settled = match choice {
            CodecChoice::Auto => None,
            CodecChoice::Packed => Some(Codec::Packed),
            CodecChoice::Zstd => Some(Codec::Zstd),
            CodecChoice::Raw => Some(Codec::Raw),
        };
        Self { settled }
    }

    /// The codec of all frames from here on, once it is known.
    #[must_use]
    pub const fn settled(&self) -> Option<Codec> {
        self.settled
    }

    /// The next frame's payload and the codec that was used.
    pub fn encode(&mut self, parts: &[(&[u32], u32)]) -> (Codec, Vec<u8>) {
        if let Some(codec) = self.settled {
            return (codec, encode(parts, codec));
        }
        let packed = encode(parts, Codec::Packed);
        let squeezed = encode(parts, Codec::Zstd);
        let (codec, bytes) =
            if squeezed.len() < packed.len() { (Codec::Zstd, squeezed) } else { (Codec::Packed, packed) };
        self.settled = Some(codec);
        (codec, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_codec::{MAX_PAYLOAD, MAX_ROUND};
    use twinmask_ring::prf::Key;

    fn uniform(n: usize, k: u32) -> Vec<u32> {
        let mut out = vec![0; n];
        Key::derive("test", &[b"payload"]).fill(0, k, &mut out);
        out
    }

    /// If this fails, a round that plans allow is a frame that nobody may send, or expects a payload beyond it.
    #[test]
    fn every_form_of_the_largest_round_fits_a_frame() {
        let largest = MAX_ROUND / 4;
        for bits in [24, 32] {
            let packed = packed_parts_len(&[Part { len: largest, bits }]);
            assert!(packed <= MAX_ROUND && zstd::zstd_safe::compress_bound(packed) <= MAX_PAYLOAD);
        }
        assert!(zstd::zstd_safe::compress_bound(MAX_PAYLOAD) > MAX_PAYLOAD, "so the largest round is smaller");
    }

    #[test]
    fn every_codec_round_trips() {
        let (a, b) = (uniform(1001, 20), uniform(7, 32));
        let parts = [Part { len: 1001, bits: 20 }, Part { len: 7, bits: 32 }];
        for codec in [Codec::Packed, Codec::Zstd, Codec::Raw] {
            let payload = encode(&[(&a, 20), (&b, 32)], codec);
            assert_eq!(decode(&payload, codec, &parts).expect("own payload"), [a.clone(), b.clone()], "{codec:?}");
            for wrong in [&payload[..payload.len() - 1], &[&payload[..], &[0]].concat()] {
                assert!(decode(wrong, codec, &parts).is_err(), "{codec:?}");
            }
        }
        let payload = encode(&[(&a, 20), (&b, 32)], Codec::Packed);
        let mut sums = [vec![1; 1001], vec![u32::MAX; 7]];
        add_packed(&payload, &parts, &mut sums).expect("own payload");
        assert_eq!(sums[0], a.iter().map(|e| e + 1).collect::<Vec<_>>());
        assert_eq!(sums[1], b.iter().map(|e| e.wrapping_sub(1)).collect::<Vec<_>>());
        assert!(add_packed(&payload[1..], &parts, &mut sums).is_err());
        assert!(decode(&[0, 0, 0x10, 0], Codec::Raw, &[Part { len: 1, bits: 20 }]).is_err(), "wider than the ring");
    }

    #[test]
    fn no_payload_is_longer_than_it_may_be() {
        for (n, k) in [(1, 2), (1000, 20), (1001, 31), (70_000, 32)] {
            let (elements, parts) = (uniform(n, k), [Part { len: n, bits: k }]);
            for codec in [Codec::Packed, Codec::Zstd, Codec::Raw] {
                let len = encode(&[(&elements, k)], codec).len();
                assert!(len <= most_len(&parts), "{n} elements of {k} bits, {codec:?}: {len} bytes");
                let checked = |len| codec.check_len(len, &parts).is_ok();
                assert!(checked(len) && !checked(most_len(&parts) + 1));
            }
        }
    }

    #[test]
    fn a_zstd_bomb_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0u8; 1 << 20], 19).expect("compresses");
        assert!(decode(&bomb, Codec::Zstd, &[Part { len: 100, bits: 20 }]).is_err());
    }

    #[test]
    fn auto_keeps_the_smaller_form() {
        let mut random = Encoder::new(CodecChoice::Auto);
        assert_eq!(random.encode(&[(&uniform(5000, 24), 24)]).0, Codec::Packed);
        let mut zeros = Encoder::new(CodecChoice::Auto);
        assert_eq!(zeros.encode(&[(&[0; 5000], 24)]).0, Codec::Zstd);
        assert_eq!(zeros.encode(&[(&uniform(5000, 24), 24)]).0, Codec::Zstd, "settled by the first frame");
    }
}
