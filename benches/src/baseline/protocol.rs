//! Frames of the baselines: `kind u8, element width u8, zero u16, round u32, payload length u32`, little-endian, then
//! the payload: f32 elements, each padded to the width. As in twinmask's own frames, the reader knows the length
//! beforehand.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinmask_codec::RoundId;
use twinmask_transport::{RecvHalf, SendHalf};

/// Bytes of a frame's head.
const HEAD: usize = 12;

/// What a frame asks for or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The inputs of one round; answered with the outputs of its layers.
    Round = 1,
    /// The network's input; answered with its first output.
    Whole = 2,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What is asked for.
    pub kind: Kind,
    /// Bytes per element, 4 to 255.
    pub width: usize,
    /// Round, from 0.
    pub round: RoundId,
    /// Elements.
    pub elements: usize,
}

/// Writes a frame: `elements` as one sequence.
///
/// # Errors
/// When the connection has ended.
pub async fn write(send: &mut SendHalf, kind: Kind, width: usize, round: RoundId, elements: &[&[f32]]) -> Result<()> {
    let count: usize = elements.iter().map(|e| e.len()).sum();
    let mut bytes = Vec::with_capacity(HEAD + count * width);
    bytes.extend([kind as u8, u8::try_from(width).context("element width")?, 0, 0]);
    bytes.extend(round.get().to_le_bytes());
    bytes.extend(u32::try_from(count * width)?.to_le_bytes());
    for &value in elements.iter().copied().flatten() {
        bytes.extend(value.to_le_bytes());
        if width > 4 {
            bytes.resize(bytes.len() + width - 4, 0);
        }
    }
    send.write_all(&bytes).await.context("writing a frame")
}

/// Reads a frame's head; `None` at the end of the stream.
///
/// # Errors
/// When it is no head.
pub async fn read_head(recv: &mut RecvHalf) -> Result<Option<Head>> {
    let mut head = [0; HEAD];
    let first = recv.read(&mut head).await.context("reading a frame")?;
    if first == 0 {
        return Ok(None);
    }
    recv.read_exact(&mut head[first..]).await.context("reading a frame")?;
    parse(head).map(Some)
}

fn parse(head: [u8; HEAD]) -> Result<Head> {
    let kind = match head[0] {
        1 => Kind::Round,
        2 => Kind::Whole,
        other => bail!("no frame of kind {other}"),
    };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (width, bytes) = (usize::from(head[1]), number(8) as usize);
    if width < 4 || !bytes.is_multiple_of(width) {
        bail!("{bytes} bytes are not elements of {width}");
    }
    Ok(Head { kind, width, round: RoundId::new(number(4)), elements: bytes / width })
}

/// Reads the elements that follow `head`, which must be `expected`.
///
/// # Errors
/// When the peer announces another number, or its connection ends.
pub async fn read_elements(recv: &mut RecvHalf, head: &Head, expected: usize) -> Result<Vec<f32>> {
    if head.elements != expected {
        bail!("{} elements in round {} instead of {expected}", head.elements, head.round);
    }
    let mut bytes = vec![0; head.elements * head.width];
    recv.read_exact(&mut bytes).await.context("reading elements")?;
    Ok(bytes.chunks_exact(head.width).map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_checked() {
        let head = |kind: u8, width: u8, bytes: u32| {
            let mut h = [0; HEAD];
            (h[0], h[1], h[4]) = (kind, width, 7);
            h[8..].copy_from_slice(&bytes.to_le_bytes());
            parse(h)
        };
        let good = Head { kind: Kind::Round, width: 20, round: RoundId::new(7), elements: 3 };
        assert_eq!(head(1, 20, 60).expect("a head"), good);
        for (kind, width, bytes) in [(0, 4, 4), (3, 4, 4), (1, 3, 3), (1, 0, 0), (2, 20, 61)] {
            assert!(head(kind, width, bytes).is_err(), "{kind} {width} {bytes}");
        }
    }
}
