//! One inference over an open session (PROTOCOL.md, "One inference, mode `split`" and "mode `relay`").

use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinmask_masking::{Answer, InferenceMasks, Pending};
use twinmask_transport::frame_io::Frame;
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::frame::FrameHeader;
use twinmask_wire::message::{self, End, Miss, Round};
use twinmask_wire::{FrameType, WireError, payload};

use crate::error::DeviceError;
use crate::infer::{Exchange, Quantized};
use crate::link::EdgeLink;
use crate::session::Shared;

/// The first integers of one group's tensor beside what each edge got of it: for people who want to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// First layer that reads the tensor.
    pub layer: String,
    /// Ring width, in bits.
    pub k: u32,
    /// The true integers.
    pub x: Vec<i32>,
    /// Edge A's share, expanded from the seed.
    pub share_a: Vec<u32>,
    /// Edge B's share, as uploaded.
    pub share_b: Vec<u32>,
}

/// An inference that edge A has granted a counter for.
pub struct RemoteInference {
    shared: Arc<Shared>,
    masks: InferenceMasks,
    a: (SendHalf, RecvHalf),
    b: (SendHalf, RecvHalf),
    fallbacks: u32,
    watch: Option<(usize, Vec<Glimpse>)>,
}

impl RemoteInference {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        masks: InferenceMasks,
        a: (SendHalf, RecvHalf),
        b: (SendHalf, RecvHalf),
    ) -> Self {
        Self { shared, masks, a, b, fallbacks: 0, watch: None }
    }

    /// Rounds that were answered by both edges although the session is in mode `relay`.
    #[must_use]
    pub const fn fallbacks(&self) -> u32 {
        self.fallbacks
    }

    /// Keeps the first `n` elements of each group and of its shares, on the device, for showing.
    pub fn watch(&mut self, n: usize) {
        self.watch = Some((n, Vec::new()));
    }

    /// What [`watch`](Self::watch) kept.
    #[must_use]
    pub fn glimpses(&self) -> &[Glimpse] {
        self.watch.as_ref().map_or(&[], |(_, kept)| kept)
    }

    /// Tells both edges that nothing more comes on this inference's streams.
    ///
    /// # Errors
    /// [`DeviceError`] when an edge has gone.
    pub async fn finish(mut self) -> Result<(), DeviceError> {
        for (link, send) in [(&self.shared.a, &mut self.a.0), (&self.shared.b, &mut self.b.0)] {
            link.write(send, FrameType::End, &End {}).await?;
            // A stream that the edge has ended already needs no end from us.
            let _ = send.finish();
        }
        Ok(())
    }

    fn mask(&mut self, inputs: &[Quantized]) -> Result<Vec<Pending>, DeviceError> {
        let session = |e: twinmask_masking::MaskError| DeviceError::Session(e.to_string());
        let pending: Vec<Pending> =
            inputs.iter().map(|q| self.masks.mask(q.group, &q.x).map_err(session)).collect::<Result<_, _>>()?;
        if let Some((n, kept)) = &mut self.watch {
            for (q, p) in inputs.iter().zip(&pending) {
                let plan = self.shared.network.plan();
                let n = (*n).min(q.x.len());
                kept.push(Glimpse {
                    layer: plan.layers[plan.groups[q.group].layers[0] as usize].name.clone(),
                    k: u32::from(plan.groups[q.group].k),
                    x: q.x[..n].to_vec(),
                    share_a: p.share_a()[..n].to_vec(),
                    share_b: p.share_b()[..n].to_vec(),
                });
            }
        }
        Ok(pending)
    }
}

impl Exchange for RemoteInference {
    async fn round(&mut self, r: usize, inputs: &[Quantized]) -> Result<Vec<Vec<Vec<i32>>>, DeviceError> {
        let pending = self.mask(inputs)?;
        let shared = Arc::clone(&self.shared);
        let plan = shared.network.plan();
        let (codec, upload) = {
            let k = |p: &Pending| u32::from(plan.groups[p.group()].k);
            let parts: Vec<(&[u32], u32)> = pending.iter().map(|p| (p.share_b(), k(p))).collect();
            shared.uploads.lock().await.encode(&parts)
        };
        let dropped = shared.options.drop_bits;
        let parts = if dropped { plan.answer_parts_dropped(r) } else { plan.answer_parts(r) };
        let round = Round { round: r as u32 };
        let from_b = async {
            shared.b.upload(&mut self.b.0, FrameType::Round, &round, codec, &upload).await?;
            if shared.relay() {
                relayed(&shared.b, &mut self.b.1, r, &parts).await
            } else {
                answer(&shared.b, &mut self.b.1, r, &parts).await.map(Relayed::OwnShare)
            }
        };
        let (z_a, z_b) = if shared.relay() {
            match from_b.await? {
                Relayed::Sum(sum) => (None, sum),
                // Nothing is uploaded again: edge A answers what it would have answered in mode `split`.
                Relayed::OwnShare(z_b) => {
                    self.fallbacks += 1;
                    shared.a.write(&mut self.a.0, FrameType::Round, &round).await?;
                    (Some(answer(&shared.a, &mut self.a.1, r, &parts).await?), z_b)
                }
            }
        } else {
            let (z_a, z_b) = tokio::try_join!(answer(&shared.a, &mut self.a.1, r, &parts), from_b)?;
            (Some(z_a), z_b.into_share())
        };
        let answers: Vec<Answer<'_>> = match &z_a {
            Some(z_a) => z_a.iter().zip(&z_b).map(|(z_a, z_b)| Answer::Pair { z_a, z_b }).collect(),
            None => z_b.iter().map(|z| Answer::Sum(z)).collect(),
        };
        let mut answers = answers.as_slice();
        let open = |(p, q): (Pending, &Quantized)| {
            let (own, rest) = answers.split_at(plan.groups[p.group()].layers.len());
            answers = rest;
            let integrity = |e: twinmask_masking::IntegrityError| DeviceError::Integrity(e.to_string());
            self.masks.open(p, &shared.network.checker, &q.x, own, dropped).map_err(integrity)
        };
        pending.into_iter().zip(inputs).map(open).collect()
    }
}

/// What edge B sent in mode `relay`.
enum Relayed {
    /// `W·v + z_A + T`.
    Sum(Vec<Vec<u32>>),
    /// `W·v`, because the correction was late.
    OwnShare(Vec<Vec<u32>>),
}

impl Relayed {
    fn into_share(self) -> Vec<Vec<u32>> {
        match self {
            Self::Sum(share) | Self::OwnShare(share) => share,
        }
    }
}

/// Edge B's answer to round `r` in mode `relay`: the sum, or `MISS` and its own share.
async fn relayed(
    link: &EdgeLink,
    recv: &mut RecvHalf,
    r: usize,
    parts: &[(usize, u32)],
) -> Result<Relayed, DeviceError> {
    let due = "its answer";
    let accept = |h: &FrameHeader| {
        if h.kind == FrameType::Miss {
            h.expect(FrameType::Miss, &[], due)
        } else {
            h.expect(FrameType::Answer, parts, due)
        }
    };
    let frame = link.read_if(recv, due, accept).await?;
    if frame.header.kind == FrameType::Answer {
        return decode(link, &frame, r, parts).map(Relayed::Sum);
    }
    let miss: Miss = frame.body().map_err(|e| link.broke(&e))?;
    if miss.round as usize != r {
        return Err(link.broke(&WireError::Malformed(format!("it missed round {} instead of {r}", miss.round))));
    }
    answer(link, recv, r, parts).await.map(Relayed::OwnShare)
}

/// The answer of one edge to round `r`.
async fn answer(
    link: &EdgeLink,
    recv: &mut RecvHalf,
    r: usize,
    parts: &[(usize, u32)],
) -> Result<Vec<Vec<u32>>, DeviceError> {
    let frame = link.read(recv, FrameType::Answer, parts, "its answer").await?;
    decode(link, &frame, r, parts)
}

fn decode(link: &EdgeLink, frame: &Frame, r: usize, parts: &[(usize, u32)]) -> Result<Vec<Vec<u32>>, DeviceError> {
    let body: message::Answer = frame.body().map_err(|e| link.broke(&e))?;
    if body.round as usize != r {
        return Err(link.broke(&WireError::Malformed(format!("it answered round {} instead of {r}", body.round))));
    }
    link.compute_us.fetch_add(u64::from(body.compute_us), Ordering::Relaxed);
    payload::decode(&frame.payload, frame.header.codec, parts).map_err(|e| link.broke(&e))
}
