//! A wire that flips one bit of one frame: the client's connection ends here, another goes on to the edge.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use twinmask_transport::{CloseReason, Connection, RecvHalf, SendHalf, StreamError};

/// Bytes of a frame's header, and where the lengths of body and payload are in it.
const HEADER: usize = 16;

/// Part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A byte of the fixed header.
    Header(usize),
    /// A byte of the body, modulo its length.
    Body(usize),
    /// A byte of the payload, in thousandths of its length.
    Payload(usize),
    /// A byte of the whole frame, modulo its length.
    Any(usize),
}

/// Which bit of which frame is flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// Number of the frame among those that pass, both directions counted together.
    pub frame: usize,
    /// Byte within it.
    pub part: Part,
    /// Bit within that.
    pub bit: u8,
}

/// Where a bit was flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Type of the frame, as its header said.
    pub kind: u8,
    /// Whether it was in the frame's payload.
    pub payload: bool,
}

/// What passed a wire.
#[derive(Debug, Default)]
pub struct Passed {
    frames: AtomicUsize,
    hit: OnceLock<Hit>,
    /// Whole frames as they came, if they are kept.
    kept: Option<std::sync::Mutex<Vec<Vec<u8>>>>,
}

impl Passed {
    /// Nothing yet; keeps every frame.
    pub(crate) fn keeping() -> Passed {
        Passed { kept: Some(Default::default()), ..Passed::default() }
    }

    /// The frames that were kept, header first.
    ///
    /// # Panics
    /// If somebody panicked with them in his hands.
    #[must_use]
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.as_ref().map(|kept| kept.lock().expect("no panic").clone()).unwrap_or_default()
    }

    /// Frames so far.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::SeqCst)
    }

    /// Whether the bit was really flipped: a frame may have no such byte.
    #[must_use]
    pub fn flipped(&self) -> bool {
        self.hit.get().is_some()
    }

    /// Where the bit was flipped, if it was.
    #[must_use]
    pub fn hit(&self) -> Option<Hit> {
        self.hit.get().copied()
    }
}

/// Lays a wire between a client, who opens the streams, and an edge, whose connection `pair` would be: gives the
/// client's end, the edge's end, and what passes. Must be called inside a tokio runtime.
#[must_use]
pub fn wire(pair: impl Fn() -> (Connection, Connection), flip: Option<Flip>) -> (Connection, Connection, Arc<Passed>) {
    let ((client_end, near), (far, edge_end)) = (pair(), pair());
    let passed = Arc::new(Passed::default());
    tokio::spawn(carry(near, far, flip, Arc::clone(&passed)));
    (client_end, edge_end, passed)
}

/// Carries streams until either side closes; then closes the other side alike.
pub(crate) async fn carry(near: Connection, far: Connection, flip: Option<Flip>, passed: Arc<Passed>) {
    let mut streams = JoinSet::new();
    // One frame at a time takes its number, so that a flip of an early frame is the same in every run.
    let turn = Arc::new(Mutex::new(()));
    let reason = loop {
        tokio::select! {
            biased;
            reason = near.closed() => break (reason, &far),
            reason = far.closed() => break (reason, &near),
            stream = near.accept_bi() => {
                let Ok((back, out)) = stream else { continue };
                let Ok((on, from)) = far.open_bi().await else { continue };
                for (recv, send) in [(out, on), (from, back)] {
                    streams.spawn(pump(recv, send, flip, Arc::clone(&passed), Arc::clone(&turn)));
                }
            }
        }
    };
    if let (CloseReason::Peer { code, text }, other) = reason {
        other.close(code, &text);
    }
}

async fn pump(mut recv: RecvHalf, mut send: SendHalf, flip: Option<Flip>, passed: Arc<Passed>, turn: Arc<Mutex<()>>) {
    loop {
        match frame(&mut recv).await {
            Ok(Some(mut bytes)) => {
                let _turn = turn.lock().await;
                if let Some(kept) = &passed.kept {
                    kept.lock().expect("no panic").push(bytes.clone());
                }
                let number = passed.frames.fetch_add(1, Ordering::SeqCst);
                if let Some(flip) = flip.filter(|f| f.frame == number)
                    && let Some(byte) = at(&bytes, flip.part)
                {
                    let hit = Hit { kind: bytes[5], payload: byte >= HEADER + lengths(&bytes).0 };
                    bytes[byte] ^= 1 << flip.bit;
                    let _ = passed.hit.set(hit);
                }
                if send.write_all(&bytes).await.is_err() {
                    let _ = recv.stop(0);
                    return;
                }
            }
            Ok(None) => return drop(send.finish()),
            Err(error) => {
                if let Some(StreamError::Reset(code)) = StreamError::of(&error) {
                    let _ = send.reset(*code);
                }
                return;
            }
        }
    }
}

/// The next frame's bytes; `None` at the end of the stream.
async fn frame(recv: &mut RecvHalf) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; HEADER];
    let first = recv.read(&mut bytes).await?;
    if first == 0 {
        return Ok(None);
    }
    recv.read_exact(&mut bytes[first..]).await?;
    let (body, payload) = lengths(&bytes);
    bytes.resize(HEADER + body + payload, 0);
    recv.read_exact(&mut bytes[HEADER..]).await?;
    Ok(Some(bytes))
}

fn lengths(frame: &[u8]) -> (usize, usize) {
    let len = |i: usize| u32::from_le_bytes([frame[i], frame[i + 1], frame[i + 2], frame[i + 3]]) as usize;
    (len(8), len(12))
}

fn at(frame: &[u8], part: Part) -> Option<usize> {
    let (body, payload) = lengths(frame);
    match part {
        Part::Header(i) => (i < HEADER).then_some(i),
        Part::Body(i) => (body > 0).then(|| HEADER + i % body),
        Part::Any(i) => Some(i % frame.len()),
        Part::Payload(i) => (payload > 0).then(|| HEADER + body + (i * payload / 1000).min(payload - 1)),
    }
}
