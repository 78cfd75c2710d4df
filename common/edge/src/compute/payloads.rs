//! What becomes of a round's answers: payloads of frames.

use twinmask_codec::RoundId;
use twinmask_model::plan::Plan;
use twinmask_ring::mask as low_bits;
use twinmask_wire::payload::{self, Encoder};
use twinmask_wire::{Codec, WireError};
use zeroize::Zeroize;

use crate::compute::pool::Worker;
use crate::compute::shares::Masks;
use crate::lock::{Mutex, locked};

/// A payload, and how it is encoded.
pub(crate) type Payload = (Codec, Vec<u8>);

/// The payload of `ANSWER{r}`; without `exact` low bits are left out (PROTOCOL.md, "Dropped output bits"). What the
/// codec settles on is kept in `encoder` for the session's next answers.
pub(crate) fn encode(
    plan: &Plan,
    r: RoundId,
    exact: bool,
    answers: &mut [Vec<u32>],
    encoder: &Mutex<Encoder>,
) -> Payload {
    if !exact {
        for (l, answer) in plan.round_layers(r).zip(answers.iter_mut()) {
            let (f, keep) = (plan.drop_bits(l), low_bits(plan.k_of(l)));
            answer.iter_mut().for_each(|z| *z = (*z & keep) >> f);
        }
    }
    let parts = if exact { plan.answer_parts(r) } else { plan.answer_parts_dropped(r) };
    let parts: Vec<(&[u32], u32)> = answers.iter().zip(parts).map(|(a, part)| (a.as_slice(), part.bits)).collect();
    // Encoded outside the lock: other inferences of the session need not wait for this one.
    let mut settling = locked(encoder).clone();
    let encoded = settling.encode(&parts);
    *locked(encoder) = settling;
    encoded
}

/// Edge A: makes `W·R + T` of `W·R`, for whoever it is sent to. The same T each time: the device would learn nothing
/// from two, and edge B, which must never see `W·R`, gets no other.
pub(crate) fn mask(plan: &Plan, r: RoundId, masks: &Masks, z: &mut [Vec<u32>], worker: &mut Worker) {
    let key = masks.keys.answers(masks.prf.algorithm(), masks.counter.get());
    for (l, z) in plan.round_layers(r).zip(z.iter_mut()) {
        let mut t = worker.buffer(z.len());
        key.fill(l.into(), plan.k_of(l), &mut t);
        z.iter_mut().zip(&t).for_each(|(z, t)| *z = z.wrapping_add(*t));
        t.as_mut_slice().zeroize();
        worker.recycle(t);
    }
}

/// Edge A: `W·R + T`, packed, for edge B (PROTOCOL.md, "One inference, mode `relay`").
pub(crate) fn correction(plan: &Plan, r: RoundId, masks: &Masks, z: &mut [Vec<u32>], worker: &mut Worker) -> Vec<u8> {
    mask(plan, r, masks, z, worker);
    packed(plan, r, z)
}

/// All bits of a round's answers, packed.
pub(crate) fn packed(plan: &Plan, r: RoundId, z: &[Vec<u32>]) -> Vec<u8> {
    let parts: Vec<(&[u32], u32)> =
        z.iter().zip(plan.answer_parts(r)).map(|(z, part)| (z.as_slice(), part.bits)).collect();
    payload::encode(&parts, Codec::Packed)
}

/// Edge B: adds a correction to `W·v`.
///
/// # Errors
/// A payload that does not hold the round's answers.
pub(crate) fn add_correction(plan: &Plan, r: RoundId, z: &mut [Vec<u32>], payload: &[u8]) -> Result<(), WireError> {
    payload::add_packed(payload, &plan.answer_parts(r), z)
}
