//! In which stripes the tensors of a round travel (PROTOCOL.md, "Stripes"): both sides find the same ones.

use twinmask_codec::GroupId;
use twinmask_layer::{Conv, Geometry, Order};
use twinmask_ring::pack::packed_len;

use super::parts::{GroupParts, PlanParts};

/// Most stripes of a round.
const MOST: usize = 8;
/// Fewest packed bytes of a stripe, of uploads and of answers, about: shorter ones cost more than they save.
const LEAST_BYTES: usize = 32 << 10;
/// Stripes of answers begin at multiples of this row: the fastest kernels compute as many rows at a time.
const TOGETHER: usize = 4;

/// The orders of all groups' tensors and of all layers' outputs.
pub(super) struct Orders {
    pub(super) inputs: Vec<Order>,
    pub(super) outputs: Vec<Order>,
}

impl Orders {
    /// Of a plan that was checked.
    pub(super) fn of(parts: &PlanParts) -> Self {
        let inputs = parts.groups.iter().map(|g| Order::whole(g.len as usize)).collect();
        let outputs = parts.layers.iter().map(|l| Order::whole(l.geometry.out_len())).collect();
        let mut orders = Self { inputs, outputs };
        for round in &parts.rounds {
            let most = most(parts, round);
            if let Some(striped) = (2..=most).rev().find_map(|count| striped(parts, round, count)) {
                for (&g, (input, outputs)) in round.iter().zip(striped) {
                    orders.inputs[g.index()] = input;
                    for (l, output) in parts.groups[g.index()].layers.iter().zip(outputs) {
                        orders.outputs[l.index()] = output;
                    }
                }
            }
        }
        orders
    }
}

/// Stripes that a round is long enough for.
fn most(parts: &PlanParts, round: &[GroupId]) -> usize {
    let groups = || round.iter().map(|g| &parts.groups[g.index()]);
    let up: usize = groups().map(|g| packed_len(g.len as usize, g.k.into())).sum();
    let answers = |g: &GroupParts| -> usize {
        g.layers.iter().map(|l| packed_len(parts.layers[l.index()].geometry.out_len(), g.k.into())).sum()
    };
    (up.min(groups().map(answers).sum()) / LEAST_BYTES).min(MOST)
}

/// Each group's tensor in `count` stripes, and the outputs of its layers, if that can be.
fn striped(parts: &PlanParts, round: &[GroupId], count: usize) -> Option<Vec<(Order, Vec<Order>)>> {
    let conv = |g: &GroupParts| -> Option<Vec<Conv>> {
        let conv = |g: &Geometry| if let Geometry::Conv(conv) = g { Some(*conv) } else { None };
        g.layers.iter().map(|l| conv(&parts.layers[l.index()].geometry)).collect()
    };
    round.iter().map(|g| group(&conv(&parts.groups[g.index()])?, count)).collect()
}

/// Sibling convolutions of one tensor in `count` stripes: the rows of a stripe of answers read those of its stripe of
/// the upload and of the one before, and none is empty.
fn group(convs: &[Conv], count: usize) -> Option<(Order, Vec<Order>)> {
    let first = convs.first()?;
    if convs.iter().any(|c| (c.c_in, c.h, c.w) != (first.c_in, first.h, first.w)) {
        return None; // they see it as tensors of different shapes
    }
    let answered = |conv: &Conv| -> Option<Vec<usize>> {
        let height = conv.out_h() as usize;
        let ends = (1..count).map(|j| j * height / count / TOGETHER * TOGETHER).chain([height]);
        let ends: Vec<usize> = ends.collect();
        ascend(&ends).then_some(ends)
    };
    let answered: Vec<Vec<usize>> = convs.iter().map(answered).collect::<Option<_>>()?;
    let read = |conv: &Conv, ends: &[usize], j: usize| {
        let start = if j == 0 { 0 } else { ends[j - 1] };
        conv.rows(start as u32..ends[j] as u32).map(|(rows, _)| rows)
    };
    // A stripe of the upload ends where the answers beside it need no more.
    let mut ends = vec![0; count];
    for (conv, answered) in convs.iter().zip(&answered) {
        for (j, end) in ends.iter_mut().enumerate() {
            *end = (*end).max(read(conv, answered, j)?.end as usize);
        }
    }
    ends[count - 1] = first.h as usize;
    let near = |(conv, answered): (&Conv, &Vec<usize>)| {
        (2..count).all(|j| read(conv, answered, j).is_some_and(|rows| rows.start as usize >= ends[j - 2]))
    };
    if !ascend(&ends) || !convs.iter().zip(&answered).all(near) {
        return None;
    }
    let shape = |channels: u32, height: u32, width: u32| [channels, height, width].map(|n| n as usize);
    let output = |(c, ends): (&Conv, Vec<usize>)| Order::stripes(shape(c.c_out, c.out_h(), c.out_w()), ends);
    Some((Order::stripes(shape(first.c_in, first.h, first.w), ends), convs.iter().zip(answered).map(output).collect()))
}

/// Whether no stripe that ends at these rows is empty.
fn ascend(ends: &[usize]) -> bool {
    ends.first() > Some(&0) && ends.is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of each stripe of an upload and of the answers to it.
    fn rows(conv: Conv, count: usize) -> Option<Vec<[usize; 2]>> {
        let (input, outputs) = group(&[conv], count)?;
        Some((0..count).map(|j| [input.rows(j).len(), outputs[0].rows(j).len()]).collect())
    }

    #[test]
    fn stripes_of_alexnet() {
        let first = rows(Conv::square([3, 96], 227, 11, 4, 0), 8).expect("stripes");
        assert_eq!(first[..3], [[23, 4], [32, 8], [32, 8]]);
        assert_eq!(first.iter().fold([0; 2], |sum, rows| [sum[0] + rows[0], sum[1] + rows[1]]), [227, 55]);
        let third = Conv::square([256, 384], 13, 3, 1, 1);
        assert_eq!(rows(third, 3), Some(vec![[5, 4], [4, 4], [4, 5]]));
        assert_eq!(rows(third, 4), None, "a stripe of answers would be empty");
        assert_eq!(rows(Conv { h: 1, ..Conv::square([256, 384], 13, 1, 1, 0) }, 2), None);
    }

    /// If this fails, an edge computes rows whose input it has not, or no longer.
    #[test]
    fn answers_read_their_own_stripe_and_the_one_before() {
        let mut seen = 0;
        for (h, kh, stride, pad, dilation) in [
            (40, 3, 1, 1, 1),
            (40, 5, 1, 2, 1),
            (64, 11, 1, 5, 1),
            (64, 3, 2, 1, 1),
            (57, 7, 3, 0, 1),
            (48, 3, 1, 8, 8),
            (33, 1, 1, 0, 1),
            (33, 1, 2, 0, 1),
        ] {
            let conv = Conv { dilation: [dilation; 2], ..Conv::square([2, 3], h, kh, stride, pad) };
            for count in 2..=8 {
                let Some((input, outputs)) = group(&[conv, Conv { c_out: 5, ..conv }], count) else { continue };
                for output in &outputs {
                    for j in 0..count {
                        let rows = output.rows(j);
                        let (read, _) = conv.rows(rows.start as u32..rows.end as u32).expect("reads something");
                        let before = input.rows(j.saturating_sub(1)).start;
                        assert!(read.start as usize >= before && read.end as usize <= input.rows(j).end, "{conv}, {j}");
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
