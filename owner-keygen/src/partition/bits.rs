//! The widths of each group's numbers (PROTOCOL.md, "Ring and fixed point").

use twinmask_model::ring_plan::{self, FloatWeights, GroupBits, Profile};

use super::cut::Cut;
use super::error::PartitionError;
use super::layout::{Layout, Siblings};

/// Chooses the widths of each group of `layout`.
///
/// # Errors
/// [`PartitionError::Ring`] naming a group's first layer.
pub(super) fn choose(cut: &Cut, layout: &Layout, profile: Profile) -> Result<Vec<GroupBits>, PartitionError> {
    let traffic: Vec<u64> = layout.groups().iter().map(|group| traffic(cut, group)).collect();
    let groups = layout.groups().iter().zip(ring_plan::widths(profile, &traffic));
    let bits = |(group, width): (&Siblings, u32)| {
        let weights: Vec<FloatWeights<'_>> = group.layers().iter().map(|&l| cut.layer(l).weights()).collect();
        let layer = || cut.layer(group.layers()[0]).name().to_owned();
        ring_plan::choose(&weights, group.signed(), width, profile)
            .ok_or_else(|| PartitionError::Ring { layer: layer(), width })
    };
    groups.map(bits).collect()
}

/// Elements up and down.
fn traffic(cut: &Cut, group: &Siblings) -> u64 {
    let down: usize = group.layers().iter().map(|&l| cut.layer(l).geometry().out_len()).sum();
    (group.len() + down) as u64
}
