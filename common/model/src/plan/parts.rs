//! A plan before it is checked: the form in which it stands in bundles, and in which tests make wrong ones.

use serde::{Deserialize, Serialize};
use twinmask_codec::{GroupId, LayerId, MAX_ROUND, RoundId};
use twinmask_layer::Geometry;
use twinmask_ring::{MAX_BITS, MIN_BITS, width_for};

use super::error::{GroupFault, PlanError};

/// Most layers of a plan.
pub const MAX_LAYERS: usize = 4096;

/// One offloaded linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerParts {
    /// Name from the model file.
    pub name: String,
    /// Shape.
    pub geometry: Geometry,
    /// Its group.
    pub group: GroupId,
    /// Width of its signed integer weights, in bits.
    pub w_bits: u8,
    /// `M`: no output can exceed this magnitude (PROTOCOL.md, "Ring and fixed point").
    pub bound: u64,
}

/// Sibling layers that read the same tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupParts {
    /// Elements of the tensor.
    pub len: u32,
    /// Ring width, in bits.
    pub k: u8,
    /// Magnitude bits of the quantized tensor.
    pub x_bits: u8,
    /// Whether the quantized tensor may be negative.
    pub signed: bool,
    /// Its layers, in ascending order.
    pub layers: Vec<LayerId>,
}

/// What a [`Plan`](super::Plan) is made from. May say anything; [`Plan::new`](super::Plan::new) checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanParts {
    /// Layers by [`LayerId`].
    pub layers: Vec<LayerParts>,
    /// Groups by [`GroupId`].
    pub groups: Vec<GroupParts>,
    /// Groups of each round, in ascending order.
    pub rounds: Vec<Vec<GroupId>>,
}

impl PlanParts {
    /// Checks everything that the protocol relies on: geometries, ring widths, bounds, every layer in one group and
    /// every group in one round.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        if self.layers.len() > MAX_LAYERS {
            return Err(PlanError::Layers { count: self.layers.len(), most: MAX_LAYERS });
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let name = || layer.name.clone();
            layer.geometry.validate().map_err(|source| PlanError::Geometry { layer: name(), source })?;
            let group = self.groups.get(layer.group.index());
            if !group.is_some_and(|g| g.layers.contains(&LayerId::at(i))) {
                return Err(PlanError::Unlisted { layer: name(), group: layer.group });
            }
        }
        for (g, group) in self.groups.iter().enumerate() {
            let id = GroupId::at(g);
            self.check_group(id, group).map_err(|fault| PlanError::Group { group: id, fault })?;
        }
        let mut groups: Vec<usize> = self.rounds.iter().flatten().map(|g| g.index()).collect();
        groups.sort_unstable();
        if self.rounds.iter().any(Vec::is_empty) || !groups.into_iter().eq(0..self.groups.len()) {
            return Err(PlanError::Rounds);
        }
        self.rounds.iter().enumerate().try_for_each(|(r, groups)| self.check_round(RoundId::at(r), groups))
    }

    /// What a round uploads, and what is answered, is a frame each, in whatever form its elements travel.
    fn check_round(&self, round: RoundId, groups: &[GroupId]) -> Result<(), PlanError> {
        let groups = || groups.iter().map(|g| &self.groups[g.index()]);
        let layers = || groups().flat_map(|g| &g.layers).map(|l| &self.layers[l.index()]);
        let bytes = |elements: usize| elements.saturating_mul(4);
        let up = bytes(groups().map(|g| g.len as usize).fold(0, usize::saturating_add));
        let down = bytes(layers().map(|l| l.geometry.out_len()).fold(0, usize::saturating_add));
        let most_of_it = |moves: fn(&Geometry) -> usize| layers().max_by_key(|l| moves(&l.geometry));
        let (bytes, largest) =
            if up >= down { (up, most_of_it(Geometry::in_len)) } else { (down, most_of_it(Geometry::out_len)) };
        match largest {
            Some(largest) if bytes > MAX_ROUND => {
                let layer = largest.name.clone();
                Err(PlanError::TooLarge { round, layer, bytes, most: MAX_ROUND })
            }
            _ => Ok(()),
        }
    }

    fn check_group(&self, id: GroupId, group: &GroupParts) -> Result<(), GroupFault> {
        if !(MIN_BITS..=MAX_BITS).contains(&u32::from(group.k)) || !(1..=15).contains(&group.x_bits) {
            return Err(GroupFault::Bits);
        }
        if group.layers.is_empty() || group.layers.windows(2).any(|w| w[0] >= w[1]) {
            return Err(GroupFault::Order);
        }
        for &l in &group.layers {
            let layer = self.layers.get(l.index()).ok_or(GroupFault::Stranger)?;
            if layer.group != id || layer.geometry.in_len() != group.len as usize {
                return Err(GroupFault::Stranger);
            }
            if width_for(layer.bound) > u32::from(group.k) {
                return Err(GroupFault::Narrow);
            }
            if !(2..=16).contains(&layer.w_bits) {
                return Err(GroupFault::WeightBits);
            }
        }
        Ok(())
    }
}
