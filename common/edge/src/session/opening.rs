//! How a session opens.

use std::sync::Arc;

use twinmask_model::bundle::short;
use twinmask_transport::frame_io::{read_frame, write_frame};
use twinmask_transport::{Connection, RecvHalf, SendHalf};
use twinmask_wire::message::{Open, Opened, Prf, RelayOpen};
use twinmask_wire::{CloseCode, Codec, FrameType};

use crate::ahead::store::Ahead;
use crate::budget::Device;
use crate::edge::Edge;
use crate::fault::{Fault, refused};
use crate::models::Model;
use crate::relay::link::{self, Introduction};
use crate::relay::outbox::Outbox;
use crate::role::Role;
use crate::rounds::Rounds;
use crate::session::state::Session;

/// A session as it begins, with its control stream and at edge A that to edge B.
pub(super) struct Opening {
    pub(super) session: Arc<Session>,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    pub(super) introduction: Option<Introduction>,
}

/// `OPEN` and `OPENED` on the first stream.
pub(super) async fn open(edge: &Arc<Edge>, connection: &Connection, device: &Device) -> Result<Opening, Fault> {
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|_| Fault::Gone)?;
    let open: Open = read_frame(&mut recv, |h| h.expect(FrameType::Open, &[], "OPEN")).await?.body()?;
    let (prf, model) = accept(edge, &open, device)?;
    let facts = open.ticket.clone().map(|ticket| RelayOpen {
        session: open.session,
        device: device.to_string(),
        digest: open.digest,
        ticket,
    });
    let (mut introduction, mut inbox) = (None, None);
    match (edge.role, facts) {
        (Role::A, Some(facts)) => introduction = link::introduce(edge, &facts).await,
        (Role::B, Some(facts)) => {
            let lengths = model.lengths.iter().map(|l| l.correction).collect();
            inbox = edge.inboxes.open(facts, lengths, &edge.corrections, edge.limits.relay_session);
        }
        (_, None) => {}
    }
    let opened = Opened {
        prf,
        max_in_flight: edge.most_in_flight(&model),
        kernel: edge.kernel.name().to_owned(),
        relay: introduction.is_some() || inbox.is_some(),
    };
    let outbox = introduction.as_ref().map(|i| Outbox::new(i.credit));
    let ahead = open.seed.is_some().then(|| Ahead::new(outbox, device, &edge.ahead, &model.lengths, edge.limits.rest));
    let rounds = Rounds::new(edge, device, model, open.seed, prf, open.codec);
    let session = Arc::new(Session::new(rounds, ahead, inbox, open.ticket.is_some()));
    write_frame(&mut send, FrameType::Opened, &opened, Codec::Packed, &[]).await?;
    Ok(Opening { session, send, recv, introduction })
}

/// The PRF and the model of the session that `open` asks for.
fn accept(edge: &Edge, open: &Open, device: &str) -> Result<(Prf, Arc<Model>), Fault> {
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
        let text = format!("OPEN offers the PRFs {}, and this edge has {}", list(&open.prfs), list(&Prf::available()));
        refused(CloseCode::Protocol, text)
    })?;
    let models = edge.models();
    let model = models.get(&open.digest).cloned().ok_or_else(|| {
        let text = format!(
            "no model {} here; if it was replaced, have the owner run `owner-keygen add-device DIR --name {device} --model \
             MODEL` and copy the device's folder to it anew; this edge holds: {}",
            short(&open.digest),
            models.list()
        );
        refused(CloseCode::UnknownModel, text)
    })?;
    Ok((prf, model))
}

/// Names of PRFs, for people.
fn list(prfs: &[Prf]) -> String {
    let names: Vec<String> = prfs.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
