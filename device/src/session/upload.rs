//! A round's tensors on their way to edge B: masked piece by piece, frames leaving while the rest is masked.

use tokio::time::Instant;
use twinmask_codec::{GroupId, RoundId, packed_parts_len};
use twinmask_kernels::elementwise;
use twinmask_masking::mask::PIECE;
use twinmask_masking::{Masking, Pending};
use twinmask_model::plan::Plan;
use twinmask_ring::pack;
use twinmask_transport::SendHalf;
use twinmask_wire::message::Round;
use twinmask_wire::{Codec, FrameType, frame, payload};

use crate::error::{DeviceError, SessionError};
use crate::exchange::GroupInput;
use crate::session::shared::Shared;

/// Packed bytes that are handed to the stream at a time, and how many more a piece may add.
const UPLOAD_STEP: usize = 60 * 1024;
const MOST_OF_A_PIECE: usize = 4 * PIECE;

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

impl Glimpse {
    /// Of a group's first integers `x` and their packed masked form; edge A's share is still to come.
    fn new(plan: &Plan, group: GroupId, n: usize, x: &[i32], packed: &[u8]) -> Self {
        // Behind the first run the elements that travel are not the tensor's first.
        let first = plan.input_order(group).runs(0..n).next().map_or(0, |run| run.len());
        let (group, mut masked) = (plan.group(group), vec![0; x.len()]);
        let k = group.k();
        let n = if pack::unpack(packed, k, &mut masked).is_ok() { first.min(x.len()) } else { 0 };
        masked.truncate(n);
        let layer = plan.layer(group.layers()[0]).name().to_owned();
        Self { layer, k, x: x[..n].to_vec(), share_a: Vec::new(), share_b: masked }
    }
}

/// Round `r` while it is uploaded.
pub(crate) struct Upload<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
    pub(crate) r: RoundId,
    /// Each group's tensor, and its masks.
    pub(crate) inputs: &'a [GroupInput<'a>],
    pub(crate) maskings: Vec<Masking<'a>>,
    pub(crate) send: &'a mut SendHalf,
    /// How many of each group's first elements are kept, and where.
    pub(crate) watch: &'a mut Option<(usize, Vec<Glimpse>)>,
    /// When all of it has to be written.
    pub(crate) deadline: Instant,
}

impl Upload<'_> {
    /// Writes stripe `j` of all tensors: a frame.
    ///
    /// # Errors
    /// [`DeviceError`] when a tensor does not fit its group, or edge B has gone.
    pub(crate) async fn stripe(&mut self, j: usize) -> Result<(), DeviceError> {
        let (link, round, parts) = (&self.shared.b, Round { round: self.r }, self.plan.upload_stripe(self.r, j));
        // What else than packed is wanted, or whether, is found out on whole payloads.
        let streaming = self.shared.uploads.lock().await.settled() == Some(Codec::Packed);
        let room = || Vec::with_capacity(UPLOAD_STEP + MOST_OF_A_PIECE);
        let (mut packed, mut x) = (room(), [0; PIECE]);
        if streaming {
            let announced = packed_parts_len(&parts);
            packed.extend(frame::encode_head(FrameType::Round, &round, Codec::Packed, announced));
        }
        for (input, masking) in self.inputs.iter().zip(&mut self.maskings) {
            let order = self.plan.input_order(input.group);
            let mut glimpse = self.watch.as_ref().filter(|_| j == 0).map(|_| packed.len());
            let places = order.stripe(j);
            for at in places.clone().step_by(PIECE) {
                let n = PIECE.min(places.end - at);
                let mut rest = &mut x[..n];
                for run in order.runs(at..at + n) {
                    let part;
                    (part, rest) = rest.split_at_mut(run.len());
                    elementwise::quantize(&input.tensor[run], input.scale, part);
                }
                masking.push(&x[..n], &mut packed).map_err(SessionError::Mask)?;
                if let (Some(from), Some((most, kept))) = (glimpse.take(), &mut *self.watch) {
                    kept.push(Glimpse::new(self.plan, input.group, *most, &x[..n], &packed[from..]));
                }
                if streaming && packed.len() >= UPLOAD_STEP {
                    let full = std::mem::replace(&mut packed, room());
                    link.write_some(self.send, full, self.deadline).await?;
                    // The connection's own task may run on this very thread: it sends what it has been given.
                    tokio::task::yield_now().await;
                }
            }
        }
        if streaming && !packed.is_empty() {
            link.write_some(self.send, packed, self.deadline).await?;
        } else if !streaming {
            let elements = payload::decode(&packed, Codec::Packed, &parts).map_err(|e| link.broke(e))?;
            let parts: Vec<(&[u32], u32)> =
                elements.iter().zip(parts).map(|(e, part)| (e.as_slice(), part.bits)).collect();
            let (codec, payload) = self.shared.uploads.lock().await.encode(&parts);
            link.upload(self.send, FrameType::Round, &round, codec, &payload).await?;
        }
        Ok(())
    }

    /// All stripes are written: what remains of each tensor until its answers come.
    ///
    /// # Errors
    /// As [`stripe`](Self::stripe).
    pub(crate) fn finish(self) -> Result<Vec<Pending>, DeviceError> {
        let finish = |masking: Masking<'_>| Ok(masking.finish().map_err(SessionError::Mask)?);
        self.maskings.into_iter().map(finish).collect()
    }
}
