//! How a session opens.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use twinmask_model::bundle::short;
use twinmask_ring::keys::SessionKeys;
use twinmask_transport::frame_io::{read_frame, write_frame};
use twinmask_transport::{Connection, Peer, RecvHalf, SendHalf};
use twinmask_wire::message::{MaskPart, Open, Opened, Prf, RelayOpen, Secret};
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
    let (prf, model) = accept(edge, &open, device, connection.peer())?;
    let keys = open.seed.as_ref().map(|seed| agree(edge, connection.peer(), seed)).transpose()?;
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
        part: keys.as_ref().map(|(_, part)| part.clone()),
    };
    let outbox = introduction.as_ref().map(|i| Outbox::new(i.credit));
    let ahead = keys.is_some().then(|| Ahead::new(outbox, device, &edge.ahead, &model.lengths, edge.limits.rest));
    let rounds = Rounds::new(edge, device, model, keys.map(|(keys, _)| keys), prf, open.codec);
    let session = Arc::new(Session::new(rounds, ahead, inbox, open.ticket.is_some()));
    write_frame(&mut send, FrameType::Opened, &opened, Codec::Packed, &[]).await?;
    Ok(Opening { session, send, recv, introduction })
}

/// Edge A: the keys of a session of `device`, and what it is told of them.
fn agree(edge: &Edge, device: &Peer, seed: &Secret) -> Result<(SessionKeys, MaskPart), Fault> {
    let internal = |text| refused(CloseCode::Internal, text);
    let master = edge.mask_key().ok_or_else(|| internal("edge A has no mask key; its log says more"))?;
    let mut nonce = [0; 32];
    let drawn = SystemRandom::new().fill(&mut nonce);
    drawn.map_err(|_| internal("edge A's system gives no random bytes"))?;
    let name = if let twinmask_transport::Role::Device(name) = &device.role { name.as_str() } else { "" };
    let keys = SessionKeys::new(&master.of_device(name, &device.serial), &seed.0, &nonce);
    let proof = keys.proof();
    Ok((keys, MaskPart { nonce, proof }))
}

/// The PRF and the model of the session that `open` asks for.
fn accept(edge: &Edge, open: &Open, device: &str, peer: &Peer) -> Result<(Prf, Arc<Model>), Fault> {
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
    let mend = |model: &str| {
        format!(
            "have the owner run `owner-keygen add-device DIR --name {device} --model {model}` and copy the device's folder \
             to it anew"
        )
    };
    let model = models.get(&open.digest).cloned().ok_or_else(|| {
        let wanted = short(&open.digest);
        // What else there is, is no business of a device.
        if let Some(left_out) = edge.may_tell(device) {
            tracing::warn!(
                device,
                wanted,
                left_out,
                holds = models.list(),
                "a device asks for a model that is not here"
            );
        }
        refused(
            CloseCode::UnknownModel,
            format!("this edge does not hold model {wanted}; if it was replaced, {}", mend("MODEL")),
        )
    })?;
    if !peer.may_use(&model.name) {
        let name = &model.name;
        let text = format!("the certificate of device {device} does not name the model {name}; {}", mend(name));
        return Err(refused(CloseCode::Role, text));
    }
    Ok((prf, model))
}

/// Names of PRFs, for people.
fn list(prfs: &[Prf]) -> String {
    let names: Vec<String> = prfs.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
