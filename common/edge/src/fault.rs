//! Why sessions and inferences end early.

use std::time::Duration;

use tokio::time::timeout;
use twinmask_transport::Connection;
use twinmask_transport::frame_io::FrameIoError;
use twinmask_wire::{CloseCode, WireError};

/// What devices on an edge that goes down are told.
pub(crate) const GOING_DOWN: &str = "this edge is going down; try another replica, or later";
/// Bytes per second of the slowest network that large frames are waited for on.
const SLOWEST_BYTES_S: usize = 32 * 1024;

/// Why a session or an inference ends early.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The session is closed with this code and text.
    Refused(CloseCode, String),
    /// The peer took longer than it may; its inference is given up.
    Stalled,
    /// The stream or connection is gone: nobody is left to tell.
    Gone,
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Fault {
        Fault::Refused(error.close_code(), error.to_string())
    }
}

impl From<FrameIoError> for Fault {
    fn from(error: FrameIoError) -> Fault {
        match error {
            FrameIoError::Wire(error) => error.into(),
            _ => Fault::Gone,
        }
    }
}

pub(crate) fn refused(code: CloseCode, text: impl Into<String>) -> Fault {
    Fault::Refused(code, text.into())
}

pub(crate) fn going_down() -> Fault {
    refused(CloseCode::Draining, GOING_DOWN)
}

/// How a connection has ended, for the log.
pub(crate) fn ending(connection: &Connection) -> String {
    connection.close_reason().map_or_else(|| "the peer let go of its stream".to_owned(), |reason| reason.to_string())
}

/// Time for `bytes` to move: the stall timeout, and what the slowest network takes.
pub(crate) fn patience(stall: Duration, bytes: usize) -> Duration {
    stall + Duration::from_secs((bytes / SLOWEST_BYTES_S) as u64)
}

/// Bounds a `step` of an inference that moves `bytes` in time.
pub(crate) async fn within<T>(
    stall: Duration,
    bytes: usize,
    step: impl Future<Output = Result<T, FrameIoError>>,
) -> Result<T, Fault> {
    Ok(timeout(patience(stall, bytes), step).await.map_err(|_| Fault::Stalled)??)
}
