//! Rounds in stripes (PROTOCOL.md, "Stripes"): what can be answered of a tensor whose rows still arrive.

use std::ops::Range;

use twinmask_codec::RoundId;
use twinmask_layer::Geometry;

use crate::compute::parallel;
use crate::compute::pool::Worker;
use crate::models::Model;

/// One stripe of a round's shares, by group: `[channels, rows, width]`.
pub(crate) type Stripe = Vec<Vec<u32>>;

/// The answers to stripe `j` of round `r`, by layer, `[channels, rows, width]`; they read that stripe of the shares and
/// the one before it.
pub(crate) fn answers(model: &Model, r: RoundId, j: usize, [before, now]: [&Stripe; 2], worker: &mut Worker) -> Stripe {
    let (plan, mut answers) = (&model.plan, Vec::new());
    for (i, &g) in plan.round(r).iter().enumerate() {
        let order = plan.input_order(g);
        for &l in plan.group(g).layers() {
            let Geometry::Conv(conv) = plan.layer(l).geometry() else { continue }; // no others travel in stripes
            let (rows, linear) = (plan.output_order(l).rows(j), &model.stripes[l.index()][j]);
            let Some((read, _)) = conv.rows(rows.start as u32..rows.end as u32) else { continue };
            let read = read.start as usize..read.end as usize;
            if read == order.rows(j) {
                answers.extend(parallel::apply(linear, &[&now[i]], worker));
                continue;
            }
            let mut x = worker.buffer(linear.geometry().in_len());
            let before = before.get(i).map(|share| (order.rows(j.saturating_sub(1)), share));
            for (rows, share) in before.into_iter().chain([(order.rows(j), &now[i])]) {
                copy(share, &rows, &mut x, &read, conv.w as usize);
            }
            answers.extend(parallel::apply(linear, &[&x], worker));
            worker.recycle(x);
        }
    }
    answers
}

/// Copies what `from`, the rows `of` of a tensor, has of its rows `read` to where they are in `to`; both are
/// `[channels, rows, width]`.
fn copy(from: &[u32], of: &Range<usize>, to: &mut [u32], read: &Range<usize>, width: usize) {
    let rows = of.start.max(read.start)..of.end.min(read.end);
    if rows.is_empty() {
        return;
    }
    let within = |all: &Range<usize>| (rows.start - all.start) * width..(rows.end - all.start) * width;
    let channels = from.chunks_exact(of.len() * width).zip(to.chunks_exact_mut(read.len() * width));
    channels.for_each(|(from, to)| to[within(read)].copy_from_slice(&from[within(of)]));
}
