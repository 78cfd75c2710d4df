//! One session (PROTOCOL.md, "Sessions and counters"): from the connection of a device to its end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use twinmask_codec::packed_parts_len;
use twinmask_model::bundle::short;
use twinmask_transport::frame_io::{FrameIoError, read_frame, write_frame};
use twinmask_transport::{Connection, RecvHalf, SendHalf};
use twinmask_wire::message::{Claim, Claimed, Open, Opened, Prefetch, Prf, RelayOpen, Secret};
use twinmask_wire::payload::Encoder;
use twinmask_wire::session::{EdgeSession, LIFETIME};
use twinmask_wire::{CloseCode, Codec, FrameType, WireError};

use crate::Role;
use crate::ahead::{self, Ahead};
use crate::compute::{self, Masks, Pending, Shares, Turn, locked};
use crate::desk::OpenDesk;
use crate::inference;
use crate::models::Model;
use crate::outbox::Outbox;
use crate::relay::{self, Introduction};
use crate::service::Edge;

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

/// What the inferences of one session share. Gone, and the seed wiped, with the last of its jobs: what was computed ahead of
/// time may take long to get the processor once more. The session's place is free before that.
pub(crate) struct Session {
    pub(crate) edge: Arc<Edge>,
    pub(crate) model: Arc<Model>,
    /// At edge A, and only there.
    pub(crate) seed: Option<Arc<Secret>>,
    /// What masks are expanded with.
    prf: Prf,
    /// Of this edge; its turns in the compute queue are by it.
    pub(crate) id: u64,
    /// At edge A, and only there.
    pub(crate) ahead: Option<Ahead>,
    /// At edge B, in sessions that want `relay`.
    pub(crate) desk: Option<OpenDesk>,
    /// Whether the device wants `relay` at all.
    pub(crate) ticket: bool,
    /// Places for inferences.
    pub(crate) places: Arc<Semaphore>,
    began: Instant,
    counters: Mutex<EdgeSession>,
    /// Somebody who waits for a counter to be claimed should look again.
    claimed: Notify,
    /// Of answers.
    encoder: Mutex<Encoder>,
}

impl Session {
    fn new(
        edge: &Arc<Edge>,
        model: Arc<Model>,
        open: Open,
        prf: Prf,
        relay: (Option<Outbox>, Option<OpenDesk>),
    ) -> Session {
        Session {
            id: edge.next_session(),
            ahead: open.seed.is_some().then(|| Ahead::new(relay.0)),
            desk: relay.1,
            ticket: open.ticket.is_some(),
            edge: Arc::clone(edge),
            model,
            seed: open.seed.map(Arc::new),
            prf,
            places: Arc::new(Semaphore::new(edge.limits.max_in_flight.into())),
            began: Instant::now(),
            counters: Mutex::new(match edge.role {
                Role::A => EdgeSession::at_a(),
                Role::B => EdgeSession::at_b(),
            }),
            claimed: Notify::new(),
            encoder: Mutex::new(Encoder::new(open.codec)),
        }
    }

    fn claim(&self, counter: u64) -> Result<(), WireError> {
        locked(&self.counters).claim(counter, self.began.elapsed())?;
        self.may_begin(counter);
        Ok(())
    }

    /// `PREFETCH`: the inference may begin before it is claimed.
    fn prefetch(&self, counter: u64) -> Result<(), WireError> {
        locked(&self.counters).prefetch(counter, self.began.elapsed())?;
        self.may_begin(counter);
        Ok(())
    }

    fn may_begin(&self, counter: u64) {
        self.claimed.notify_waiters();
        if let Some(ahead) = &self.ahead {
            ahead.claim(counter);
        }
    }

    /// Begins the inference `counter`. As `CLAIM` and `INFER` come on different streams, edge A waits a little for the
    /// former.
    pub(crate) async fn begin(&self, counter: u64) -> Result<(), WireError> {
        let begin = || locked(&self.counters).begin(counter, self.began.elapsed());
        let granted = async {
            loop {
                let mut claimed = std::pin::pin!(self.claimed.notified());
                claimed.as_mut().enable(); // from here on no claim is missed
                if begin().is_ok() {
                    return;
                }
                claimed.await;
            }
        };
        match self.edge.role {
            Role::A => timeout(self.edge.limits.claim, granted).await.map_err(|_| WireError::Counter(counter)),
            Role::B => begin(),
        }
    }

    /// The masks of an inference; at edge A.
    pub(crate) fn masks(&self, counter: u64) -> Option<Masks> {
        self.seed.clone().map(|seed| Masks { seed, prf: self.prf, counter })
    }

    /// The payload of `ANSWER{r}`.
    pub(crate) fn encode(&self, r: usize, exact: bool, answers: &mut [Vec<u32>]) -> (Codec, Vec<u8>) {
        compute::encode(&self.model.plan, r, exact, answers, &self.encoder)
    }

    /// Puts round `r` into the compute queue, for an answer.
    pub(crate) async fn compute(self: &Arc<Self>, r: usize, exact: bool, shares: Shares) -> Pending<(Codec, Vec<u8>)> {
        let session = Arc::clone(self);
        let encode = move |answers: &mut [Vec<u32>], _: &mut _| session.encode(r, exact, answers);
        compute::submit(&self.edge.pool, Turn::normal(self.id), &self.model, r, shares, encode).await
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(edge: &Arc<Edge>, connection: &Connection) {
    let device = connection.peer().role.to_string();
    let mut inferences = Inferences { running: JoinSet::new(), connection, counted: (0, 0) };
    let fault = tokio::select! {
        ended = attend(edge, connection, &mut inferences) => match ended {
            Ok(never) => match never {},
            Err(fault) => fault,
        },
        () = edge.revoked(connection.peer()) => {
            refused(CloseCode::Role, format!("the certificate of {device} was revoked by the owner"))
        }
    };
    // Closed first, so that the device hears the reason before its streams end.
    match fault {
        Fault::Refused(code, text) => {
            tracing::warn!(device, ?code, text, "session closed");
            edge.meters.refused(&format!("{code:?}"));
            connection.close(code as u32, &text);
        }
        Fault::Stalled => {
            tracing::warn!(device, "no OPEN in time");
            edge.meters.refused("Stalled");
            connection.close(CloseCode::Limit as u32, "no OPEN in time");
        }
        Fault::Gone => tracing::info!(device, reason = ?connection.close_reason(), "session ended"),
    }
    inferences.running.abort_all();
    inferences.count(edge);
}

/// The inferences of a session, and its bytes so far.
struct Inferences<'a> {
    running: JoinSet<Result<(), Fault>>,
    connection: &'a Connection,
    /// UDP payload bytes sent and received that the meters have.
    counted: (u64, u64),
}

impl Inferences<'_> {
    fn count(&mut self, edge: &Edge) {
        let (sent, received) = self.connection.udp_bytes();
        edge.meters.bytes(sent.saturating_sub(self.counted.0), received.saturating_sub(self.counted.1));
        self.counted = (sent, received);
    }

    /// What one that has ended means for its session.
    fn ended(&mut self, edge: &Edge, done: Result<Result<(), Fault>, JoinError>) -> Result<(), Fault> {
        self.count(edge);
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "the task of an inference failed");
            Err(refused(CloseCode::Internal, "something failed inside the edge; its log says what"))
        })
    }
}

/// The whole session; its inferences are left to the caller to end.
async fn attend(
    edge: &Arc<Edge>,
    connection: &Connection,
    inferences: &mut Inferences<'_>,
) -> Result<Infallible, Fault> {
    let twinmask_transport::Role::Device(name) = &connection.peer().role else {
        return Err(refused(
            CloseCode::Role,
            format!("{} serves devices, and you are {}", edge.role, connection.peer().role),
        ));
    };
    if *edge.draining.borrow() {
        return Err(going_down());
    }
    let _admission = edge.admit(name).map_err(|text| refused(CloseCode::Limit, text))?;
    let opening = timeout(edge.limits.handshake, open(edge, connection, name)).await;
    let Opening { session, send, recv, introduction } = opening.map_err(|_| Fault::Stalled)??;
    let _aides = aides(&session, introduction);
    tracing::info!(device = name, model = session.model.title, address = %connection.peer().address, "session opened");
    let mut control = std::pin::pin!(control(&session, send, recv));
    let mut expired = std::pin::pin!(sleep(LIFETIME));
    let mut draining = edge.draining.subscribe();
    loop {
        let room = inferences.running.len() < edge.limits.streams();
        tokio::select! {
            fault = &mut control => fault?,
            () = &mut expired => return Err(WireError::Expired.into()),
            Some(done) = inferences.running.join_next() => inferences.ended(edge, done)?,
            stream = connection.accept_bi(), if room => {
                let (send, recv) = stream.map_err(|_| Fault::Gone)?;
                inferences.running.spawn(inference::serve(Arc::clone(&session), send, recv));
            }
            _ = connection.closed() => return Err(Fault::Gone),
            _ = draining.wait_for(|d| *d) => break,
        };
    }
    let mut late = std::pin::pin!(sleep(edge.limits.drain));
    loop {
        tokio::select! {
            fault = &mut control => fault?,
            done = inferences.running.join_next() => match done {
                Some(done) => inferences.ended(edge, done)?,
                None => return Err(going_down()),
            },
            _ = connection.closed() => return Err(Fault::Gone),
            () = &mut late => return Err(going_down()),
        };
    }
}

fn going_down() -> Fault {
    refused(CloseCode::Draining, GOING_DOWN)
}

/// `OPEN` and `OPENED` on the first stream.
async fn open(edge: &Arc<Edge>, connection: &Connection, device: &str) -> Result<Opening, Fault> {
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|_| Fault::Gone)?;
    let open: Open = read_frame(&mut recv, |h| h.expect(FrameType::Open, &[], "OPEN")).await?.body()?;
    match (edge.role, &open.seed) {
        (Role::A, None) => return Err(refused(CloseCode::Protocol, "edge A needs a mask seed in OPEN")),
        (Role::B, Some(_)) => {
            let text =
                "edge B must never get a mask seed: are the two addresses swapped? The seed is void, use a new one";
            return Err(refused(CloseCode::Protocol, text));
        }
        _ => {}
    }
    let prf = Prf::pick(&open.prfs).ok_or_else(|| {
        let text = format!("OPEN offers the PRFs {:?}, and this edge has {:?}", open.prfs, Prf::available());
        refused(CloseCode::Protocol, text)
    })?;
    let models = edge.models();
    let Some(model) = models.get(&open.digest) else {
        let text = format!(
            "no model {} here; if it was replaced, have the owner run `owner-keygen add-device DIR --name {device} --model \
             MODEL` and copy the device's folder to it anew; this edge holds: {}",
            short(&open.digest),
            models.list()
        );
        return Err(refused(CloseCode::UnknownModel, text));
    };
    let facts = open.ticket.clone().map(|ticket| RelayOpen {
        session: open.session,
        device: device.to_owned(),
        digest: open.digest,
        ticket,
    });
    let (mut introduction, mut desk) = (None, None);
    match (edge.role, facts) {
        (Role::A, Some(facts)) => introduction = relay::introduce(edge, &facts).await,
        (Role::B, Some(facts)) => {
            let bytes = |r| packed_parts_len(&model.plan.answer_parts(r));
            desk = edge.desks.open(facts, (0..model.plan.rounds.len()).map(bytes).collect());
        }
        (_, None) => {}
    }
    let opened = Opened {
        prf,
        max_in_flight: edge.limits.max_in_flight,
        kernel: edge.kernel.name().to_owned(),
        relay: introduction.is_some() || desk.is_some(),
    };
    let outbox = introduction.as_ref().map(|i| Outbox::new(i.credit));
    let session = Arc::new(Session::new(edge, Arc::clone(model), open, prf, (outbox, desk)));
    write_frame(&mut send, FrameType::Opened, &opened, Codec::Packed, &[]).await?;
    Ok(Opening { session, send, recv, introduction })
}

/// A session as it begins, with its control stream and at edge A that to edge B.
struct Opening {
    session: Arc<Session>,
    send: SendHalf,
    recv: RecvHalf,
    introduction: Option<Introduction>,
}

/// What runs beside the inferences of a session at edge A, and ends when this is dropped.
fn aides(session: &Arc<Session>, introduction: Option<Introduction>) -> JoinSet<()> {
    let mut aides = JoinSet::new();
    if session.ahead.is_some() {
        aides.spawn(ahead::run(Arc::clone(session)));
    }
    if let Some(introduction) = introduction {
        let session = Arc::clone(session);
        aides.spawn(async move {
            if let Some(outbox) = session.ahead.as_ref().and_then(|a| a.outbox.as_ref()) {
                relay::send(&session.edge, outbox, introduction).await;
            }
        });
    }
    aides
}

/// The control stream behind `OPENED`: claims and prefetches at edge A, nothing at edge B. Its end is not the session's.
async fn control(session: &Session, mut send: SendHalf, mut recv: RecvHalf) -> Result<(), Fault> {
    loop {
        let due = |h: &twinmask_wire::FrameHeader| match (session.edge.role, h.kind) {
            (Role::A, FrameType::Prefetch) => h.expect(FrameType::Prefetch, &[], "CLAIM or PREFETCH"),
            (Role::A, _) => h.expect(FrameType::Claim, &[], "CLAIM or PREFETCH"),
            (Role::B, found) => Err(WireError::Unexpected { found, expected: "nothing (edge B grants no counters)" }),
        };
        let frame = match read_frame(&mut recv, due).await {
            Ok(frame) => frame,
            Err(FrameIoError::Wire(error)) => return Err(error.into()),
            Err(_) => std::future::pending().await,
        };
        if frame.header.kind == FrameType::Prefetch {
            session.prefetch(frame.body::<Prefetch>()?.counter)?;
            continue;
        }
        let Claim { counter } = frame.body()?;
        session.claim(counter)?;
        let claimed = Claimed { counter };
        if write_frame(&mut send, FrameType::Claimed, &claimed, Codec::Packed, &[]).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Bounds a `step` of an inference that moves `bytes` in time: the stall timeout, and what the slowest network takes.
pub(crate) async fn within<T>(
    stall: Duration,
    bytes: usize,
    step: impl Future<Output = Result<T, FrameIoError>>,
) -> Result<T, Fault> {
    let moving = Duration::from_secs((bytes / SLOWEST_BYTES_S) as u64);
    Ok(timeout(stall + moving, step).await.map_err(|_| Fault::Stalled)??)
}
