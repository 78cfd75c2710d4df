//! The widths of each group's numbers (PROTOCOL.md, "Ring and fixed point").

use twinmask_layer::Geometry;
use twinmask_model::ring_plan::{self, FloatWeights, GroupBits, Load, Profile};

use super::cut::Cut;
use super::error::PartitionError;
use super::layout::{Layout, Siblings};

/// Chooses the widths of each group of `layout`.
///
/// # Errors
/// [`PartitionError::Ring`] naming a group's first layer.
pub(super) fn choose(cut: &Cut, layout: &Layout, profile: Profile) -> Result<Vec<GroupBits>, PartitionError> {
    let loads: Vec<Load> = layout.groups().iter().map(|group| load(cut, group)).collect();
    let groups = layout.groups().iter().zip(ring_plan::widths(profile, &loads));
    let bits = |(group, width): (&Siblings, u32)| {
        let weights: Vec<FloatWeights<'_>> = group.layers().iter().map(|&l| cut.layer(l).weights()).collect();
        let layer = || cut.layer(group.layers()[0]).name().to_owned();
        ring_plan::choose(&weights, group.signed(), width, profile)
            .ok_or_else(|| PartitionError::Ring { layer: layer(), width })
    };
    groups.map(bits).collect()
}

fn load(cut: &Cut, group: &Siblings) -> Load {
    let geometries = || group.layers().iter().map(|&l| cut.layer(l).geometry());
    let down: usize = geometries().map(Geometry::out_len).sum();
    Load { traffic: (group.len() + down) as u64, convolves: geometries().any(|g| matches!(g, Geometry::Conv(_))) }
}
