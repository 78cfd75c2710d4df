//! The ends and streams of a connection in memory, the twin of one over QUIC: same streams, same codes, no network.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Mutex, mpsc, watch};
use twinmask_wire::printable;

use crate::error::{CloseReason, StreamError};

/// Bytes that one stream takes before its reader has read any.
const STREAM_BUFFER: usize = 1 << 20;
/// Streams that one side may open before the other accepts any.
const STREAM_QUEUE: usize = 64;

/// Both ends of one connection in memory.
pub(crate) fn ends() -> (Arc<MemoryEnd>, Arc<MemoryEnd>) {
    let shared = Arc::new(Shared { ended: watch::channel(None).0, written: Default::default() });
    let (to_b, from_a) = mpsc::channel(STREAM_QUEUE);
    let (to_a, from_b) = mpsc::channel(STREAM_QUEUE);
    let end = |side, opened, accepted| {
        Arc::new(MemoryEnd { side, shared: shared.clone(), opened, accepted: Mutex::new(accepted) })
    };
    (end(Side::A, to_b, from_b), end(Side::B, to_a, from_a))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    A,
    B,
}

#[derive(Debug, Clone)]
enum Ended {
    By(Side, u32, String),
    Severed,
}

struct Shared {
    ended: watch::Sender<Option<Ended>>,
    written: [AtomicU64; 2],
}

impl Shared {
    /// The first reason stays.
    fn end(&self, reason: Ended) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(reason);
            first
        });
    }
}

/// One end of a connection in memory.
pub(crate) struct MemoryEnd {
    side: Side,
    shared: Arc<Shared>,
    opened: mpsc::Sender<(Outlet, Inlet)>,
    accepted: Mutex<mpsc::Receiver<(Outlet, Inlet)>>,
}

impl MemoryEnd {
    pub(crate) async fn open(self: &Arc<Self>) -> Result<(MemorySend, MemoryRecv), CloseReason> {
        let (our_outlet, their_inlet) = pipe();
        let (their_outlet, our_inlet) = pipe();
        tokio::select! {
            biased;
            reason = self.closed() => Err(reason),
            sent = self.opened.send((their_outlet, their_inlet)) => match sent {
                Ok(()) => Ok(self.halves(our_outlet, our_inlet)),
                Err(_) => Err(self.closed().await), // the other end is gone, which has closed the connection
            }
        }
    }

    pub(crate) async fn accept(self: &Arc<Self>) -> Result<(MemorySend, MemoryRecv), CloseReason> {
        let next = async { self.accepted.lock().await.recv().await };
        tokio::select! {
            biased;
            reason = self.closed() => Err(reason),
            next = next => match next {
                Some((outlet, inlet)) => Ok(self.halves(outlet, inlet)),
                None => Err(self.closed().await),
            }
        }
    }

    fn halves(self: &Arc<Self>, outlet: Outlet, inlet: Inlet) -> (MemorySend, MemoryRecv) {
        let send = MemorySend { outlet, ending: Ending::of(self), end: self.clone() };
        let recv = MemoryRecv { inlet, ending: Ending::of(self), _end: self.clone() };
        (send, recv)
    }

    /// Cuts the connection as if its network had gone.
    pub(crate) fn sever(&self) {
        self.shared.end(Ended::Severed);
    }

    pub(crate) fn close(&self, code: u32, text: &str) {
        self.shared.end(Ended::By(self.side, code, text.to_owned()));
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.shared.ended.borrow().as_ref().map(|ended| seen_from(self.side, ended))
    }

    pub(crate) fn closed(&self) -> impl Future<Output = CloseReason> + Send + use<> {
        let (side, mut ended) = (self.side, self.shared.ended.subscribe());
        async move {
            match ended.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(ended)) => seen_from(side, ended),
                _ => CloseReason::Local, // all handles of both ends are gone: nobody to tell
            }
        }
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        let [a, b] = [&self.shared.written[0], &self.shared.written[1]].map(|count| count.load(Relaxed));
        if self.side == Side::A { (a, b) } else { (b, a) }
    }
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        self.close(0, "");
    }
}

fn seen_from(side: Side, ended: &Ended) -> CloseReason {
    match ended {
        Ended::Severed => CloseReason::TimedOut,
        Ended::By(by, ..) if *by == side => CloseReason::Local,
        Ended::By(_, code, text) => CloseReason::Peer { code: *code, text: printable(text) },
    }
}

/// The codes of one direction of a stream, each set before the pipe is let go of.
#[derive(Default)]
struct Codes {
    reset: OnceLock<u32>,
    stop: OnceLock<u32>,
}

/// The writing end of one direction; empty once finished or reset.
struct Outlet {
    pipe: Option<DuplexStream>,
    codes: Arc<Codes>,
}

/// The reading end of one direction; empty once stopped.
struct Inlet {
    pipe: Option<DuplexStream>,
    codes: Arc<Codes>,
}

fn pipe() -> (Outlet, Inlet) {
    let (write, read) = tokio::io::duplex(STREAM_BUFFER);
    let codes = Arc::new(Codes::default());
    (Outlet { pipe: Some(write), codes: codes.clone() }, Inlet { pipe: Some(read), codes })
}

/// Tells a stream of its connection's end, and wakes it then.
struct Ending {
    closed: Pin<Box<dyn Future<Output = CloseReason> + Send>>,
    reason: Option<CloseReason>,
}

impl Ending {
    fn of(end: &MemoryEnd) -> Ending {
        Ending { closed: Box::pin(end.closed()), reason: None }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.reason.is_none()
            && let Poll::Ready(reason) = self.closed.as_mut().poll(cx)
        {
            self.reason = Some(reason);
        }
        match &self.reason {
            Some(reason) => Err(StreamError::Connection(reason.clone()).into()),
            None => Ok(()),
        }
    }
}

/// The sending half in memory.
pub(crate) struct MemorySend {
    outlet: Outlet,
    ending: Ending,
    end: Arc<MemoryEnd>,
}

impl MemorySend {
    pub(crate) fn still_open(&self) -> Result<(), StreamError> {
        self.outlet.pipe.as_ref().map(drop).ok_or(StreamError::Finished)
    }

    pub(crate) fn finish(&mut self) -> Result<(), StreamError> {
        self.outlet.pipe.take().map(drop).ok_or(StreamError::Finished)
    }

    pub(crate) fn reset(&mut self, code: u32) -> Result<(), StreamError> {
        self.still_open()?;
        let _ = self.outlet.codes.reset.set(code);
        self.finish()
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.ending.check(cx)?;
        let Some(pipe) = &mut self.outlet.pipe else { return Poll::Ready(Err(StreamError::Finished.into())) };
        match Pin::new(pipe).poll_write(cx, data) {
            Poll::Ready(Ok(written)) => {
                self.end.shared.written[self.end.side as usize].fetch_add(written as u64, Relaxed);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(_)) => {
                let code = self.outlet.codes.stop.get().copied().unwrap_or(0);
                Poll::Ready(Err(StreamError::Stopped(code).into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The receiving half in memory.
pub(crate) struct MemoryRecv {
    inlet: Inlet,
    ending: Ending,
    /// Keeps the connection open.
    _end: Arc<MemoryEnd>,
}

impl MemoryRecv {
    pub(crate) fn stop(&mut self, code: u32) -> Result<(), StreamError> {
        if self.inlet.pipe.is_none() {
            return Err(StreamError::Finished);
        }
        let _ = self.inlet.codes.stop.set(code);
        self.inlet.pipe = None;
        Ok(())
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.ending.check(cx)?;
        let Some(pipe) = &mut self.inlet.pipe else { return Poll::Ready(Err(StreamError::Finished.into())) };
        let read = Pin::new(pipe).poll_read(cx, buffer);
        match self.inlet.codes.reset.get() {
            Some(&code) => Poll::Ready(Err(StreamError::Reset(code).into())),
            None => read,
        }
    }
}
