//! A plan that holds together.

use twinmask_codec::{GroupId, LayerId, Part, RoundId};
use twinmask_layer::{Geometry, Order};

use super::error::PlanError;
use super::parts::{GroupParts, LayerParts, PlanParts};
use super::stripes::Orders;

/// Bits of an answer's magnitude that `--drop-bits auto` keeps: well above what the next layer's quantization keeps.
pub const KEPT_BITS: u32 = 16;

/// One offloaded linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer(LayerParts);

impl Layer {
    /// Name from the model file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Shape.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.0.geometry
    }

    /// Its group.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.0.group
    }

    /// Width of its signed integer weights, in bits: 2 to 16.
    #[must_use]
    pub const fn w_bits(&self) -> u32 {
        self.0.w_bits as u32
    }

    /// `M`: no output can exceed this magnitude (PROTOCOL.md, "Ring and fixed point").
    #[must_use]
    pub const fn bound(&self) -> u64 {
        self.0.bound
    }
}

/// Sibling layers that read the same tensor: one quantized tensor, one ring width, one upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(GroupParts);

impl Group {
    /// Elements of the tensor.
    #[must_use]
    pub const fn in_len(&self) -> usize {
        self.0.len as usize
    }

    /// Ring width, in bits: 2 to 32.
    #[must_use]
    pub const fn k(&self) -> u32 {
        self.0.k as u32
    }

    /// Magnitude bits of the quantized tensor: 1 to 15.
    #[must_use]
    pub const fn x_bits(&self) -> u32 {
        self.0.x_bits as u32
    }

    /// Whether the quantized tensor may be negative.
    #[must_use]
    pub const fn signed(&self) -> bool {
        self.0.signed
    }

    /// Its layers, in ascending order; never none.
    #[must_use]
    pub fn layers(&self) -> &[LayerId] {
        &self.0.layers
    }
}

/// Layers, groups and rounds of one network. There is no plan that was not checked: see [`Plan::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    layers: Vec<Layer>,
    groups: Vec<Group>,
    rounds: Vec<Vec<GroupId>>,
    /// By group and by layer.
    input_orders: Vec<Order>,
    output_orders: Vec<Order>,
}

impl Plan {
    /// Checks everything that the protocol relies on: geometries, ring widths, bounds, every layer in one group and
    /// every group in one round. A plan without rounds is that of a device which keeps everything.
    ///
    /// # Errors
    /// [`PlanError`] naming the first inconsistency.
    pub fn new(parts: PlanParts) -> Result<Self, PlanError> {
        parts.check()?;
        let Orders { inputs: input_orders, outputs: output_orders } = Orders::of(&parts);
        let PlanParts { layers, groups, rounds } = parts;
        let (layers, groups) = (layers.into_iter().map(Layer).collect(), groups.into_iter().map(Group).collect());
        Ok(Self { layers, groups, rounds, input_orders, output_orders })
    }

    /// What the plan is made from, as bundles store it.
    #[must_use]
    pub fn to_parts(&self) -> PlanParts {
        PlanParts {
            layers: self.layers.iter().map(|l| l.0.clone()).collect(),
            groups: self.groups.iter().map(|g| g.0.clone()).collect(),
            rounds: self.rounds.clone(),
        }
    }

    /// All layers; the index is the layer's id.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// All groups; the index is the group's id.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Groups of each round, in ascending order; the index is the round's id.
    #[must_use]
    pub fn rounds(&self) -> &[Vec<GroupId>] {
        &self.rounds
    }

    /// Layer `l`.
    ///
    /// # Panics
    /// If there is none, as all that take an id.
    #[must_use]
    pub fn layer(&self, l: LayerId) -> &Layer {
        &self.layers[l.index()]
    }

    /// Group `g`.
    #[must_use]
    pub fn group(&self, g: GroupId) -> &Group {
        &self.groups[g.index()]
    }

    /// Ids of all layers.
    pub fn layer_ids(&self) -> impl DoubleEndedIterator<Item = LayerId> + ExactSizeIterator + Clone + use<> {
        LayerId::first(self.layers.len())
    }

    /// Ids of all rounds, in order.
    pub fn round_ids(&self) -> impl DoubleEndedIterator<Item = RoundId> + ExactSizeIterator + Clone + use<> {
        RoundId::first(self.rounds.len())
    }

    /// All layers with their ids.
    pub fn numbered_layers(&self) -> impl Iterator<Item = (LayerId, &Layer)> {
        self.layer_ids().zip(&self.layers)
    }

    /// All groups with their ids.
    pub fn numbered_groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        GroupId::first(self.groups.len()).zip(&self.groups)
    }

    /// The groups of round `r`, in ascending order.
    #[must_use]
    pub fn round(&self, r: RoundId) -> &[GroupId] {
        &self.rounds[r.index()]
    }

    /// The layers of round `r`, group by group: the order of answers.
    pub fn round_layers(&self, r: RoundId) -> impl Iterator<Item = LayerId> {
        self.round(r).iter().flat_map(|&g| self.group(g).layers()).copied()
    }

    /// Ring width of layer `l`'s group, in bits.
    #[must_use]
    pub fn k_of(&self, l: LayerId) -> u32 {
        self.group(self.layer(l).group()).k()
    }

    /// What an edge answers for layer `l`.
    #[must_use]
    pub fn answer_part(&self, l: LayerId) -> Part {
        Part { len: self.layer(l).geometry().out_len(), bits: self.k_of(l) }
    }

    /// Each share that round `r` uploads to edge B.
    #[must_use]
    pub fn upload_parts(&self, r: RoundId) -> Vec<Part> {
        self.round(r).iter().map(|&g| self.group(g)).map(|g| Part { len: g.in_len(), bits: g.k() }).collect()
    }

    /// Each share that an edge answers in round `r`.
    #[must_use]
    pub fn answer_parts(&self, r: RoundId) -> Vec<Part> {
        self.round_layers(r).map(|l| self.answer_part(l)).collect()
    }

    /// Stripes of round `r`'s upload, and of its answers.
    #[must_use]
    pub fn stripes(&self, r: RoundId) -> usize {
        self.round(r).first().map_or(1, |&g| self.input_order(g).count())
    }

    /// How the tensor of group `g` travels.
    #[must_use]
    pub fn input_order(&self, g: GroupId) -> &Order {
        &self.input_orders[g.index()]
    }

    /// How the output of layer `l` travels.
    #[must_use]
    pub fn output_order(&self, l: LayerId) -> &Order {
        &self.output_orders[l.index()]
    }

    /// Stripe `j` of each share that round `r` uploads to edge B: a frame's payload.
    #[must_use]
    pub fn upload_stripe(&self, r: RoundId, j: usize) -> Vec<Part> {
        let part = |&g: &GroupId| Part { len: self.input_order(g).stripe(j).len(), bits: self.group(g).k() };
        self.round(r).iter().map(part).collect()
    }

    /// Stripe `j` of each share that an edge answers in round `r`; without `exact` low bits are left out.
    #[must_use]
    pub fn answer_stripe(&self, r: RoundId, j: usize, exact: bool) -> Vec<Part> {
        let bits = |l| self.k_of(l) - if exact { 0 } else { self.drop_bits(l) };
        self.round_layers(r).map(|l| Part { len: self.output_order(l).stripe(j).len(), bits: bits(l) }).collect()
    }

    /// All stripes of an answer to round `r`, one after the other.
    #[must_use]
    pub fn answer_stripes(&self, r: RoundId, exact: bool) -> Vec<Part> {
        (0..self.stripes(r)).flat_map(|j| self.answer_stripe(r, j, exact)).collect()
    }

    /// `f`: low bits that layer `l`'s answers leave out with `--drop-bits auto` (PROTOCOL.md, "Dropped output bits"):
    /// as many as leave [`KEPT_BITS`] below the bound's top bit, as long as `M + 2^f < 2^(k-1)`.
    #[must_use]
    pub fn drop_bits(&self, l: LayerId) -> u32 {
        let (bound, k) = (self.layer(l).bound(), self.k_of(l));
        let mut f = (64 - bound.leading_zeros()).saturating_sub(KEPT_BITS);
        while f > 0 && bound + (1 << f) >= 1 << (k - 1) {
            f -= 1;
        }
        f
    }

    /// Multiply-accumulates of all layers.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.geometry().macs()).sum()
    }

    /// Elements uploaded and downloaded per inference.
    #[must_use]
    pub fn elements(&self) -> (u64, u64) {
        let up = self.groups.iter().map(|g| g.in_len() as u64).sum();
        (up, self.layers.iter().map(|l| l.geometry().out_len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_codec::{MAX_ROUND, packed_parts_len};
    use twinmask_layer::Fc;

    fn rounds(groups: &[&[u32]]) -> Vec<Vec<GroupId>> {
        groups.iter().map(|round| round.iter().map(|&g| GroupId::new(g)).collect()).collect()
    }

    fn parts() -> PlanParts {
        let layer = |group, inputs, outputs| LayerParts {
            name: format!("fc{group}"),
            geometry: Geometry::Fc(Fc { rows: 1, inputs, outputs }),
            group: GroupId::new(group),
            w_bits: 8,
            bound: 1000,
        };
        let ids = |layers: &[u32]| layers.iter().map(|&l| LayerId::new(l)).collect();
        let group = |len, layers: &[u32]| GroupParts { len, k: 24, x_bits: 8, signed: false, layers: ids(layers) };
        PlanParts {
            layers: vec![layer(0, 5, 7), layer(0, 5, 3), layer(1, 10, 2)],
            groups: vec![group(5, &[0, 1]), group(10, &[2])],
            rounds: rounds(&[&[0], &[1]]),
        }
    }

    #[test]
    fn lengths_follow_from_the_plan() {
        let p = Plan::new(parts()).expect("valid");
        let first = RoundId::new(0);
        assert_eq!(p.upload_parts(first), [Part { len: 5, bits: 24 }]);
        assert_eq!(p.answer_parts(first), [Part { len: 7, bits: 24 }, Part { len: 3, bits: 24 }]);
        assert_eq!(packed_parts_len(&p.answer_parts(first)), 30);
        assert_eq!(p.elements(), (15, 12));
        assert_eq!(p.macs(), 35 + 15 + 20);
    }

    #[test]
    fn dropped_bits_leave_room_for_their_error() {
        let with_bound = |bound| {
            let mut parts = parts();
            parts.layers[2].bound = bound;
            Plan::new(parts).expect("valid")
        };
        let (p, last) = (with_bound(1000), LayerId::new(2));
        assert_eq!(
            p.layer_ids().map(|l| p.drop_bits(l)).collect::<Vec<_>>(),
            [0, 0, 0],
            "nothing to spare below 16 bits"
        );
        assert_eq!(with_bound((1 << 23) - 1).drop_bits(last), 0, "no room above the bound");
        assert_eq!(with_bound((1 << 23) - 65).drop_bits(last), 6, "the bound plus 2^7 would reach 2^(k-1)");
        let p = with_bound(1 << 22);
        assert_eq!(p.drop_bits(last), 7);
        assert_eq!(p.answer_stripe(RoundId::new(1), 0, false), [Part { len: 2, bits: 17 }]);
    }

    /// What a plan is refused for, in the words that a person reads.
    #[test]
    fn contradictions_are_refused() {
        type Mutation = fn(&mut PlanParts);
        let mutations: [(Mutation, &str); 13] = [
            (|p| p.layers.clear(), "group 0: a layer does not belong to it"),
            (|p| p.layers = vec![p.layers[0].clone(); 4097], "4097 layers; 4096 are possible"),
            (|p| p.layers[0].geometry = Geometry::Fc(Fc { rows: 0, inputs: 5, outputs: 7 }), "layer fc0: "),
            (|p| p.groups[0].len = 6, "group 0: a layer does not belong to it"),
            (|p| p.groups[0].k = 1, "group 0: ring width or activation bits out of range"),
            (|p| p.groups[0].k = 33, "group 0: ring width or activation bits out of range"),
            (|p| p.groups[0].k = 10, "group 0: its ring is too narrow for a layer's bound"),
            (|p| p.groups[0].x_bits = 16, "group 0: ring width or activation bits out of range"),
            (|p| p.groups[0].layers.truncate(1), "layer fc0 is not listed by its group 0"),
            (|p| p.layers[2].group = GroupId::new(9), "layer fc1 is not listed by its group 9"),
            (|p| p.layers[1].w_bits = 17, "group 0: weight bits out of range"),
            (|p| p.rounds = rounds(&[&[0], &[1], &[0]]), "the rounds do not hold every group exactly once"),
            (|p| p.rounds = rounds(&[&[0, 1], &[]]), "the rounds do not hold every group exactly once"),
        ];
        for (mutate, words) in mutations {
            let mut parts = parts();
            mutate(&mut parts);
            let text = Plan::new(parts).expect_err(words).to_string();
            assert!(text.starts_with(&format!("inconsistent plan: {words}")), "{text}");
        }
    }

    /// If this fails, a network is imported whose frames nobody can write: the first inference panics.
    #[test]
    fn rounds_that_no_frame_holds_are_refused() {
        let fc = |name: &str, group, inputs, outputs| LayerParts {
            name: name.into(),
            geometry: Geometry::Fc(Fc { rows: 1 << 13, inputs, outputs }),
            group: GroupId::new(group),
            w_bits: 8,
            bound: 1000,
        };
        let plan = |layers: Vec<LayerParts>| {
            let group = |l: &LayerParts| GroupParts {
                len: l.geometry.in_len() as u32,
                k: 24,
                x_bits: 8,
                signed: false,
                layers: vec![LayerId::new(l.group.get())],
            };
            let groups: Vec<GroupParts> = layers.iter().map(group).collect();
            let rounds = vec![(0..groups.len() as u32).map(GroupId::new).collect()];
            Plan::new(PlanParts { layers, groups, rounds })
        };
        let half = 1 << 14;
        // 2^27 elements each way are 2^29 bytes.
        let one = plan(vec![fc("a", 0, half, 8)]).expect("half of what is possible");
        assert!(packed_parts_len(&one.upload_parts(RoundId::new(0))) < MAX_ROUND);
        plan(vec![fc("a", 0, half, 8), fc("b", 1, half - 300, 8)]).expect("just below");
        for (layers, largest) in [
            (vec![fc("a", 0, half, 8), fc("b", 1, half + 8, 8)], "b"),
            (vec![fc("a", 0, 8, half), fc("b", 1, 8, half - 8)], "a"),
            (vec![fc("only", 0, 2 * half, 8)], "only"),
            (vec![fc("only", 0, 8, 2 * half)], "only"),
        ] {
            let error = plan(layers).expect_err(largest).to_string();
            let words = format!("most of them for layer {largest}: keep that layer on the device");
            assert!(error.starts_with("round 0 moves 10") && error.contains(&words), "{error}");
        }
    }

    #[test]
    fn a_device_may_keep_everything() {
        let plan = Plan::new(PlanParts { layers: vec![], groups: vec![], rounds: vec![] }).expect("no rounds");
        assert_eq!((plan.round_ids().len(), plan.elements(), plan.macs()), (0, (0, 0), 0));
    }

    #[test]
    fn a_plan_is_what_it_was_made_from() {
        let plan = Plan::new(parts()).expect("valid");
        assert_eq!(plan.to_parts(), parts());
        assert_eq!(plan.numbered_layers().map(|(l, layer)| (l.get(), layer.name())).last(), Some((2, "fc1")));
        assert_eq!(plan.numbered_groups().map(|(g, group)| (g.get(), group.in_len())).last(), Some((1, 10)));
    }
}
