//! Connections in memory whose far end a script plays.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use twinmask_transport::frame_io::read_frame;
use twinmask_transport::{Connection, RecvHalf, SendHalf};
use twinmask_wire::FrameType;
use twinmask_wire::message::Open;

use crate::script::{At, Step};

/// Streams of one connection that a script may use.
const STREAMS: usize = 6;
/// Turns that others get before a script goes on.
const TURNS: usize = 24;

/// How much longer than usual a script waits.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// Has scripts wait `factor` times as long as they usually do for what the product's threads compute: fuzzers want to
/// go on, and tests on a busy machine want to see the end.
pub fn wait_longer(factor: u32) {
    PATIENCE.store(factor, SeqCst);
}

/// Rests without anything new after which nothing more is awaited.
fn rests() -> u32 {
    2 * PATIENCE.load(SeqCst)
}

/// One rest: this thread sleeps, so that those that compute get on. Timers are too coarse for that.
const REST: Duration = Duration::from_micros(50);
/// Time for a stream that the other side may never open or read.
const MOMENT: Duration = Duration::from_millis(2);

/// A runtime on this thread alone: tasks take turns in the same order every time.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// What has come back to a script.
#[derive(Default)]
pub(crate) struct Seen {
    frames: AtomicUsize,
    answers: AtomicUsize,
    open: OnceLock<Open>,
}

impl Seen {
    /// Rounds that were answered.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(SeqCst)
    }

    /// The first `OPEN`, if it has come.
    pub(crate) fn open(&self) -> Option<&Open> {
        self.open.get()
    }

    async fn read(self: Arc<Self>, mut recv: RecvHalf) {
        while let Ok(frame) = read_frame(&mut recv, |_| Ok(())).await {
            self.frames.fetch_add(1, SeqCst);
            self.answers.fetch_add(usize::from(frame.header.kind == FrameType::Answer), SeqCst);
            if let (FrameType::Open, Ok(open)) = (frame.header.kind, frame.body()) {
                let _ = self.open.set(open);
            }
        }
    }
}

struct Stream {
    send: Option<SendHalf>,
    reader: JoinHandle<()>,
}

/// The script's end of a connection.
pub(crate) struct Line {
    pub(crate) connection: Connection,
    /// Whether this end opens the streams, or the other.
    opens: bool,
    streams: Vec<Stream>,
    pub(crate) seen: Arc<Seen>,
}

impl Line {
    /// The end that opens streams.
    pub(crate) fn opening(connection: Connection) -> Line {
        Self::new(connection, true)
    }

    /// The end that takes the streams that the other opens.
    pub(crate) fn accepting(connection: Connection) -> Line {
        Self::new(connection, false)
    }

    fn new(connection: Connection, opens: bool) -> Line {
        Line { connection, opens, streams: Vec::new(), seen: Arc::default() }
    }

    /// The sending half of stream `i`, if it is there or can be had.
    async fn stream(&mut self, i: usize) -> Option<&mut Stream> {
        while self.streams.len() <= i && i < STREAMS {
            let halves =
                if self.opens { timeout(MOMENT, self.connection.open_bi()).await } else { self.accept().await };
            let (send, recv) = halves.ok()?.ok()?;
            let reader = tokio::spawn(Arc::clone(&self.seen).read(recv));
            self.streams.push(Stream { send: Some(send), reader });
        }
        self.streams.get_mut(i)
    }

    async fn accept(
        &self,
    ) -> Result<Result<(SendHalf, RecvHalf), twinmask_transport::TransportError>, tokio::time::error::Elapsed> {
        turns().await;
        timeout(MOMENT, self.connection.accept_bi()).await
    }

    /// Waits for what the other end has to say first on stream `i`.
    pub(crate) async fn listen(&mut self, i: usize) {
        let _ = self.stream(i).await;
        turns().await;
    }

    /// Sends bytes on stream `i`; what nobody takes any more is left out.
    pub(crate) async fn send(&mut self, i: usize, bytes: &[u8]) {
        if let Some(Stream { send: Some(send), .. }) = self.stream(i).await {
            let _ = timeout(MOMENT, send.write_all(bytes)).await;
        }
    }

    async fn do_to(&mut self, i: usize, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.stream(i).await {
            act(stream);
        }
    }

    /// Ends all streams.
    fn finish(&mut self) {
        self.streams.iter_mut().for_each(|s| drop(s.send.take()));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.streams.iter().for_each(|s| s.reader.abort());
    }
}

/// Plays `steps` on `lines`, and ends the connections.
pub(crate) async fn play(lines: &mut [Line; 2], steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Send(at, bytes) => lines[at.line].send(at.stream, &bytes).await,
            Step::Wait => wait(lines).await,
            Step::Finish(at) => lines[at.line].do_to(at.stream, |s| drop(s.send.take())).await,
            Step::Reset(at, code) => lines[at.line].do_to(at.stream, |s| reset(s, code)).await,
            Step::Stop(At { line, stream }) => lines[line].do_to(stream, |s| s.reader.abort()).await,
            Step::Close(At { line, .. }, code, text) => lines[line].connection.close(code, &text),
        }
    }
    lines.iter_mut().for_each(Line::finish);
    wait(lines).await;
    lines.iter().for_each(|line| line.connection.close(0, ""));
}

fn reset(stream: &mut Stream, code: u32) {
    if let Some(mut send) = stream.send.take() {
        let _ = send.reset(code);
    }
}

/// Waits until nothing more comes back.
async fn wait(lines: &[Line; 2]) {
    let frames = || lines.iter().map(|l| l.seen.frames.load(SeqCst)).sum::<usize>();
    let (mut seen, mut rested) = (frames(), 0);
    while rested < rests() {
        turns().await;
        if frames() == seen {
            rested += 1;
            std::thread::sleep(REST);
        } else {
            (seen, rested) = (frames(), 0);
        }
    }
}
