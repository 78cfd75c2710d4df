//! What rounds are computed on.

use std::sync::Arc;

use twinmask_codec::{Counter, GroupId, Part, RoundId};
use twinmask_model::plan::Plan;
use twinmask_ring::keys::SessionKeys;
use twinmask_wire::message::Prf;
use twinmask_wire::{Codec, WireError, payload};
use zeroize::Zeroize;

use crate::compute::pool::Worker;

/// The masks of one inference (PROTOCOL.md, "Keys"), at edge A.
#[derive(Clone)]
pub(crate) struct Masks {
    pub(crate) keys: Arc<SessionKeys>,
    pub(crate) prf: Prf,
    pub(crate) counter: Counter,
}

/// What a round is computed on (PROTOCOL.md, "One inference, mode `split`").
pub(crate) enum Shares {
    /// At edge A: the masks `R`, expanded from the session's keys.
    Masks(Masks),
    /// At edge B: `v = x + S_in - R`, as uploaded.
    Uploaded { codec: Codec, payload: Vec<u8> },
}

impl Shares {
    /// At edge A.
    pub(crate) fn masks(&self) -> Option<&Masks> {
        match self {
            Shares::Masks(masks) => Some(masks),
            Shares::Uploaded { .. } => None,
        }
    }

    /// The share of each group of round `r`, in the plan's order; an upload is gone then.
    pub(super) fn expand(&mut self, plan: &Plan, r: RoundId, worker: &mut Worker) -> Result<Vec<Vec<u32>>, WireError> {
        let parts = plan.upload_parts(r);
        match self {
            Shares::Uploaded { codec, payload } => {
                payload::decode_into(&std::mem::take(payload), *codec, &parts, |len| worker.buffer(len))
            }
            Shares::Masks(Masks { keys, prf, counter }) => {
                let key = keys.masks(prf.algorithm(), counter.get());
                let expand = |(&g, part): (&GroupId, Part)| {
                    let mut mask = worker.buffer(part.len);
                    key.fill(g.into(), part.bits, &mut mask);
                    mask
                };
                Ok(plan.round(r).iter().zip(parts).map(expand).collect())
            }
        }
    }

    pub(super) fn wipe(&self, mut shares: Vec<Vec<u32>>, worker: &mut Worker) {
        for mut share in shares.drain(..) {
            if matches!(self, Shares::Masks(_)) {
                // As a slice: a whole vector would be wiped up to its capacity, byte by byte.
                share.as_mut_slice().zeroize();
            }
            worker.recycle(share);
        }
    }
}
