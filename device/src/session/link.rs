//! One edge as a session sees it: connection, control stream, and errors in words that name the edge.

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use twinmask_transport::frame_io::{Frame, FrameIoError, read_head, read_some, write_frame};
use twinmask_transport::{CloseReason, Connection, RecvHalf, Role, SendHalf, TransportError};
use twinmask_wire::frame::FrameHeader;
use twinmask_wire::message::{Busy, Infer, Open, Opened};
use twinmask_wire::{CloseCode, Codec, FrameType, WireError};

use crate::error::{DeviceError, LinkError};
use crate::session::streams::Streams;

/// Time that a connection is given to tell why a stream on it failed.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// One edge of a session.
pub(crate) struct EdgeLink {
    pub(crate) role: Role,
    pub(crate) connection: Connection,
    pub(crate) control: Mutex<(SendHalf, RecvHalf)>,
    pub(crate) opened: Opened,
    /// Time that the edge computed so far, in microseconds.
    pub(crate) compute_us: AtomicU64,
    pub(crate) timeout: Duration,
}

impl EdgeLink {
    /// Opens the control stream and the session on it.
    pub(crate) async fn open(
        role: Role,
        connection: Connection,
        open: &Open,
        timeout: Duration,
    ) -> Result<Self, DeviceError> {
        let control = connection.open_bi().await.map_err(|e| transport_error(&role, e))?;
        let opened = Opened { prf: open.prfs[0], max_in_flight: 1, kernel: String::new(), relay: false, part: None };
        let mut link =
            Self { role, connection, control: Mutex::new(control), opened, compute_us: AtomicU64::new(0), timeout };
        let opened = {
            let mut control = link.control.lock().await;
            link.write(&mut control.0, FrameType::Open, open).await?;
            let frame = link.read(&mut control.1, FrameType::Opened, "the session's acceptance").await?;
            frame.body::<Opened>().map_err(|e| link.broke(e))?
        };
        if !open.prfs.contains(&opened.prf) {
            return Err(link.broke(WireError::Malformed("it picked a PRF that was not offered".into())));
        }
        link.opened = opened;
        Ok(link)
    }

    /// Opens a stream of an inference with its first frame.
    pub(crate) async fn open_stream(&self, first: &Infer) -> Result<Streams, DeviceError> {
        let opened = self.connection.open_bi().await.map_err(|e| transport_error(&self.role, e))?;
        let mut streams = Streams::new(opened);
        self.write(&mut streams.send, FrameType::Infer, first).await?;
        Ok(streams)
    }

    /// Writes a frame without payload.
    pub(crate) async fn write(
        &self,
        send: &mut SendHalf,
        kind: FrameType,
        body: &impl Serialize,
    ) -> Result<(), DeviceError> {
        self.upload(send, kind, body, Codec::Packed, &[]).await
    }

    /// Writes a frame with its payload.
    pub(crate) async fn upload(
        &self,
        send: &mut SendHalf,
        kind: FrameType,
        body: &impl Serialize,
        codec: Codec,
        payload: &[u8],
    ) -> Result<(), DeviceError> {
        let writing = write_frame(send, kind, body, codec, payload);
        self.written(self.in_time("room for a frame", self.deadline(), writing).await?).await
    }

    /// When what begins now has to be over: a frame that goes or comes in pieces has no more time than a whole one.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Writes the next bytes of a frame.
    pub(crate) async fn write_some(
        &self,
        send: &mut SendHalf,
        bytes: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), DeviceError> {
        let mut parts = [bytes.into()];
        let writing = async { send.write_parts(&mut parts).await.map_err(FrameIoError::Io) };
        self.written(self.in_time("room for a share", deadline, writing).await?).await
    }

    async fn written(&self, result: Result<(), FrameIoError>) -> Result<(), DeviceError> {
        match result {
            Ok(()) => Ok(()),
            Err(e) => Err(self.failed(e).await),
        }
    }

    /// Reads a frame of `kind` without payload.
    pub(crate) async fn read(
        &self,
        recv: &mut RecvHalf,
        kind: FrameType,
        due: &'static str,
    ) -> Result<Frame, DeviceError> {
        self.read_head(recv, due, self.deadline(), |h| h.expect(kind, &[], due)).await
    }

    /// Reads a frame that `accept` takes up to its payload. A `BUSY`, if it takes one, is an error.
    pub(crate) async fn read_head(
        &self,
        recv: &mut RecvHalf,
        due: &'static str,
        deadline: Instant,
        accept: impl Fn(&FrameHeader) -> Result<(), WireError>,
    ) -> Result<Frame, DeviceError> {
        match self.in_time(due, deadline, read_head(recv, accept)).await? {
            Ok(frame) if frame.header.kind == FrameType::Busy => {
                let Busy { retry_after_ms } = frame.body().map_err(|e| self.broke(e))?;
                Err(DeviceError::Busy { edge: self.role.clone(), retry_after_ms })
            }
            Ok(frame) => Ok(frame),
            Err(e) => Err(self.failed(e).await),
        }
    }

    /// Appends what has come of a payload to `buffer`, filling it to no more than `most` bytes: how many came, at least
    /// one.
    pub(crate) async fn read_some(
        &self,
        recv: &mut RecvHalf,
        buffer: &mut Vec<u8>,
        most: usize,
        deadline: Instant,
    ) -> Result<usize, DeviceError> {
        let before = buffer.len();
        match self.in_time("the rest of its answer", deadline, read_some(recv, buffer, most)).await? {
            Ok(()) => Ok(buffer.len() - before),
            Err(e) => Err(self.failed(e).await),
        }
    }

    async fn in_time<T>(&self, due: &str, deadline: Instant, work: impl Future<Output = T>) -> Result<T, DeviceError> {
        timeout_at(deadline, work).await.map_err(|_| DeviceError::Unreachable {
            edge: self.role.clone(),
            source: LinkError::Stalled { at: self.at(), due: due.to_owned(), timeout: self.timeout },
        })
    }

    fn at(&self) -> String {
        self.connection.peer().address.to_string()
    }

    /// The edge broke the protocol.
    pub(crate) fn broke(&self, source: WireError) -> DeviceError {
        DeviceError::Protocol { edge: self.role.clone(), source: LinkError::Broke { at: self.at(), source } }
    }

    /// The edge derives other masks than this device.
    pub(crate) fn other_keys(&self) -> DeviceError {
        DeviceError::Protocol { edge: self.role.clone(), source: LinkError::OtherKeys { at: self.at() } }
    }

    /// How the connection has ended, as an error.
    pub(crate) fn ended(&self, reason: CloseReason) -> DeviceError {
        close_error(&self.role, self.at(), reason)
    }

    /// A stream failed: the connection's end says more than the stream's.
    async fn failed(&self, e: FrameIoError) -> DeviceError {
        if let FrameIoError::Wire(e) = e {
            return self.broke(e);
        }
        match tokio::time::timeout(LAST_WORDS, self.connection.closed()).await {
            Ok(reason) => self.ended(reason),
            Err(_) => {
                let source = LinkError::Stream { at: self.at(), source: e };
                DeviceError::Unreachable { edge: self.role.clone(), source }
            }
        }
    }
}

/// How a connection ended, as an error of the device.
fn close_error(role: &Role, at: String, reason: CloseReason) -> DeviceError {
    let edge = role.clone();
    match reason {
        CloseReason::RefusedUs(_) => DeviceError::Protocol { edge, source: LinkError::Refused { at, reason } },
        CloseReason::Peer { code, text } => {
            let source = LinkError::Ended { at, text };
            match CloseCode::from_code(u64::from(code)) {
                Some(CloseCode::Done | CloseCode::Draining | CloseCode::Limit) => {
                    DeviceError::Unreachable { edge, source }
                }
                _ => DeviceError::Protocol { edge, source },
            }
        }
        reason => DeviceError::Unreachable { edge, source: LinkError::Lost { at, reason } },
    }
}

/// A failure to connect, as an error of the device: nobody there (unreachable), somebody else there (protocol), or
/// something wrong on this side.
pub(crate) fn transport_error(role: &Role, e: TransportError) -> DeviceError {
    use TransportError as T;
    let edge = role.clone();
    match e {
        T::Closed { address, reason } => close_error(role, address, reason),
        T::Resolve { .. } | T::Socket { .. } | T::Unreachable { .. } | T::HandshakeTimeout { .. } | T::Busy { .. } => {
            DeviceError::Unreachable { edge, source: LinkError::Transport(e) }
        }
        T::WrongIssuer { .. }
        | T::RefusedUs { .. }
        | T::WrongRole { .. }
        | T::RoleNotServed { .. }
        | T::SameIdentity { .. }
        | T::PeerExpired { .. }
        | T::PeerRevoked { .. }
        | T::PeerNotYetValid { .. }
        | T::BadCertificate { .. }
        | T::Version { .. } => DeviceError::Protocol { edge, source: LinkError::Transport(e) },
        _ => DeviceError::Transport(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::incoming::Incoming;
    use tokio::io::AsyncWriteExt;
    use twinmask_codec::{Part, RoundId};
    use twinmask_transport::memory_pair;
    use twinmask_wire::frame;
    use twinmask_wire::message::{Answer, Prf};

    /// An edge that lets a byte through now and then holds a device no longer than one that says nothing.
    #[tokio::test]
    async fn an_answer_that_trickles_in_is_given_up() {
        let device = Role::device("cam").expect("a name");
        let (connection, edge) = memory_pair(device, Role::EdgeB);
        let control = connection.open_bi().await.expect("a stream");
        let (send, mut recv) = connection.open_bi().await.expect("a stream");
        let opened =
            Opened { prf: Prf::available()[0], max_in_flight: 1, kernel: String::new(), relay: false, part: None };
        let timeout = Duration::from_millis(300);
        let (control, compute_us) = (Mutex::new(control), AtomicU64::new(0));
        let link = EdgeLink { role: Role::EdgeB, connection, control, opened, compute_us, timeout };
        let parts = [Part { len: 100_000, bits: 28 }];
        let trickle = async {
            let _control = edge.accept_bi().await.expect("a stream");
            let (mut answer, _) = edge.accept_bi().await.expect("a stream");
            let body = Answer { round: RoundId::new(0), compute_us: 0, queue_us: 0 };
            let head = frame::encode_head(FrameType::Answer, &body, Codec::Packed, 350_000);
            answer.write_all(&head).await.expect("writes");
            loop {
                answer.write_all(&[0]).await.expect("writes");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reading = async {
            let due = link.deadline();
            let accept = |h: &FrameHeader| h.expect(FrameType::Answer, &parts, "its answer");
            let head = link.read_head(&mut recv, "its answer", due, accept).await.expect("a head");
            let mut incoming = Incoming::new(&link, &mut recv, head, &parts, due).await.expect("packed");
            incoming.next(100_000, 28).await.expect_err("given up").exit_code()
        };
        let done = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                () = trickle => unreachable!("it goes on for ever"),
                code = reading => code,
            }
        });
        assert_eq!(done.await.expect("in time"), 4);
        drop(send);
    }
}
