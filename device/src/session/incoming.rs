//! An edge's answer to a round, opened as it arrives.

use tokio::time::Instant;
use twinmask_codec::Part;
use twinmask_masking::mask::PIECE;
use twinmask_ring::pack;
use twinmask_transport::RecvHalf;
use twinmask_transport::frame_io::Frame;
use twinmask_wire::{Codec, payload};

use crate::error::DeviceError;
use crate::session::link::EdgeLink;

/// Bytes that are taken from the stream at a time, at most: few enough to stay in a near cache.
const STEP: usize = 64 * 1024;

/// The elements of an answer whose head has been read.
pub(crate) struct Incoming<'a> {
    link: &'a EdgeLink,
    recv: &'a mut RecvHalf,
    deadline: Instant,
    /// Bytes of the payload that have not been read.
    left: usize,
    /// Packed elements from `start` on.
    buffer: Vec<u8>,
    start: usize,
    piece: [u32; PIECE],
}

impl<'a> Incoming<'a> {
    /// The answer that `head` announces, of these parts, all of it due at `deadline`. Only packed elements can
    /// be used as they arrive.
    pub(crate) async fn new(
        link: &'a EdgeLink,
        recv: &'a mut RecvHalf,
        mut head: Frame,
        parts: &[Part],
        deadline: Instant,
    ) -> Result<Incoming<'a>, DeviceError> {
        let (mut left, codec) = (head.header.payload_len, head.header.codec);
        let buffer = if codec == Codec::Packed {
            Vec::with_capacity(left.min(STEP))
        } else {
            while left > 0 {
                left -= link.read_some(recv, &mut head.payload, head.header.payload_len, deadline).await?;
            }
            let elements = payload::decode(&head.payload, codec, parts).map_err(|e| link.broke(e))?;
            let parts: Vec<(&[u32], u32)> =
                elements.iter().zip(parts).map(|(e, part)| (e.as_slice(), part.bits)).collect();
            payload::encode(&parts, Codec::Packed)
        };
        Ok(Incoming { link, recv, deadline, left, buffer, start: 0, piece: [0; PIECE] })
    }

    /// The next elements of a part of which `rest` elements of `k` bits are to come: [`PIECE`], or all.
    pub(crate) async fn next(&mut self, rest: usize, k: u32) -> Result<&[u32], DeviceError> {
        let n = rest.min(PIECE);
        let bytes = pack::packed_len(n, k);
        while self.buffer.len() - self.start < bytes {
            // What has been used makes room.
            self.buffer.drain(..std::mem::take(&mut self.start));
            let most = STEP.min(self.buffer.len() + self.left);
            self.left -= self.link.read_some(self.recv, &mut self.buffer, most, self.deadline).await?;
        }
        let piece = &mut self.piece[..n];
        let packed = &self.buffer[self.start..self.start + bytes];
        pack::unpack(packed, k, piece)
            .map_err(|e| self.link.broke(twinmask_wire::WireError::Malformed(e.to_string())))?;
        self.start += bytes;
        Ok(piece)
    }
}
