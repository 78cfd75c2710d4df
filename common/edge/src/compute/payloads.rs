//! What becomes of a round's answers: payloads of frames.

use twinmask_codec::{RoundId, packed_parts_len};
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

/// The payload of `ANSWER{r}`, of all stripes; without `exact` low bits are left out (PROTOCOL.md, "Dropped output
/// bits"). What the codec settles on is kept in `encoder` for the session's next answers.
pub(crate) fn encode(
    plan: &Plan,
    r: RoundId,
    exact: bool,
    answers: &mut [Vec<u32>],
    encoder: &Mutex<Encoder>,
) -> Payload {
    cut(plan, r, exact, answers);
    settle(&parts(plan, r, exact, answers), encoder)
}

/// The same of stripe `j` alone, which `answers` are.
pub(crate) fn encode_stripe(
    plan: &Plan,
    r: RoundId,
    j: usize,
    exact: bool,
    answers: &mut [Vec<u32>],
    encoder: &Mutex<Encoder>,
) -> Payload {
    cut(plan, r, exact, answers);
    let parts = answers.iter().zip(plan.answer_stripe(r, j, exact)).map(|(a, part)| (a.as_slice(), part.bits));
    settle(&parts.collect::<Vec<_>>(), encoder)
}

/// Leaves low bits out, unless all are wanted.
fn cut(plan: &Plan, r: RoundId, exact: bool, answers: &mut [Vec<u32>]) {
    if !exact {
        for (l, answer) in plan.round_layers(r).zip(answers.iter_mut()) {
            let (f, keep) = (plan.drop_bits(l), low_bits(plan.k_of(l)));
            answer.iter_mut().for_each(|z| *z = (*z & keep) >> f);
        }
    }
}

fn settle(parts: &[(&[u32], u32)], encoder: &Mutex<Encoder>) -> Payload {
    // Encoded outside the lock: other inferences of the session need not wait for this one.
    let mut settling = locked(encoder).clone();
    let encoded = settling.encode(parts);
    *locked(encoder) = settling;
    encoded
}

/// All stripes of a round's `answers`, which are in the order in which they travel.
fn parts<'a>(plan: &Plan, r: RoundId, exact: bool, answers: &'a [Vec<u32>]) -> Vec<(&'a [u32], u32)> {
    let stripe = |j| {
        let layers = plan.round_layers(r).zip(answers).map(move |(l, a)| &a[plan.output_order(l).stripe(j)]);
        layers.zip(plan.answer_stripe(r, j, exact)).map(|(a, part)| (a, part.bits)).collect::<Vec<_>>()
    };
    (0..plan.stripes(r)).flat_map(stripe).collect()
}

/// Edge A: makes `W·R + T` of `W·R`, for whoever it is sent to, in the order in which it travels. The same T each time:
/// the device would learn nothing from two, and edge B, which must never see `W·R`, gets no other.
pub(crate) fn mask(plan: &Plan, r: RoundId, masks: &Masks, z: &mut [Vec<u32>], worker: &mut Worker) {
    let key = masks.keys.answers(masks.prf.algorithm(), masks.counter.get());
    for (l, z) in plan.round_layers(r).zip(z.iter_mut()) {
        let mut t = worker.buffer(z.len());
        key.fill(l.into(), plan.k_of(l), &mut t);
        z.iter_mut().zip(&t).for_each(|(z, t)| *z = z.wrapping_add(*t));
        t.as_mut_slice().zeroize();
        worker.recycle(t);
        let order = plan.output_order(l);
        if order.count() > 1 {
            let mut travels = worker.buffer(z.len());
            let mut rest = travels.as_mut_slice();
            for run in order.runs(0..z.len()) {
                let part;
                (part, rest) = rest.split_at_mut(run.len());
                part.copy_from_slice(&z[run]);
            }
            worker.recycle(std::mem::replace(z, travels));
        }
    }
}

/// Edge A: `W·R + T`, packed, for edge B (PROTOCOL.md, "One inference, mode `relay`").
pub(crate) fn correction(plan: &Plan, r: RoundId, masks: &Masks, z: &mut [Vec<u32>], worker: &mut Worker) -> Vec<u8> {
    mask(plan, r, masks, z, worker);
    packed(plan, r, z)
}

/// All bits of a round's answers, packed.
pub(crate) fn packed(plan: &Plan, r: RoundId, z: &[Vec<u32>]) -> Vec<u8> {
    payload::encode(&parts(plan, r, true, z), Codec::Packed)
}

/// Edge B: adds stripe `j` of a correction to that of `W·v`.
///
/// # Errors
/// A payload that does not hold the round's answers.
pub(crate) fn add_correction(
    plan: &Plan,
    r: RoundId,
    j: usize,
    z: &mut [Vec<u32>],
    payload: &[u8],
) -> Result<(), WireError> {
    let lengths: Vec<usize> = (0..plan.stripes(r)).map(|j| packed_parts_len(&plan.answer_stripe(r, j, true))).collect();
    let (from, expected): (usize, usize) = (lengths[..j].iter().sum(), lengths.iter().sum());
    if payload.len() != expected {
        return Err(WireError::Shape { found: payload.len(), expected });
    }
    payload::add_packed(&payload[from..from + lengths[j]], &plan.answer_stripe(r, j, true), z)
}
