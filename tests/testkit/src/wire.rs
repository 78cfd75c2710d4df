//! A wire with a tap: every frame of a connection in memory passes it, and may be lost.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use twinmask_transport::frame_io::Frame;
use twinmask_transport::{CloseReason, Connection, RecvHalf, SendHalf, StreamError, memory_pair, sever};
use twinmask_wire::frame::{FrameHeader, HEADER_LEN};

/// What sits on a wire.
pub trait Tap: Send + Sync + 'static {
    /// A frame on its way, `up` from whoever opened the connection. It is lost unless this is true.
    fn pass(&self, up: bool, frame: Frame) -> bool;
}

/// Lays a wire to the peer of `connection`: the end of it that takes the place of `connection`. Must be called inside a
/// tokio runtime.
#[must_use]
pub fn tapped(connection: Connection, tap: Arc<impl Tap>) -> Connection {
    let role = connection.peer().role.clone();
    let (near, middle) = memory_pair(role.clone(), role);
    tokio::spawn(carry(middle, connection, tap));
    near
}

/// Carries streams until either side closes or is cut off; then the other side has the same end.
async fn carry(near: Connection, far: Connection, tap: Arc<impl Tap>) {
    let mut streams = JoinSet::new();
    let (reason, other) = loop {
        tokio::select! {
            biased;
            reason = near.closed() => break (reason, &far),
            reason = far.closed() => break (reason, &near),
            stream = near.accept_bi() => {
                let Ok((back, out)) = stream else { continue };
                let Ok((on, from)) = far.open_bi().await else { continue };
                streams.spawn(pump(out, on, true, Arc::clone(&tap)));
                streams.spawn(pump(from, back, false, Arc::clone(&tap)));
            }
        }
    };
    match reason {
        CloseReason::Peer { code, text } => other.close(code, &text),
        _ => drop(sever(other)),
    }
}

async fn pump(mut from: RecvHalf, mut to: SendHalf, up: bool, tap: Arc<impl Tap>) {
    loop {
        match next(&mut from).await {
            Ok(Some((bytes, frame))) => {
                if tap.pass(up, frame) && to.write_all(&bytes).await.is_err() {
                    let _ = from.stop(0);
                    return;
                }
            }
            Ok(None) => return drop(to.finish()),
            Err(error) => {
                if let Some(StreamError::Reset(code)) = StreamError::of(&error) {
                    let _ = to.reset(*code);
                }
                return;
            }
        }
    }
}

/// The next frame and its bytes; none at the end of the stream.
async fn next(from: &mut RecvHalf) -> std::io::Result<Option<(Vec<u8>, Frame)>> {
    let mut head = [0; HEADER_LEN];
    let first = from.read(&mut head).await?;
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[first..]).await?;
    let header = FrameHeader::parse(&head).expect("a frame");
    let mut bytes = head.to_vec();
    bytes.resize(HEADER_LEN + header.body_len + header.payload_len, 0);
    from.read_exact(&mut bytes[HEADER_LEN..]).await?;
    let (body, payload) = bytes[HEADER_LEN..].split_at(header.body_len);
    let frame = Frame { header, body: body.to_vec().into(), payload: payload.to_vec() };
    Ok(Some((bytes, frame)))
}

/// A tap that keeps all frames, each with whether it went up.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<(bool, Frame)>>);

impl Recorder {
    /// Frames since the last call, in the order in which they came.
    pub fn take(&self) -> Vec<(bool, Frame)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tap for Recorder {
    fn pass(&self, up: bool, frame: Frame) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((up, frame));
        true
    }
}
