//! Connections, each to where it belongs.

use std::sync::Arc;

use twinmask_transport::Connection;

use crate::edge::Edge;
use crate::relay::link;
use crate::role::Role;
use crate::session::connection;

impl Edge {
    /// Serves one connection until it ends; the peer is told how.
    pub async fn serve(self: Arc<Self>, connection: Connection) {
        if self.role == Role::B && connection.peer().role == twinmask_transport::Role::EdgeA {
            self.meters.peer.increment(1);
            link::serve(&self, &connection).await;
            self.meters.peer.decrement(1);
        } else {
            connection::serve(&self, &connection).await;
        }
    }
}
