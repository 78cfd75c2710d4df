//! Somebody in the middle who has the owner's identities: what travels inside TLS between real processes, frame by
//! frame.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use twinmask_transport::{Client, Identity, Server, TransportLimits};
use twinmask_wire::FrameType;
use twinmask_wire::frame::{FrameHeader, HEADER_LEN, decode_body};

use crate::flipper::{Passed, carry};

/// Time for a handshake.
const DIAL: Duration = Duration::from_secs(10);

/// An address that stands for an edge's, and what has passed there.
pub struct Tap {
    /// Where to connect instead.
    pub address: String,
    passed: Arc<Passed>,
}

impl Tap {
    /// Stands, with the identity folder `server`, for the edge at `edge`, and calls it with that of `client`.
    ///
    /// # Panics
    /// If an identity is no good or the system gives no port.
    #[must_use]
    pub fn new(runtime: &Runtime, server: &Path, client: &Path, edge: &str) -> Tap {
        let [server, client] = [server, client].map(|dir| Identity::load(dir).expect("an identity"));
        let (role, edge) = (server.role().clone(), edge.to_owned());
        let passed = Arc::new(Passed::keeping());
        let bound = runtime.block_on(Server::bind("127.0.0.1:0", server, TransportLimits::lan()));
        let mut server = bound.expect("a port of loopback");
        let address = server.local_addr().expect("bound").to_string();
        let keep = Arc::clone(&passed);
        runtime.spawn(async move {
            while let Some(accepted) = server.accept().await {
                let Ok(near) = accepted else { continue };
                let far = Client::connect(&edge, &role, &client, &TransportLimits::lan(), DIAL).await;
                tokio::spawn(carry(near, far.expect("the edge is there"), None, Arc::clone(&keep)));
            }
        });
        Tap { address, passed }
    }

    /// All frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.passed.kept()
    }

    /// The bodies of the frames of this type that have passed so far.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn bodies<T: DeserializeOwned>(&self, kind: FrameType) -> Vec<T> {
        let body = |frame: Vec<u8>| {
            let header = FrameHeader::parse(frame[..HEADER_LEN].try_into().expect("a header")).expect("a frame");
            let body = &frame[HEADER_LEN..HEADER_LEN + header.body_len];
            (header.kind == kind).then(|| decode_body(body).expect("a body of this type"))
        };
        self.frames().into_iter().filter_map(body).collect()
    }
}
