//! Frames over streams (PROTOCOL.md, "Wire"). A reader checks the header against the plan before it makes room for the
//! payload, and makes that room only as the bytes arrive.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use twinmask_wire::frame::{self, FrameHeader, HEADER_LEN};
use twinmask_wire::{Codec, FrameType, WireError};
use zeroize::Zeroizing;

use crate::stream::SendHalf;
use bytes::Bytes;

/// Most bytes that are set aside before any of a payload has arrived; from there on room grows with what arrives.
const FIRST_STEP: usize = 1 << 20;
/// Bytes of a payload from which on it is copied piece by piece as the stream takes it.
const LARGE: usize = 1 << 20;

/// A frame as it arrived: its payload has the announced length, its body is not decoded yet.
pub struct Frame {
    /// The fixed part.
    pub header: FrameHeader,
    /// The body's encoding; wiped when dropped, as that of `OPEN` holds the mask seed.
    pub body: Zeroizing<Vec<u8>>,
    /// The payload, encoded as `header.codec` says.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The body.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when it is no encoding of a `T` or longer than it.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        frame::decode_body(&self.body)
    }
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameIoError {
    /// The peer's bytes are refused.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer has finished the stream, at the end of a frame.
    #[error("the peer has finished the stream")]
    Finished,
    /// The stream or its connection has ended; [`StreamError::of`](crate::StreamError::of) tells how.
    #[error(transparent)]
    Io(io::Error),
}

/// Reads a frame. `check` sees its header before body and payload are read or any room is made for them: there the
/// caller holds it against the plan with [`FrameHeader::expect`].
///
/// Not cancel safe: a reader that is dropped half way loses its place in the stream.
///
/// # Errors
/// [`FrameIoError`]; a stream that is finished inside a frame is [`WireError::Malformed`].
pub async fn read_frame<R: AsyncRead + Unpin>(
    recv: &mut R,
    check: impl FnOnce(&FrameHeader) -> Result<(), WireError>,
) -> Result<Frame, FrameIoError> {
    let mut frame = read_head(recv, check).await?;
    let announced = frame.header.payload_len;
    frame.payload.reserve_exact(announced.min(FIRST_STEP));
    while frame.payload.len() < announced {
        if frame.payload.len() == frame.payload.capacity() {
            // Twice as much room, but none for more than is announced.
            frame.payload.reserve_exact(frame.payload.len().min(announced - frame.payload.len()));
        }
        read_some(recv, &mut frame.payload, announced).await?;
    }
    Ok(frame)
}

/// As [`read_frame`], but leaves the payload of `header.payload_len` bytes in the stream, for [`read_some`].
///
/// # Errors
/// As [`read_frame`].
pub async fn read_head<R: AsyncRead + Unpin>(
    recv: &mut R,
    check: impl FnOnce(&FrameHeader) -> Result<(), WireError>,
) -> Result<Frame, FrameIoError> {
    let mut head = [0; HEADER_LEN];
    let first = recv.read(&mut head).await.map_err(FrameIoError::Io)?;
    if first == 0 {
        return Err(FrameIoError::Finished);
    }
    recv.read_exact(&mut head[first..]).await.map_err(cut_off)?;
    let header = FrameHeader::parse(&head)?;
    check(&header)?;
    let mut body = Zeroizing::new(vec![0; header.body_len]);
    recv.read_exact(&mut body).await.map_err(cut_off)?;
    Ok(Frame { header, body, payload: Vec::new() })
}

/// Appends what has arrived of a payload to `buffer`, at least a byte, and no more than fills it to `most` bytes.
/// Cancel safe.
///
/// # Errors
/// As [`read_frame`].
pub async fn read_some<R: AsyncRead + Unpin>(
    recv: &mut R,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Result<(), FrameIoError> {
    let room = most.saturating_sub(buffer.len());
    match (&mut *recv).take(room as u64).read_buf(buffer).await {
        Ok(0) => Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(FrameIoError::Io(error)),
    }
}

fn cut_off(error: io::Error) -> FrameIoError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        WireError::Malformed("the stream ends inside a frame".to_owned()).into()
    } else {
        FrameIoError::Io(error)
    }
}

/// Writes a frame, and waits until the stream has taken it. A frame without payload is `Codec::Packed` with `&[]`.
///
/// # Errors
/// [`FrameIoError::Io`].
///
/// # Panics
/// As [`frame::encode_head`].
pub async fn write_frame<W: AsyncWrite + Unpin, T: Serialize>(
    send: &mut W,
    kind: FrameType,
    body: &T,
    codec: Codec,
    payload: &[u8],
) -> Result<(), FrameIoError> {
    let head = Zeroizing::new(frame::encode_head(kind, body, codec, payload.len()));
    send.write_all(&head).await.map_err(FrameIoError::Io)?;
    send.write_all(payload).await.map_err(FrameIoError::Io)
}

/// As [`write_frame`], of a frame with nothing secret in its body: the payload leaves with the head, and is not copied
/// unless it is so large that a last piece of it, which the peer does not acknowledge, would keep much memory.
///
/// # Errors
/// [`FrameIoError::Io`].
///
/// # Panics
/// As [`frame::encode_head`].
pub async fn send_frame<T: Serialize>(
    send: &mut SendHalf,
    kind: FrameType,
    body: &T,
    codec: Codec,
    payload: Vec<u8>,
) -> Result<(), FrameIoError> {
    if payload.len() > LARGE {
        return write_frame(send, kind, body, codec, &payload).await;
    }
    let head = frame::encode_head(kind, body, codec, payload.len());
    let mut parts = [head.into(), Bytes::from(payload)];
    let filled = if parts[1].is_empty() { 1 } else { 2 };
    send.write_parts(&mut parts[..filled]).await.map_err(FrameIoError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_codec::{Part, RoundId};
    use twinmask_wire::message::Round;

    const PARTS: [Part; 1] = [Part { len: 4, bits: 8 }];

    async fn written(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, FrameType::Round, &Round { round: RoundId::new(7) }, Codec::Packed, payload)
            .await
            .expect("memory");
        out
    }

    async fn read(bytes: &[u8]) -> Result<Frame, FrameIoError> {
        read_frame(&mut &bytes[..], |h| h.expect(FrameType::Round, &PARTS, "a round")).await
    }

    #[tokio::test]
    async fn a_frame_comes_back_and_every_truncation_is_told_apart() {
        let bytes = written(&[1, 2, 3, 4]).await;
        let frame = read(&bytes).await.expect("own frame");
        assert_eq!(
            (frame.body::<Round>().expect("a round").round, &frame.payload[..]),
            (RoundId::new(7), &[1, 2, 3, 4][..])
        );
        assert!(matches!(read(&[]).await, Err(FrameIoError::Finished)));
        for n in 1..bytes.len() {
            assert!(matches!(read(&bytes[..n]).await, Err(FrameIoError::Wire(WireError::Malformed(_)))), "cut to {n}");
        }
    }

    /// What an edge sets aside for an upload is what it takes.
    #[tokio::test]
    async fn a_large_payload_takes_no_more_room_than_it_has_bytes() {
        let parts = [Part { len: 5 << 20, bits: 9 }];
        let mut bytes = Vec::new();
        let payload = vec![0; twinmask_codec::packed_parts_len(&parts)];
        let round = Round { round: RoundId::new(7) };
        write_frame(&mut bytes, FrameType::Round, &round, Codec::Packed, &payload).await.expect("memory");
        let read = read_frame(&mut &bytes[..], |h| h.expect(FrameType::Round, &parts, "a round")).await;
        let read = read.expect("own frame").payload;
        assert_eq!((read.len(), read.capacity()), (payload.len(), payload.len()));
    }

    #[tokio::test]
    async fn the_header_is_refused_before_anything_behind_it_is_read() {
        let mut bytes = written(&[1, 2, 3, 4]).await;
        bytes[12..16].copy_from_slice(&(1u32 << 30).to_le_bytes());
        let mut rest = &bytes[..];
        let refused = read_frame(&mut rest, |h| h.expect(FrameType::Round, &PARTS, "a round")).await;
        assert!(matches!(refused, Err(FrameIoError::Wire(WireError::Shape { found: 0x4000_0000, expected: 4 }))));
        assert_eq!(rest.len(), bytes.len() - HEADER_LEN);
    }
}
