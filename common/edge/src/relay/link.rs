//! The connection between the edges (PROTOCOL.md, "One inference, mode `relay`"): edge A dials the edge B of its own
//! configuration and introduces sessions, each on a stream of its own; edge B takes their corrections.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use twinmask_transport::frame_io::{FrameIoError, read_frame, send_frame, write_frame};
use twinmask_transport::{Client, Connection, RecvHalf, SendHalf, TransportLimits};
use twinmask_wire::message::{Correction, Credit, DropCorrections, RelayOpen, Rest};
use twinmask_wire::{CloseCode, Codec, FrameHeader, FrameType, WireError};

use crate::ahead::store::Ahead;
use crate::edge::Edge;
use crate::fault::{Fault, GOING_DOWN, ending, refused};
use crate::relay::inbox::CorrectionInbox;
use crate::relay::outbox::{Outbox, Outgoing};

/// Time for a handshake between the edges.
const DIAL: Duration = Duration::from_secs(5);
/// Shortest and longest pause before edge B is dialled again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Time that edge B waits for the session that is introduced to it, and that edge A waits for the answer.
const OPENING: Duration = Duration::from_secs(2);
const ANSWERING: Duration = Duration::from_millis(2500);

/// Edge A: keeps a connection to the edge B at `address`. Never ends.
pub(crate) async fn dial(edge: Arc<Edge>, address: String, limits: TransportLimits) {
    let role = twinmask_transport::Role::EdgeB;
    let mut pause = BACK_OFF.0;
    loop {
        let identity = edge.identity.borrow().clone();
        if let Some(identity) = identity {
            match Client::connect(&address, &role, &identity, &limits, DIAL).await {
                Ok(connection) => {
                    tracing::info!(address, "connected to edge-b");
                    pause = BACK_OFF.0;
                    edge.connected(&connection).await;
                    tracing::warn!(address, reason = ending(&connection), "the connection to edge-b has ended");
                }
                Err(error) => tracing::warn!(%error, "edge-b cannot be reached; sessions get no relay"),
            }
        }
        sleep(pause).await;
        pause = (2 * pause).min(BACK_OFF.1);
    }
}

/// Edge A's stream of one session to edge B.
pub(crate) struct Introduction {
    send: SendHalf,
    recv: RecvHalf,
    /// Bytes of the first `CREDIT`.
    pub(crate) credit: usize,
}

/// Edge A: introduces a session to edge B; `None` when edge B does not have it, or is not there.
pub(crate) async fn introduce(edge: &Edge, open: &RelayOpen) -> Option<Introduction> {
    let connection = edge.peer.borrow().clone()?;
    let introducing = async {
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        write_frame(&mut send, FrameType::RelayOpen, open, Codec::Packed, &[]).await.ok()?;
        let frame = read_frame(&mut recv, |h| h.expect(FrameType::Credit, &[], "CREDIT")).await.ok()?;
        let credit: Credit = frame.body().ok()?;
        Some(Introduction { send, recv, credit: credit.bytes as usize })
    };
    let introduced = timeout(ANSWERING, introducing).await.ok().flatten();
    if introduced.is_none() {
        edge.meters.refused("RelayOpen");
        tracing::warn!(device = open.device, "edge-b did not take the introduction of a session, which gets no relay");
    }
    introduced
}

/// Edge A: sends what is computed ahead for edge B until either end is gone.
pub(crate) async fn send(edge: &Edge, ahead: &Ahead, outbox: &Outbox, mut stream: Introduction) {
    let sending = async {
        while let Some(next) = outbox.next().await {
            let written = match next {
                Outgoing::Correction { counter, round, mut payload, room } => {
                    edge.meters.corrections.increment(1);
                    let (body, payload) = (Correction { counter, round }, std::mem::take(&mut *payload));
                    let sent = send_frame(&mut stream.send, FrameType::Correction, &body, Codec::Packed, payload).await;
                    drop(room);
                    sent
                }
                Outgoing::Rest => write_frame(&mut stream.send, FrameType::Rest, &Rest {}, Codec::Packed, &[]).await,
                Outgoing::Drop { counter } => {
                    let body = DropCorrections { counter };
                    write_frame(&mut stream.send, FrameType::Drop, &body, Codec::Packed, &[]).await
                }
            };
            if written.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let due = |h: &FrameHeader| h.expect(FrameType::Credit, &[], "CREDIT");
        while let Ok(frame) = read_frame(&mut stream.recv, due).await {
            match frame.body::<Credit>() {
                Ok(credit) => ahead.credit(outbox, credit.bytes),
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    tracing::info!("edge-b no longer takes corrections of a session");
    outbox.down();
}

/// Edge B: serves the connection of edge A until it ends, or the edge is going down and the last session is over.
pub(crate) async fn serve(edge: &Arc<Edge>, connection: &Connection) {
    tracing::info!(address = %connection.peer().address, "edge-a is connected");
    edge.trust(connection);
    let mut streams = JoinSet::new();
    let mut draining = edge.draining.subscribe();
    loop {
        let room = streams.len() < edge.limits.max_sessions;
        tokio::select! {
            stream = connection.accept_bi(), if room => match stream {
                Ok((send, recv)) => drop(streams.spawn(attend(Arc::clone(edge), send, recv))),
                Err(_) => break,
            },
            Some(_) = streams.join_next() => {}
            () = edge.revoked(connection.peer()) => {
                connection.close(CloseCode::Role as u32, "the certificate of edge-a was revoked");
                break;
            }
            _ = connection.closed() => break,
            _ = draining.wait_for(|d| *d), if streams.is_empty() => {
                connection.close(CloseCode::Draining as u32, GOING_DOWN);
                break;
            }
        }
    }
    tracing::info!(reason = ending(connection), "edge-a is no longer connected");
}

/// Edge B: one session's stream from its introduction on.
async fn attend(edge: Arc<Edge>, mut send: SendHalf, mut recv: RecvHalf) {
    let fault = match inbox(&edge, &mut recv).await {
        Ok(inbox) => {
            let attended = Attended(inbox);
            corrections(&edge, &attended.0, &mut send, &mut recv).await.err()
        }
        Err(fault) => Some(fault),
    };
    if let Some(Fault::Refused(code, text)) = fault {
        edge.meters.refused("Relay");
        tracing::warn!(
            %code,
            text,
            "edge-a broke the rules of relay; its stream is closed, the session goes on without"
        );
        let _ = send.reset(code as u32);
        let _ = recv.stop(code as u32);
    }
}

/// An inbox while edge A is there, also when the task ends with the connection.
struct Attended(Arc<CorrectionInbox>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// The inbox of the session that edge A introduces.
async fn inbox(edge: &Edge, recv: &mut RecvHalf) -> Result<Arc<CorrectionInbox>, Fault> {
    let opening = read_frame(recv, |h| h.expect(FrameType::RelayOpen, &[], "RELAY_OPEN"));
    let open: RelayOpen = timeout(edge.limits.handshake, opening).await.map_err(|_| Fault::Stalled)??.body()?;
    let unknown =
        |_| refused(CloseCode::Protocol, format!("introduction of a session of {} that is not here", open.device));
    let inbox = timeout(OPENING, edge.inboxes.of(&open.session)).await.map_err(unknown)?;
    inbox.introduce(&open).map_err(|text| {
        let text = format!("introduction of a session of {}: {text}", open.device);
        refused(CloseCode::Protocol, text)
    })?;
    Ok(inbox)
}

async fn corrections(
    edge: &Edge,
    inbox: &CorrectionInbox,
    send: &mut SendHalf,
    recv: &mut RecvHalf,
) -> Result<(), Fault> {
    let credit = |bytes: usize| Credit { bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
    write_frame(send, FrameType::Credit, &credit(inbox.credit()), Codec::Packed, &[]).await?;
    let crediting = async {
        while let Some(bytes) = inbox.owed().await {
            write_frame(send, FrameType::Credit, &credit(bytes), Codec::Packed, &[]).await?;
        }
        Ok(())
    };
    let receiving = async {
        loop {
            match read_correction(inbox, recv).await {
                Ok(()) => edge.meters.corrections.increment(1),
                Err(FrameIoError::Wire(error)) => return Err(error.into()),
                Err(_) => return Ok(()),
            }
        }
    };
    tokio::select! {
        ended = crediting => ended,
        ended = receiving => ended,
    }
}

/// One `CORR`, `DROP` or `REST`.
async fn read_correction(inbox: &CorrectionInbox, recv: &mut RecvHalf) -> Result<(), FrameIoError> {
    let frame = read_frame(recv, |h| match h.kind {
        FrameType::Drop => h.expect(FrameType::Drop, &[], "CORR, DROP or REST"),
        FrameType::Rest => h.expect(FrameType::Rest, &[], "CORR, DROP or REST"),
        FrameType::Correction if h.codec == Codec::Packed && h.payload_len <= inbox.credit() => Ok(()),
        FrameType::Correction => {
            Err(WireError::Malformed(format!("correction of {} bytes beyond the credit, or not packed", h.payload_len)))
        }
        found => Err(WireError::Unexpected { found, expected: "CORR, DROP or REST" }),
    })
    .await?;
    match frame.header.kind {
        FrameType::Drop => inbox.discard(frame.body::<DropCorrections>()?.counter),
        FrameType::Rest => {
            frame.body::<Rest>()?;
            inbox.rest();
        }
        _ => {
            let Correction { counter, round } = frame.body()?;
            inbox.put(counter, round, frame.payload)?;
        }
    }
    Ok(())
}
