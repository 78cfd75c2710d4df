//! Everything an application needs in one place: a device that classifies.

use std::sync::Arc;
use std::time::Duration;

use twinmask_transport::Identity;

use crate::error::DeviceError;
use crate::exec::Values;
use crate::infer::{Outcome, infer};
use crate::network::Network;
use crate::remote::Glimpse;
use crate::session::{Edges, Session, Usage};

/// Times that an inference is begun anew when an edge has no place for it.
const BUSY_RETRIES: usize = 5;
/// Longest wait that an edge may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// An inference's result with what it cost.
#[derive(Debug, Clone)]
pub struct Inference {
    /// Outputs and times.
    pub outcome: Outcome,
    /// Bytes and compute time of each edge.
    pub usage: Usage,
    /// Mode that was really used.
    pub mode: &'static str,
    /// Rounds of mode `relay` that both edges had to answer.
    pub fallbacks: u32,
    /// What [`Device::watch`] asked for.
    pub glimpses: Vec<Glimpse>,
}

/// A network, an identity and two edges. Opens a session when the first inference needs one; after any failure the
/// session is closed, and the next inference opens a new one.
pub struct Device {
    network: Arc<Network>,
    identity: Identity,
    edges: Edges,
    session: Option<Session>,
    values: Values,
    watch: usize,
}

impl Device {
    /// A device that has not contacted anybody yet.
    #[must_use]
    pub fn new(network: Arc<Network>, identity: Identity, edges: Edges) -> Self {
        let values = Values::new(Arc::clone(&network.program));
        Self { network, identity, edges, session: None, values, watch: 0 }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Keeps the first `n` elements of each exchange in [`Inference::glimpses`].
    pub const fn watch(&mut self, n: usize) {
        self.watch = n;
    }

    /// The open session, opened now if there is none.
    ///
    /// # Errors
    /// [`DeviceError`] naming the edge.
    pub async fn session(&mut self) -> Result<&Session, DeviceError> {
        if self.session.is_none() {
            self.session = Some(Session::open(Arc::clone(&self.network), &self.identity, &self.edges).await?);
        }
        Ok(self.session.as_ref().expect("opened above"))
    }

    /// Classifies `input`, the elements of the network's input tensor, privately.
    ///
    /// # Errors
    /// [`DeviceError`]; the session is closed then, and nothing is retried except what an edge was too busy to begin.
    pub async fn infer(&mut self, input: &[f32]) -> Result<Inference, DeviceError> {
        let mut retries = 0;
        loop {
            match self.attempt(input).await {
                Err(DeviceError::Busy { retry_after_ms, .. }) if retries < BUSY_RETRIES => {
                    retries += 1;
                    let wait = Duration::from_millis(retry_after_ms.into()).min(MAX_RETRY_AFTER);
                    tracing::info!(retries, ?wait, "an edge is busy");
                    tokio::time::sleep(wait).await;
                }
                Err(e) => {
                    if let Some(session) = self.session.take() {
                        session.abort().await;
                    }
                    return Err(e);
                }
                done => return done,
            }
        }
    }

    async fn attempt(&mut self, input: &[f32]) -> Result<Inference, DeviceError> {
        let watch = self.watch;
        let session = self.session().await?.clone();
        let before = session.usage();
        let mut remote = session.begin().await?;
        if watch > 0 {
            remote.watch(watch);
        }
        let outcome = infer(&self.network, &mut self.values, input, &mut remote).await?;
        let glimpses = remote.glimpses().to_vec();
        let fallbacks = remote.fallbacks();
        remote.finish().await?;
        session.look_ahead().await?;
        Ok(Inference { outcome, usage: session.usage() - before, mode: session.mode(), fallbacks, glimpses })
    }

    /// Ends the session, if there is one, as planned.
    pub async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}
