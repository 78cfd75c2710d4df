//! Everything an application needs in one place: a device that runs inferences.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use twinmask_ring::keys::MaskKey;
use twinmask_transport::{Connection, Role};

use crate::credentials::Credentials;
use crate::error::DeviceError;
use crate::exec::Values;
use crate::inference::{Inference, Times};
use crate::input::{Input, InputSpec, TensorSpec};
use crate::local::Local;
use crate::mode::Mode;
use crate::model::Model;
use crate::run::{Outcome, infer, rounds, start};
use crate::session::{Edges, Glimpse, Session, SessionOptions, Usage};

/// Makes a connection to an edge within this process.
pub(crate) type Dial = dyn Fn(Role) -> Connection + Send + Sync;

/// Where the linear layers are computed.
pub(crate) enum Way {
    /// By two edges.
    Edges(Box<(Credentials, Edges)>),
    /// By two edges in this process.
    Memory { dial: Arc<Dial>, key: MaskKey, options: SessionOptions },
    /// On this device, one inference at a time.
    Local(Box<AsyncMutex<Local>>),
}

impl Way {
    pub(crate) fn local(local: Local) -> Self {
        Self::Local(Box::new(AsyncMutex::new(local)))
    }
}

/// A model, an identity and two edges: runs inferences that neither edge learns anything from.
///
/// Cheap to clone; clones share the model and the session, and may run inferences side by side (as many as both edges
/// allow). A session is opened when an inference needs one; after a failure it is closed, and the next inference opens
/// a new one.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    model: Arc<Model>,
    labels: Arc<[String]>,
    way: Way,
    session: AsyncMutex<Option<Session>>,
    /// Tensors of inferences that have ended, for the next ones.
    values: Mutex<Vec<Values>>,
    watch: usize,
}

impl Device {
    pub(crate) fn new(model: Arc<Model>, way: Way, watch: usize) -> Self {
        let labels = model.bundle().labels.as_slice().into();
        let (session, values) = (AsyncMutex::new(None), Mutex::default());
        Self(Arc::new(Inner { model, labels, way, session, values, watch }))
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.0.model
    }

    /// What an inference takes.
    #[must_use]
    pub fn inputs(&self) -> &InputSpec {
        self.0.model.inputs()
    }

    /// What an inference gives.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        self.0.model.outputs()
    }

    /// Opens a session now, unless there is one or no edge is needed.
    ///
    /// # Errors
    /// [`DeviceError`] naming the edge.
    pub async fn connect(&self) -> Result<(), DeviceError> {
        self.session().await.map(drop)
    }

    /// The open session, opened now if there is none; none for a device that computes alone. One that may go on no
    /// longer, as an edge was revoked or a certificate has run out, is closed, and another one opened.
    ///
    /// # Errors
    /// [`DeviceError`] naming the edge.
    pub async fn session(&self) -> Result<Option<Session>, DeviceError> {
        let mut open = self.0.session.lock().await;
        if let (Way::Edges(way), Some(session)) = (&self.0.way, &*open)
            && let Some(objection) = way.0.objection(session)
        {
            tracing::warn!(%objection, "the session is closed");
            session.close().await;
            *open = None;
        }
        if open.is_none() {
            let model = Arc::clone(&self.0.model);
            *open = match &self.0.way {
                Way::Local(_) => None,
                Way::Edges(way) => Some(Session::open(model, &way.0.current()?, &way.1).await?),
                Way::Memory { dial, key, options } => {
                    let (a, b) = (dial(Role::EdgeA), dial(Role::EdgeB));
                    Some(Session::over(model, key, a, b, options.clone()).await?)
                }
            };
        }
        Ok(open.clone())
    }

    /// Runs the model on `input`: an [`Image`](crate::Image), a [`Tensor`](crate::Tensor), or any other [`Input`].
    ///
    /// Cancel safe: dropping the future gives the inference up. Its counter is burnt, so no mask is used twice, the
    /// edges are told, and the session goes on.
    ///
    /// # Errors
    /// [`DeviceError`]; the session is closed then, but not for an input that cannot be used or computed, nor for an
    /// edge that is [busy](DeviceError::Busy). Nothing is repeated: who runs the same input anew shows the edges that
    /// it was the same, and counts it.
    pub fn run(&self, input: impl Into<Input>) -> impl Future<Output = Result<Inference, DeviceError>> + Send + '_ {
        let input = input.into();
        async move {
            let inputs = input.resolve(self.inputs())?;
            let mut values = self.values();
            let done = self.once(&inputs, &mut values).await;
            self.0.values.lock().unwrap_or_else(PoisonError::into_inner).push(values);
            done
        }
    }

    fn values(&self) -> Values {
        let spare = self.0.values.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| self.0.model.values())
    }

    async fn once(&self, inputs: &[Vec<f32>], values: &mut Values) -> Result<Inference, DeviceError> {
        let Some(session) = self.session().await? else { return self.alone(inputs, values).await };
        let done = self.attempt(&session, inputs, values).await.map_err(|e| session.explained(e));
        if done.as_ref().is_err_and(|e| !e.session_goes_on()) {
            self.0.session.lock().await.take_if(|open| open.is(&session));
            session.abort().await;
        }
        done
    }

    /// One inference with the edges.
    async fn attempt(
        &self,
        session: &Session,
        inputs: &[Vec<f32>],
        values: &mut Values,
    ) -> Result<Inference, DeviceError> {
        start(values, inputs)?; // before a counter is claimed
        let (begun, before) = (Instant::now(), session.usage());
        let mut remote = session.begin().await?;
        let claim = begun.elapsed();
        if self.0.watch > 0 {
            remote.watch(self.0.watch);
        }
        let outcome = match rounds(&self.0.model, values, &mut remote).await {
            // The edges are to see the same as at any other end.
            Err(e @ DeviceError::Computation(_)) => Err(e),
            outcome => Ok(outcome?),
        };
        let (glimpses, fallbacks) = (remote.glimpses().to_vec(), remote.fallbacks());
        remote.finish().await?;
        let total = begun.elapsed();
        session.look_ahead().await?;
        let outcome = outcome?;
        let times = Times { total, claim, rounds: outcome.rounds.clone() };
        let usage = session.usage() - before;
        Ok(Inference { fallbacks, usage, glimpses, ..self.inference(outcome, session.mode(), times) })
    }

    /// One inference on this very device.
    async fn alone(&self, inputs: &[Vec<f32>], values: &mut Values) -> Result<Inference, DeviceError> {
        let Way::Local(local) = &self.0.way else { unreachable!("a device with edges has a session") };
        let outcome = infer(&self.0.model, values, inputs, &mut *local.lock().await).await?;
        let times = Times { total: outcome.total, claim: Duration::ZERO, rounds: outcome.rounds.clone() };
        Ok(self.inference(outcome, Mode::Local, times))
    }

    fn inference(&self, outcome: Outcome, mode: Mode, times: Times) -> Inference {
        Inference {
            rounds: outcome.rounds.len(),
            outputs: outcome.outputs,
            mode,
            fallbacks: 0,
            usage: Usage::default(),
            times,
            glimpses: Vec::<Glimpse>::new(),
            labels: Arc::clone(&self.0.labels),
        }
    }

    /// Ends the session, if there is one, as planned: both edges hear of it at once.
    pub async fn close(&self) {
        if let Some(session) = self.0.session.lock().await.take() {
            session.close().await;
        }
    }
}
