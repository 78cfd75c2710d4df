//! Edge A's connection to edge B, as long as anybody uses it.

use twinmask_transport::Connection;
use twinmask_wire::CloseCode;

/// A connection that closes when nobody holds this any more: the edge, while it introduces sessions over it, and each
/// session that it has introduced. So an old one ends with its last session after a new one has taken its place.
pub(crate) struct Line(pub(crate) Connection);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.close(CloseCode::Done as u32, "");
    }
}
