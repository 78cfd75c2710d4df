//! Frames, one request and one answer per round: `round u32, bytes u32`, little-endian, then the elements packed to the
//! ring's bits, part after part. The reader knows the length beforehand, as in twinmask's own frames.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinmask_codec::{Part, RoundId, packed_parts_len};
use twinmask_ring::pack;
use twinmask_transport::{RecvHalf, SendHalf};

const HEAD: usize = 8;

/// The packed bytes of `elements`, each with its part.
pub(super) fn pack_parts(elements: &[Vec<u32>], parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::with_capacity(packed_parts_len(parts));
    for (elements, part) in elements.iter().zip(parts) {
        pack::pack(elements, part.bits, &mut out);
    }
    out
}

/// The elements of each part.
///
/// # Errors
/// When bytes are no packing of them.
pub(super) fn unpack_parts(mut bytes: &[u8], parts: &[Part]) -> Result<Vec<Vec<u32>>> {
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, rest) = bytes.split_at_checked(part.packed_len()).context("a payload is short")?;
        let mut elements = vec![0; part.len];
        pack::unpack(own, part.bits, &mut elements)?;
        all.push(elements);
        bytes = rest;
    }
    Ok(all)
}

pub(super) async fn write(send: &mut SendHalf, round: RoundId, payload: &[u8]) -> Result<()> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend(round.get().to_le_bytes());
    bytes.extend(u32::try_from(payload.len())?.to_le_bytes());
    bytes.extend(payload);
    send.write_all(&bytes).await.context("writing a frame")
}

/// The payload of `round`; `None` at the end of the stream.
///
/// # Errors
/// When the peer announces another round or length than is due, or its connection ends.
pub(super) async fn read(recv: &mut RecvHalf, round: RoundId, parts: &[Part]) -> Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    let first = recv.read(&mut head).await.context("reading a frame")?;
    if first == 0 {
        return Ok(None);
    }
    recv.read_exact(&mut head[first..]).await.context("reading a frame")?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let expected = packed_parts_len(parts);
    if (number(0), number(4) as usize) != (round.get(), expected) {
        bail!("a frame of round {} with {} bytes where {round} with {expected} is due", number(0), number(4));
    }
    let mut payload = vec![0; expected];
    recv.read_exact(&mut payload).await.context("reading a frame")?;
    Ok(Some(payload))
}
