//! The layout: which layers share an upload, and when each is due.

use twinmask_codec::{GroupId, LayerId};
use twinmask_model::range::non_negative;

use super::cut::Cut;

/// Groups and rounds of a cut network.
#[derive(Debug)]
pub(super) struct Layout {
    groups: Vec<Siblings>,
    rounds: Vec<Vec<GroupId>>,
}

/// The layers that read one tensor.
#[derive(Debug)]
pub(super) struct Siblings {
    len: usize,
    signed: bool,
    layers: Vec<LayerId>,
}

impl Layout {
    /// Groups the layers of `cut`, whose siblings stand together.
    pub(super) fn of(cut: &Cut) -> Self {
        let unsigned = non_negative(cut.graph());
        let (mut groups, mut rounds): (Vec<Siblings>, Vec<Vec<GroupId>>) = (Vec::new(), Vec::new());
        let mut last = None;
        for (l, layer) in cut.layers().iter().enumerate() {
            let input = layer.input();
            if last.replace(input) != Some(input) {
                let round = layer.round().index();
                rounds.resize(rounds.len().max(round + 1), vec![]);
                rounds[round].push(GroupId::at(groups.len()));
                let (len, signed) = (layer.geometry().in_len(), !unsigned[input as usize]);
                groups.push(Siblings { len, signed, layers: vec![] });
            }
            if let Some(group) = groups.last_mut() {
                group.layers.push(LayerId::at(l));
            }
        }
        Self { groups, rounds }
    }

    /// Groups by [`GroupId`].
    pub(super) fn groups(&self) -> &[Siblings] {
        &self.groups
    }

    /// Groups of each round.
    pub(super) fn rounds(&self) -> &[Vec<GroupId>] {
        &self.rounds
    }
}

impl Siblings {
    /// Elements of the tensor.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether it may be negative.
    pub(super) const fn signed(&self) -> bool {
        self.signed
    }

    /// Its layers, ascending.
    pub(super) fn layers(&self) -> &[LayerId] {
        &self.layers
    }
}
