//! One inference over an open session, mode `split` (PROTOCOL.md, "One inference, mode `split`").

use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinmask_masking::integrity::Answers;
use twinmask_masking::{InferenceMasks, Pending};
use twinmask_transport::{RecvHalf, SendHalf};
use twinmask_wire::message::{Answer, End, Round};
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
    watch: Option<(usize, Vec<Glimpse>)>,
}

impl RemoteInference {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        masks: InferenceMasks,
        a: (SendHalf, RecvHalf),
        b: (SendHalf, RecvHalf),
    ) -> Self {
        Self { shared, masks, a, b, watch: None }
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
        let parts = plan.answer_parts(r);
        let from_b = async {
            let round = Round { round: r as u32 };
            shared.b.upload(&mut self.b.0, FrameType::Round, &round, codec, &upload).await?;
            answer(&shared.b, &mut self.b.1, r, &parts).await
        };
        let (z_a, z_b) = tokio::try_join!(answer(&shared.a, &mut self.a.1, r, &parts), from_b)?;
        let mut pairs = z_a.iter().zip(&z_b).map(|(z_a, z_b)| Answers { z_a, z_b });
        let open = |(p, q): (Pending, &Quantized)| {
            let answers: Vec<Answers<'_>> = pairs.by_ref().take(plan.groups[p.group()].layers.len()).collect();
            let integrity = |e: twinmask_masking::IntegrityError| DeviceError::Integrity(e.to_string());
            p.open(&shared.network.keys, &shared.network.checker, &q.x, &answers).map_err(integrity)
        };
        pending.into_iter().zip(inputs).map(open).collect()
    }
}

/// The answer of one edge to round `r`.
async fn answer(
    link: &EdgeLink,
    recv: &mut RecvHalf,
    r: usize,
    parts: &[(usize, u32)],
) -> Result<Vec<Vec<u32>>, DeviceError> {
    let frame = link.read(recv, FrameType::Answer, parts, "its answer").await?;
    let body: Answer = frame.body().map_err(|e| link.broke(&e))?;
    if body.round as usize != r {
        return Err(link.broke(&WireError::Malformed(format!("it answered round {} instead of {r}", body.round))));
    }
    link.compute_us.fetch_add(u64::from(body.compute_us), Ordering::Relaxed);
    payload::decode(&frame.payload, frame.header.codec, parts).map_err(|e| link.broke(&e))
}
