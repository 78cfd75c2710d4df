//! The plan: what both sides of the protocol know of a network. Layers, groups of siblings that share one upload,
//! rounds, ring widths (PROTOCOL.md, "Ring and fixed point"). Everything that is sent has a length that follows
//! from it.

use serde::{Deserialize, Serialize};
use twinmask_layer::Geometry;
use twinmask_ring::{MAX_BITS, MIN_BITS};

/// Most layers of a plan.
pub const MAX_LAYERS: usize = 4096;

/// Bits of an answer's magnitude that `--drop-bits auto` keeps: well above what the next layer's quantization keeps.
pub const KEPT_BITS: u32 = 16;

/// One offloaded linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Name from the model file.
    pub name: String,
    /// Shape.
    pub geometry: Geometry,
    /// Index of its group.
    pub group: u32,
    /// Width of its signed integer weights, in bits.
    pub w_bits: u8,
    /// `M`: no output can exceed this magnitude (PROTOCOL.md, "Ring and fixed point").
    pub bound: u64,
}

/// Sibling layers that read the same tensor: one quantized tensor, one ring width, one upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Elements of the tensor.
    pub len: u32,
    /// Ring width, in bits.
    pub k: u8,
    /// Magnitude bits of the quantized tensor.
    pub x_bits: u8,
    /// Whether the quantized tensor may be negative.
    pub signed: bool,
    /// Its layers, in ascending order.
    pub layers: Vec<u32>,
}

/// Layers, groups and rounds of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Layers; the index is the layer id of the protocol.
    pub layers: Vec<Layer>,
    /// Groups; the index is the group id of the protocol.
    pub groups: Vec<Group>,
    /// Groups of each round, in ascending order.
    pub rounds: Vec<Vec<u32>>,
}

/// A plan that contradicts itself or exceeds a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("inconsistent plan: {0}")]
pub struct PlanError(String);

impl Plan {
    /// Checks everything that the protocol relies on: geometries, ring widths, bounds, every layer in one group and
    /// every group in one round.
    ///
    /// # Errors
    /// [`PlanError`] naming the first inconsistency.
    pub fn validate(&self) -> Result<(), PlanError> {
        let fail = |text: String| Err(PlanError(text));
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return fail(format!("{} layers; 1 to {MAX_LAYERS} are possible", self.layers.len()));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            layer.geometry.validate().map_err(|e| PlanError(format!("layer {}: {e}", layer.name)))?;
            let listed = self.groups.get(layer.group as usize).is_some_and(|g| g.layers.contains(&(i as u32)));
            if !listed {
                return fail(format!("layer {} is not listed by its group {}", layer.name, layer.group));
            }
        }
        for (g, group) in self.groups.iter().enumerate() {
            self.check_group(g, group)?;
        }
        let mut groups: Vec<u32> = self.rounds.iter().flatten().copied().collect();
        groups.sort_unstable();
        if self.rounds.iter().any(Vec::is_empty) || !groups.iter().copied().eq(0..self.groups.len() as u32) {
            return fail("the rounds do not hold every group exactly once".into());
        }
        Ok(())
    }

    fn check_group(&self, g: usize, group: &Group) -> Result<(), PlanError> {
        let fail = |text: &str| Err(PlanError(format!("group {g}: {text}")));
        if !(MIN_BITS..=MAX_BITS).contains(&u32::from(group.k)) || !(1..=15).contains(&group.x_bits) {
            return fail("ring width or activation bits out of range");
        }
        if group.layers.is_empty() || group.layers.windows(2).any(|w| w[0] >= w[1]) {
            return fail("its layers are not ascending");
        }
        for &l in &group.layers {
            match self.layers.get(l as usize) {
                Some(layer) if layer.group as usize == g && layer.geometry.in_len() == group.len as usize => {
                    if twinmask_ring::width_for(layer.bound) > u32::from(group.k) {
                        return fail("its ring is too narrow for a layer's bound");
                    }
                    if !(2..=16).contains(&layer.w_bits) {
                        return fail("weight bits out of range");
                    }
                }
                _ => return fail("a layer does not belong to it"),
            }
        }
        Ok(())
    }

    /// The layers of round `r`, group by group: the order of answers.
    pub fn round_layers(&self, r: usize) -> impl Iterator<Item = usize> + '_ {
        self.rounds[r].iter().flat_map(|&g| self.groups[g as usize].layers.iter().map(|&l| l as usize))
    }

    /// Ring width of layer `l`'s group, in bits.
    #[must_use]
    pub fn k_of(&self, l: usize) -> u32 {
        u32::from(self.groups[self.layers[l].group as usize].k)
    }

    /// (elements, ring width) of each share that round `r` uploads to edge B.
    #[must_use]
    pub fn upload_parts(&self, r: usize) -> Vec<(usize, u32)> {
        self.rounds[r].iter().map(|&g| &self.groups[g as usize]).map(|g| (g.len as usize, u32::from(g.k))).collect()
    }

    /// (elements, ring width) of each share that an edge answers in round `r`.
    #[must_use]
    pub fn answer_parts(&self, r: usize) -> Vec<(usize, u32)> {
        self.round_layers(r).map(|l| (self.layers[l].geometry.out_len(), self.k_of(l))).collect()
    }

    /// `f`: low bits that layer `l`'s answers leave out with `--drop-bits auto` (PROTOCOL.md, "Dropped output bits"): as many
    /// as leave [`KEPT_BITS`] below the bound's top bit, as long as `M + 2^f < 2^(k-1)`.
    #[must_use]
    pub fn drop_bits(&self, l: usize) -> u32 {
        let (bound, k) = (self.layers[l].bound, self.k_of(l));
        let mut f = (64 - bound.leading_zeros()).saturating_sub(KEPT_BITS);
        while f > 0 && bound + (1 << f) >= 1 << (k - 1) {
            f -= 1;
        }
        f
    }

    /// (elements, width) of each share that an edge answers in round `r` when low bits are left out.
    #[must_use]
    pub fn answer_parts_dropped(&self, r: usize) -> Vec<(usize, u32)> {
        let width = |l: usize| self.k_of(l) - self.drop_bits(l);
        self.round_layers(r).map(|l| (self.layers[l].geometry.out_len(), width(l))).collect()
    }

    /// Multiply-accumulates of all layers.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.geometry.macs()).sum()
    }

    /// Elements uploaded and downloaded per inference.
    #[must_use]
    pub fn elements(&self) -> (u64, u64) {
        let up = self.groups.iter().map(|g| u64::from(g.len)).sum();
        (up, self.layers.iter().map(|l| l.geometry.out_len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_codec::packed_parts_len;
    use twinmask_layer::Fc;

    fn plan() -> Plan {
        let layer = |group, inputs, outputs| Layer {
            name: format!("fc{group}"),
            geometry: Geometry::Fc(Fc { rows: 1, inputs, outputs }),
            group,
            w_bits: 8,
            bound: 1000,
        };
        let group = |len, layers| Group { len, k: 24, x_bits: 8, signed: false, layers };
        Plan {
            layers: vec![layer(0, 5, 7), layer(0, 5, 3), layer(1, 10, 2)],
            groups: vec![group(5, vec![0, 1]), group(10, vec![2])],
            rounds: vec![vec![0], vec![1]],
        }
    }

    #[test]
    fn lengths_follow_from_the_plan() {
        let p = plan();
        p.validate().expect("valid");
        assert_eq!(p.upload_parts(0), [(5, 24)]);
        assert_eq!(p.answer_parts(0), [(7, 24), (3, 24)]);
        assert_eq!(packed_parts_len(&p.answer_parts(0)), 30);
        assert_eq!(p.elements(), (15, 12));
        assert_eq!(p.macs(), 35 + 15 + 20);
    }

    #[test]
    fn dropped_bits_leave_room_for_their_error() {
        let mut p = plan();
        assert_eq!((0..3).map(|l| p.drop_bits(l)).collect::<Vec<_>>(), [0, 0, 0], "nothing to spare below 16 bits");
        p.layers[2].bound = (1 << 23) - 1;
        assert_eq!(p.drop_bits(2), 0, "no room above the bound");
        p.layers[2].bound = (1 << 23) - 65;
        assert_eq!(p.drop_bits(2), 6, "the bound plus 2^7 would reach 2^(k-1)");
        p.layers[2].bound = 1 << 22;
        assert_eq!(p.drop_bits(2), 7);
        assert_eq!(p.answer_parts_dropped(1), [(2, 17)]);
    }

    #[test]
    fn contradictions_are_refused() {
        let mutations: [fn(&mut Plan); 10] = [
            |p| p.layers.clear(),
            |p| p.groups[0].len = 6,
            |p| p.groups[0].k = 1,
            |p| p.groups[0].k = 33,
            |p| p.groups[0].k = 10,
            |p| p.groups[0].x_bits = 16,
            |p| p.groups[0].layers = vec![0],
            |p| p.layers[2].group = 9,
            |p| p.rounds = vec![vec![0], vec![1], vec![0]],
            |p| p.rounds = vec![vec![0, 1], vec![]],
        ];
        for (i, m) in mutations.iter().enumerate() {
            let mut p = plan();
            m(&mut p);
            assert!(p.validate().is_err(), "mutation {i}");
        }
    }
}
