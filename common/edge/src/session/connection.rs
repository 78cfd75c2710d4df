//! From the connection of a device to its end.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use twinmask_transport::frame_io::{FrameIoError, read_frame, write_frame};
use twinmask_transport::{Connection, RecvHalf, SendHalf};
use twinmask_wire::message::{Claim, Claimed, Prefetch};
use twinmask_wire::session::LIFETIME;
use twinmask_wire::{CloseCode, Codec, FrameHeader, FrameType, WireError};

use crate::ahead::run;
use crate::budget::Device;
use crate::edge::Edge;
use crate::fault::{Fault, ending, going_down, refused};
use crate::relay::link::{self, Introduction};
use crate::role::Role;
use crate::session::inference;
use crate::session::opening::{Opening, open};
use crate::session::state::Session;

/// Serves one connection until it ends.
pub(crate) async fn serve(edge: &Arc<Edge>, connection: &Connection) {
    let device = connection.peer().role.to_string();
    let mut inferences = Inferences { running: JoinSet::new(), connection, counted: (0, 0) };
    let fault = tokio::select! {
        ended = attend(edge, connection, &mut inferences) => match ended {
            Ok(never) => match never {},
            Err(fault) => fault,
        },
        objection = edge.objection(connection) => refused(CloseCode::Role, objection),
    };
    // Closed first, so that the device hears the reason before its streams end.
    match fault {
        Fault::Refused(code, text) => {
            if let Some(left_out) = edge.may_tell(&device) {
                tracing::warn!(device, %code, text, left_out, "session closed");
            }
            edge.meters.refused(code.name());
            connection.close(code as u32, &text);
        }
        Fault::Stalled => {
            if let Some(left_out) = edge.may_tell(&device) {
                tracing::warn!(device, left_out, "no OPEN in time");
            }
            edge.meters.refused("Stalled");
            connection.close(CloseCode::Limit as u32, "no OPEN in time");
        }
        Fault::Gone => tracing::info!(device, reason = ending(connection), "session ended"),
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
    let device = Device::from(name.as_str());
    let _admission = edge.admit(&device)?;
    let _buffers = edge.widen(connection, &device);
    let opening = timeout(edge.limits.handshake, open(edge, connection, &device)).await;
    let Opening { session, send, recv, introduction } = opening.map_err(|_| Fault::Stalled)??;
    let _background = background(&session, introduction);
    let model = &session.rounds.model.title;
    tracing::info!(device = name, model, address = %connection.peer().address, "session opened");
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
    // What was granted is served to its end, also when its `INFER` is still on its way.
    while !inferences.running.is_empty() || session.owes() {
        let room = inferences.running.len() < edge.limits.streams();
        tokio::select! {
            fault = &mut control => fault?,
            Some(done) = inferences.running.join_next() => inferences.ended(edge, done)?,
            stream = connection.accept_bi(), if room && session.owes() => {
                let (send, recv) = stream.map_err(|_| Fault::Gone)?;
                inferences.running.spawn(inference::serve(Arc::clone(&session), send, recv));
            }
            _ = connection.closed() => return Err(Fault::Gone),
            () = &mut late => break,
        };
    }
    Err(going_down())
}

/// What runs in the background of a session's inferences at edge A, and ends when this is dropped.
fn background(session: &Arc<Session>, introduction: Option<Introduction>) -> JoinSet<()> {
    let mut background = JoinSet::new();
    if session.ahead.is_some() {
        let session = Arc::clone(session);
        background.spawn(async move {
            if let Some(ahead) = &session.ahead {
                run::run(ahead, &session.rounds).await;
            }
        });
    }
    if let Some(introduction) = introduction {
        let session = Arc::clone(session);
        background.spawn(async move {
            if let Some((ahead, outbox)) = session.ahead.as_ref().and_then(|a| Some((a, a.outbox.as_ref()?))) {
                link::send(session.edge(), ahead, outbox, introduction).await;
            }
        });
    }
    background
}

/// The control stream behind `OPENED`: claims and prefetches at edge A, nothing at edge B. Its end is not the
/// session's.
async fn control(session: &Session, mut send: SendHalf, mut recv: RecvHalf) -> Result<(), Fault> {
    loop {
        let due = |h: &FrameHeader| match (session.edge().role, h.kind) {
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
        if *session.edge().draining.borrow() {
            std::future::pending::<()>().await; // the session ends soon, and the device hears why
        }
        session.claim(counter)?;
        let claimed = Claimed { counter };
        if write_frame(&mut send, FrameType::Claimed, &claimed, Codec::Packed, &[]).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
