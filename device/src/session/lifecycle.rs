//! A session: one connection to edge A and one to edge B; the end of either ends both (PROTOCOL.md, "Sessions and
//! counters").

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use twinmask_codec::{Counter, packed_parts_len};
use twinmask_masking::mask::session_id;
use twinmask_masking::{InferenceMasks, Masker, SessionSeed};
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_transport::{Client, CloseReason, Connection, Identity, Objection, Role};
use twinmask_wire::message::{Claim, Claimed, Infer, Open, Prefetch, Prf, Secret};
use twinmask_wire::payload::Encoder;
use twinmask_wire::session::DeviceSession;
use twinmask_wire::{CloseCode, FrameType, WireError};

use crate::error::{DeviceError, LinkError, SessionError, SettingError};
use crate::mode::Mode;
use crate::model::Model;
use crate::session::link::{EdgeLink, transport_error};
use crate::session::remote::RemoteInference;
use crate::session::shared::{Edges, Prepared, SessionOptions, Shared, Usage};

/// An open session. Inferences may run side by side on clones.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

/// Refuses options that contradict each other.
fn check_options(model: &Model, options: &SessionOptions) -> Result<(), DeviceError> {
    if options.drop_bits && model.checker.integrity().freivalds {
        return Err(SettingError::DroppedBitsUnderFreivalds.into());
    }
    Ok(())
}

/// The keys of a session, once edge A has shown that it has them too; edge B must have no part in them.
fn agreed(a: &EdgeLink, b: &EdgeLink, seed: SessionSeed, key: &MaskKey) -> Result<SessionKeys, DeviceError> {
    if b.opened.part.is_some() {
        return Err(b.broke(WireError::Malformed("edge B takes part in the masks".into())));
    }
    let missing = || a.broke(WireError::Malformed("edge A takes no part in the masks".into()));
    let part = a.opened.part.as_ref().ok_or_else(missing)?;
    let keys = seed.keys(key, &part.nonce);
    if part.proves(&keys) { Ok(keys) } else { Err(a.other_keys()) }
}

impl Session {
    /// Connects to both edges and opens a session for `model`.
    ///
    /// # Errors
    /// [`DeviceError::Unreachable`] or [`DeviceError::Protocol`] naming the edge.
    pub async fn open(model: Arc<Model>, identity: &Identity, edges: &Edges) -> Result<Self, DeviceError> {
        check_options(&model, &edges.options)?; // before anybody is called
        let plan = model.plan();
        let answers = plan.round_ids().map(|r| packed_parts_len(&plan.answer_parts(r))).sum();
        let limits = edges.limits.clone().for_answers(answers, edges.options.prefetch);
        let connect = async |address: &str, role: Role| {
            Client::connect(address, &role, identity, &limits, edges.options.timeout)
                .await
                .map_err(|e| transport_error(&role, e))
        };
        let key = identity.mask_key()?; // before anybody is called
        let (a, b) = tokio::try_join!(connect(&edges.a, Role::EdgeA), connect(&edges.b, Role::EdgeB))?;
        Self::over(model, key, a, b, edges.options.clone()).await
    }

    /// Opens a session over two connections (also in-memory ones); `key` is what this device shares with edge A.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn over(
        model: Arc<Model>,
        key: &MaskKey,
        a: Connection,
        b: Connection,
        options: SessionOptions,
    ) -> Result<Self, DeviceError> {
        check_options(&model, &options)?;
        if a.peer().key_fingerprint == b.peer().key_fingerprint {
            return Err(DeviceError::Protocol { edge: Role::EdgeB, source: LinkError::SameKey });
        }
        let seed = SessionSeed::generate();
        let open = Open {
            session: session_id(),
            digest: model.bundle().digest,
            seed: Some(Secret(*seed.expose())),
            prfs: Prf::available(),
            codec: options.codec,
            ticket: options.relay.then(|| Secret(*SessionSeed::generate().expose())),
        };
        let for_b = Open { seed: None, ..open.clone() };
        let (a, b) = tokio::try_join!(
            EdgeLink::open(Role::EdgeA, a, &open, options.timeout),
            EdgeLink::open(Role::EdgeB, b, &for_b, options.timeout)
        )?;
        let keys = agreed(&a, &b, seed, key)?;
        let masker = Masker::new(Arc::clone(&model.keys), a.opened.prf.algorithm(), keys);
        let session = Self(Arc::new(Shared {
            model,
            a,
            b,
            uploads: Mutex::new(Encoder::new(options.codec)),
            options,
            begun: Instant::now(),
            state: Mutex::new((DeviceSession::new(std::process::id()), masker)),
            ahead: Mutex::new(VecDeque::new()),
        }));
        session.look_ahead().await?;
        Ok(session)
    }

    /// Mode that inferences of this session run in: `relay` only if it was asked for and the edges are connected.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.0.relay() { Mode::Relay } else { Mode::Split }
    }

    /// Whether both are handles of one session.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Why one of its connections may stand no longer, as far as `identity` knows.
    pub(crate) fn objection(&self, identity: &Identity) -> Option<Objection> {
        let (a, b) = (&self.0.a.connection, &self.0.b.connection);
        a.objection(identity).or_else(|| b.objection(identity))
    }

    /// Kernels that the two edges compute with.
    #[must_use]
    pub fn kernels(&self) -> (&str, &str) {
        (&self.0.a.opened.kernel, &self.0.b.opened.kernel)
    }

    /// Inferences that both edges allow in flight.
    #[must_use]
    pub fn max_in_flight(&self) -> u16 {
        self.0.a.opened.max_in_flight.min(self.0.b.opened.max_in_flight)
    }

    /// Counters so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.usage()
    }

    /// Claims the next counter at edge A and opens both inference streams. No share leaves before the grant.
    ///
    /// Cancel safe: dropped half way, the counter is burnt and the session goes on.
    ///
    /// # Errors
    /// [`DeviceError`]; the counter is burnt.
    pub async fn begin(&self) -> Result<RemoteInference, DeviceError> {
        let session = self.clone();
        let Prepared { counter, masks, a } = to_its_end(async move { session.claimed().await }).await?;
        let b = self.0.b.open_stream(&self.infer_frame(counter)).await?;
        Ok(RemoteInference::new(Arc::clone(&self.0), masks, a, b))
    }

    /// The next inference that edge A has begun, its counter granted. Edge A may already compute: its answers do not
    /// depend on the data. Edge B hears nothing before the grant.
    async fn claimed(&self) -> Result<Prepared, DeviceError> {
        // Also for what was prepared before: since then the process may have forked, or a day gone by.
        let checked = self.0.state.lock().await.0.check(std::process::id(), self.0.begun.elapsed());
        checked.map_err(SessionError::from)?;
        let ready = self.0.ahead.lock().await.pop_front();
        let prepared = match ready {
            Some(prepared) => prepared,
            None => self.prepare(false).await?,
        };
        claim(&self.0.a, prepared.counter).await?;
        Ok(prepared)
    }

    /// Has edge A send the answers of the next inferences while the link is idle, as far as the session is set to.
    ///
    /// # Errors
    /// [`DeviceError`] when edge A is gone.
    pub async fn look_ahead(&self) -> Result<(), DeviceError> {
        if self.0.relay() {
            return Ok(());
        }
        while self.0.ahead.lock().await.len() < self.0.options.prefetch {
            let session = self.clone();
            let prepared = to_its_end(async move { session.prepare(true).await }).await?;
            self.0.ahead.lock().await.push_back(prepared);
        }
        Ok(())
    }

    fn infer_frame(&self, counter: Counter) -> Infer {
        Infer { counter, exact: !self.0.options.drop_bits, relay: self.0.relay() }
    }

    /// Reserves the next counter with its masks and opens its stream to edge A.
    async fn prepare(&self, prefetch: bool) -> Result<Prepared, DeviceError> {
        let shared = &self.0;
        let (counter, masks) = self.reserve().await?;
        if prefetch {
            let mut control = shared.a.control.lock().await;
            shared.a.write(&mut control.0, FrameType::Prefetch, &Prefetch { counter }).await?;
        }
        let a = shared.a.open_stream(&self.infer_frame(counter)).await?;
        Ok(Prepared { counter, masks, a })
    }

    async fn reserve(&self) -> Result<(Counter, InferenceMasks), SessionError> {
        let mut state = self.0.state.lock().await;
        let counter = state.0.next_counter(std::process::id(), self.0.begun.elapsed())?;
        Ok((counter, state.1.begin(counter)?))
    }

    /// `error`, or what has ended the session where `error` only says that this side did: another inference failed
    /// first.
    pub(crate) fn explained(&self, error: DeviceError) -> DeviceError {
        if !error.is_our_end() {
            return error;
        }
        let ended = |link: &EdgeLink| link.connection.close_reason().filter(|r| !matches!(r, CloseReason::Local));
        let cause = [&self.0.a, &self.0.b].into_iter().find_map(|link| ended(link).map(|reason| link.ended(reason)));
        error.because(cause.unwrap_or(DeviceError::Session(SessionError::Aborted)))
    }

    /// Ends the session after a failure; the edges see one code whatever the reason.
    pub async fn abort(&self) {
        self.end(CloseCode::Failed).await;
    }

    /// Ends the session as planned.
    pub async fn close(&self) {
        self.end(CloseCode::Done).await;
    }

    async fn end(&self, code: CloseCode) {
        let (a, b) = (&self.0.a.connection, &self.0.b.connection);
        tokio::join!(a.shutdown(code as u32, ""), b.shutdown(code as u32, ""));
    }
}

/// Asks edge A for `counter` and waits for the grant.
async fn claim(a: &EdgeLink, counter: Counter) -> Result<(), DeviceError> {
    let mut control = a.control.lock().await;
    a.write(&mut control.0, FrameType::Claim, &Claim { counter }).await?;
    let frame = a.read(&mut control.1, FrameType::Claimed, "a grant of the counter").await?;
    let granted: Claimed = frame.body().map_err(|e| a.broke(e))?;
    if granted.counter == counter { Ok(()) } else { Err(a.broke(WireError::Counter(granted.counter))) }
}

/// Runs `step` to its end even if the caller is dropped meanwhile: half a frame on the control stream would end the
/// session for all its inferences, and a counter that edge A never hears of would keep what it computed ahead for it.
async fn to_its_end<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(step).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        // The runtime is going down, and the caller with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Tensor;
    use crate::{Device, Mode};
    use twinmask_testkit::InMemory;

    /// What was prepared before a fork is not used behind it: parent and child would put two inputs under one mask.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_prefetched_is_not_used_in_another_process() {
        let deployment = InMemory::lenet();
        for prefetch in [0, 2] {
            let builder = Device::builder(deployment.device_dir()).mode(Mode::Split).prefetch(prefetch);
            let device = builder.edges_in_memory(deployment.dial()).open().await.expect("a session");
            let digit = || Tensor::new([1, 1, 28, 28], vec![0.5f32; 784]).expect("fits");
            device.run(digit()).await.expect("an inference");
            let session = device.session().await.expect("open").expect("with edges");
            assert_eq!(session.0.ahead.lock().await.len(), prefetch);
            session.0.state.lock().await.0 = DeviceSession::new(0);
            let error = device.run(digit()).await.expect_err("another process");
            assert!(matches!(error, DeviceError::Session(SessionError::Counter(WireError::Forked { .. }))), "{error}");
        }
    }
}
