//! The stream of an inference to one edge.

use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::CloseCode;

/// Both halves of an inference's stream. Dropped before [`done`](Self::done) they tell the edge that this inference is
/// given up: a stream that merely ended inside a frame would end the whole session.
pub(crate) struct Streams {
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// Whether the edge has answered a round: it can no longer be busy then.
    pub(crate) answered: bool,
    done: bool,
}

impl Streams {
    pub(crate) fn new((send, recv): (SendHalf, RecvHalf)) -> Self {
        Self { send, recv, answered: false, done: false }
    }

    /// Nothing more is sent. A stream that the edge has ended already needs no end from us.
    pub(crate) fn done(&mut self) {
        let _ = self.send.finish();
        self.done = true;
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.send.reset(CloseCode::Failed as u32);
            let _ = self.recv.stop(CloseCode::Failed as u32);
        }
    }
}
