//! Bundles of earlier programs: those of this format keep loading, those of an older one are refused with the mend.

#![allow(clippy::unwrap_used)]

use ring::signature::{Ed25519KeyPair, KeyPair};
use twinmask_codec::{GroupId, LayerId};
use twinmask_layer::{Fc, Geometry};
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle, LayerScales, Rows};
use twinmask_model::container::{ContainerError, Kind, Reader, VERSION};
use twinmask_model::graph::{Element, Graph, Port, ValueId, elements};
use twinmask_model::ops::*;
use twinmask_model::plan::{GroupParts, LayerParts, Plan, PlanParts};
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use zeroize::Zeroizing;

/// The fixtures' owner.
fn owner() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// Seeded integers below `n` in magnitude.
fn numbers(seed: u64, len: usize, n: i64) -> Vec<i64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64 % (2 * n) - n
    };
    (0..len).map(|_| next()).collect()
}

fn plan() -> Plan {
    let conv = twinmask_layer::Conv::square([2, 4], 4, 3, 1, 1);
    let layer = |name: &str, geometry, group, w_bits| {
        let (name, group) = (name.into(), GroupId::new(group));
        LayerParts { name, geometry, group, w_bits, bound: 1 << 20 }
    };
    let group = |len, signed, layer| {
        let layers = vec![LayerId::new(layer)];
        GroupParts { len, k: 24, x_bits: 8, signed, layers }
    };
    let parts = PlanParts {
        layers: vec![
            layer("conv", Geometry::Conv(conv), 0, 8),
            layer("fc", Geometry::Fc(Fc { rows: 1, inputs: 4, outputs: 3 }), 1, 12),
        ],
        groups: vec![group(32, false, 0), group(4, true, 1)],
        rounds: vec![vec![GroupId::new(0)], vec![GroupId::new(1)]],
    };
    Plan::new(parts).expect("a good plan")
}

/// A network that holds every operator and every kind of it.
struct Net {
    graph: Graph,
    last: ValueId,
}

impl Net {
    fn then(&mut self, op: impl Into<Op>) -> &mut Self {
        self.with(op, &[])
    }

    fn with(&mut self, op: impl Into<Op>, more: &[ValueId]) -> &mut Self {
        let inputs = [&[self.last], more].concat();
        let name = format!("n{}", self.graph.nodes.len());
        self.last = self.graph.add_node(name.clone(), op, inputs, name).unwrap();
        self
    }

    fn constant(&mut self, shape: &[u32]) -> ValueId {
        let n = self.graph.values.len();
        let data = numbers(n as u64, elements(shape), 64).iter().map(|&v| v as f32 / 16.0).collect();
        self.graph.add_constant(format!("c{n}"), shape.to_vec(), data)
    }
}

fn window(kernel: u32, stride: u32, pad: u32) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], pad: [pad; 4], dilation: [1; 2] }
}

fn graph() -> Graph {
    let mut net = Net { graph: Graph::default(), last: 0 };
    net.last = net.graph.add_input("x", vec![1, 2, 4, 4], Element::F32);
    let ids = net.graph.add_input("ids", vec![1, 3], Element::I64);
    net.graph.add_input("mask", vec![1], Element::I32);
    net.then(Unary::Relu).then(Linear { layer: LayerId::new(0), shape: vec![1, 4, 4, 4] });
    for f in [
        Unary::Clip { min: -1.0, max: 6.0 },
        Unary::LeakyRelu { alpha: 0.5 },
        Unary::Elu { alpha: 1.5 },
        Unary::Sigmoid,
        Unary::HardSigmoid { alpha: 0.25, beta: 0.5 },
        Unary::HardSwish,
        Unary::Tanh,
        Unary::Gelu { tanh: true },
        Unary::Erf,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Abs,
        Unary::Neg,
        Unary::Reciprocal,
        Unary::Softplus,
    ] {
        net.then(f);
    }
    let per_channel = net.constant(&[4, 1, 1]);
    for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min, Binary::Pow, Binary::PRelu]
    {
        net.with(f, &[per_channel]);
    }
    let (weights, bias) = (net.constant(&[4, 1, 3, 3]), net.constant(&[4]));
    net.with(Conv { window: window(3, 1, 1), groups: 4 }, &[weights, bias]);
    net.with(ConvTranspose { window: window(3, 1, 1), output_padding: [0; 2], groups: 4 }, &[weights]);
    net.then(Pool { window: window(2, 2, 0), kind: PoolKind::Max, ceil: true });
    let kind = PoolKind::Average { count_include_pad: true };
    net.then(Pool { window: window(3, 1, 1), kind, ceil: false });
    for (mode, coordinates) in [
        (ResizeMode::Linear, Coordinates::HalfPixel),
        (ResizeMode::Nearest(NearestRounding::RoundPreferFloor), Coordinates::PytorchHalfPixel),
        (ResizeMode::Nearest(NearestRounding::RoundPreferCeil), Coordinates::AlignCorners),
        (ResizeMode::Nearest(NearestRounding::Floor), Coordinates::Asymmetric),
        (ResizeMode::Nearest(NearestRounding::Ceil), Coordinates::Asymmetric),
    ] {
        net.then(Resize { mode, coordinates, scale: vec![1.0; 4], shape: vec![1, 4, 2, 2] });
    }
    for mode in [PadMode::Constant(1.5), PadMode::Reflect, PadMode::Edge] {
        net.then(Pad { before: vec![0, 0, 1, 0], after: vec![0; 4], mode });
    }
    net.then(Slice { start: vec![0, 0, 4, 0], step: vec![1, 1, -2, 1], size: vec![1, 4, 2, 2] });
    net.then(Softmax { axis: 1, log: true }).then(Normalize { axes: vec![2, 3], epsilon: 0.5 });
    net.then(Lrn { size: 3, alpha: 0.5, beta: 0.75, bias: 1.0 }).then(Transpose { perm: vec![0, 1, 3, 2] });
    let half = net.last;
    net.with(Concat { axis: 2 }, &[half]).with(MatMul, &[half]);
    for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::L2] {
        net.then(Reduce { kind, axes: vec![3], keep_dims: true });
    }
    net.then(Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: false });
    let dense = net.constant(&[4, 4]);
    net.with(Dense, &[dense, bias]).then(Expand { shape: vec![2, 4] });
    net.then(Reduce { kind: ReduceKind::Mean, axes: vec![0], keep_dims: false }).then(Reshape { shape: vec![1, 4] });
    let (yes, no) = (net.constant(&[4]), net.constant(&[4]));
    net.with(Where, &[yes, no]);
    let before = net.last;
    net.last = net.constant(&[8, 4]);
    net.with(Gather { axis: 0 }, &[ids]);
    let rows = net.last;
    net.last = before;
    net.then(ArgMax { axis: 1, keep_dims: true, last: true });
    let index = net.last;
    net.last = before;
    net.then(Linear { layer: LayerId::new(1), shape: vec![1, 3] });
    net.graph.outputs = vec![Port::f32(net.last), Port { value: index, element: Element::I64 }, Port::f32(rows)];
    net.graph
}

fn bundles() -> (EdgeBundle, DeviceBundle) {
    let plan = plan();
    let weights =
        |l: usize| numbers(l as u64, plan.layers()[l].geometry().weight_len(), 100).iter().map(|&w| w as i16).collect();
    let weights: Vec<Vec<i16>> = (0..2).map(weights).collect();
    let edge = EdgeBundle { model: "frozen".into(), version: 3, plan: plan.clone(), weights };
    let digest = edge.write(&owner()).1;
    let bytes = |seed, n| numbers(seed, n, 128).iter().map(|&v| v as u8).collect::<Vec<_>>();
    let rows = |l: usize| {
        let fan_in = plan.layers()[l].geometry().fan_in();
        Rows {
            channels: vec![0, 2],
            weights: [0, 2].map(|c| edge.weights[l][c * fan_in..][..fan_in].to_vec()).concat(),
        }
    };
    let scales = |n: usize, bias: bool| LayerScales { scales: vec![0.125; n], bias: bias.then(|| vec![0.5; n]) };
    let model = DeviceModel {
        model: "frozen".into(),
        version: 3,
        digest,
        profile: Profile::Compact,
        plan: plan.clone(),
        graph: graph(),
        layers: vec![scales(4, true), scales(3, false)],
        preprocess: Preprocess::preset("imagenet").unwrap(),
        labels: ["cat", "dog", "owl"].map(String::from).to_vec(),
        threshold: Some(0.25),
    };
    let device = DeviceBundle {
        model,
        issued: 0,
        key: Zeroizing::new(bytes(10, 32).try_into().unwrap()),
        s_out: vec![Zeroizing::new(bytes(11, 3 * 64)), Zeroizing::new(bytes(12, 3 * 3))],
        rows: (0..2).map(rows).collect(),
        projections: vec![Zeroizing::new((1..=18).collect()), Zeroizing::new((1..=4).collect())],
    };
    (edge, device)
}

fn fixture(format: u16, name: &str) -> String {
    format!("{}/tests/fixtures/format-{format}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(format: u16, name: &str) -> Vec<u8> {
    std::fs::read(fixture(format, name)).unwrap()
}

fn public_key() -> [u8; 32] {
    owner().public_key().as_ref().try_into().unwrap()
}

/// Writes the fixtures of a new format, once: `TWINMASK_FREEZE=1 cargo test -p twinmask-model --test format`.
fn freeze() {
    let (edge, device) = bundles();
    std::fs::create_dir_all(fixture(VERSION, "")).unwrap();
    for (name, bytes) in [
        ("edge.twm", edge.write(&owner()).0),
        ("device.twm", device.write(&owner()).to_vec()),
        ("owner.pub", public_key().into()),
    ] {
        let path = fixture(VERSION, name);
        assert!(!std::path::Path::new(&path).exists(), "{path} is frozen: raise VERSION");
        std::fs::write(path, bytes).unwrap();
    }
}

/// If this fails, bundles in the field can no longer be read, or no longer mean what they meant.
#[test]
fn bundles_of_this_format_keep_loading() {
    if std::env::var_os("TWINMASK_FREEZE").is_some() {
        freeze();
    }
    let owner_key: [u8; 32] = read(VERSION, "owner.pub").try_into().unwrap();
    let (edge_bytes, device_bytes) = (read(VERSION, "edge.twm"), read(VERSION, "device.twm"));
    let (edge, digest) = EdgeBundle::read(&edge_bytes, &owner_key).unwrap();
    let device = DeviceBundle::read(&device_bytes, &owner_key).unwrap();
    let (expected_edge, expected_device) = bundles();
    assert_eq!((&edge, digest), (&expected_edge, device.model.digest));
    assert!(device.model == expected_device.model && device.rows == expected_device.rows);
    assert_eq!(device.key, expected_device.key);
    assert_eq!((&device.s_out, &device.projections), (&expected_device.s_out, &expected_device.projections));
    // Section by section: how well zstd compresses is not part of the format.
    for (kind, frozen, anew) in [
        (Kind::Edge, &edge_bytes, edge.write(&owner()).0),
        (Kind::Device, &device_bytes, device.write(&owner()).to_vec()),
    ] {
        let (frozen, anew) =
            (Reader::open(frozen, kind, &owner_key).unwrap(), Reader::open(&anew, kind, &owner_key).unwrap());
        assert!(frozen.names().count() >= 3 && frozen.names().eq(anew.names()));
        for name in frozen.names() {
            assert_eq!(frozen.section(name).unwrap(), anew.section(name).unwrap(), "section {name}");
        }
    }
}

/// If this fails, a device cannot tell an older bundle from a newer one.
#[test]
fn a_device_bundle_says_when_it_was_issued() {
    let mut device = bundles().1;
    for issued in [1, 1_795_201_325, u64::MAX] {
        device.issued = issued;
        assert_eq!(DeviceBundle::read(&device.write(&owner()), &public_key()).unwrap().issued, issued);
    }
}

/// If this fails, whoever updates the programs before the bundles is not told what to do.
#[test]
fn bundles_of_format_1_are_refused_with_the_mend() {
    let owner_key: [u8; 32] = read(1, "owner.pub").try_into().unwrap();
    let edge = EdgeBundle::read(&read(1, "edge.twm"), &owner_key).map(|_| ()).unwrap_err();
    let device = DeviceBundle::read(&read(1, "device.twm"), &owner_key).map(|_| ()).unwrap_err();
    for error in [edge, device] {
        assert!(matches!(error, ContainerError::Older(1)));
        assert_eq!(
            error.to_string(),
            "is a bundle of format 1; this program reads format 2: \
             issue it anew with this version's owner-keygen add-model / add-device"
        );
    }
    let mut newer = read(VERSION, "edge.twm");
    newer[4..6].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let error = EdgeBundle::read(&newer, &owner_key).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("format 3") && error.contains("matching release"), "{error}");
}

/// If this fails, a number in bundles has changed its meaning: give a new variant a fresh number, and add its line
/// here.
#[test]
fn numbers_are_stable_and_distinct() {
    type Tags = &'static [(u32, &'static str)];
    let tables: [(Tags, &[&str]); 9] = [
        (
            Op::TAGS,
            &[
                "Linear",
                "Conv",
                "ConvTranspose",
                "Dense",
                "MatMul",
                "Unary",
                "Binary",
                "Pool",
                "Reduce",
                "ArgMax",
                "Softmax",
                "Normalize",
                "Lrn",
                "Concat",
                "Reshape",
                "Transpose",
                "Pad",
                "Slice",
                "Expand",
                "Resize",
                "Where",
                "Gather",
            ],
        ),
        (
            Unary::TAGS,
            &[
                "Relu",
                "Clip",
                "LeakyRelu",
                "Elu",
                "Sigmoid",
                "HardSigmoid",
                "HardSwish",
                "Tanh",
                "Gelu",
                "Erf",
                "Exp",
                "Log",
                "Sqrt",
                "Abs",
                "Neg",
                "Reciprocal",
                "Softplus",
            ],
        ),
        (Binary::TAGS, &["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"]),
        (PoolKind::TAGS, &["Max", "Average"]),
        (ReduceKind::TAGS, &["Mean", "Sum", "Max", "Min", "L2"]),
        (PadMode::TAGS, &["Constant", "Reflect", "Edge"]),
        (ResizeMode::TAGS, &["Linear", "Nearest"]),
        (NearestRounding::TAGS, &["RoundPreferFloor", "RoundPreferCeil", "Floor", "Ceil"]),
        (Coordinates::TAGS, &["HalfPixel", "PytorchHalfPixel", "AlignCorners", "Asymmetric"]),
    ];
    for (tags, names) in tables {
        let expected: Vec<(u32, &str)> = (1..).zip(names.iter().copied()).collect();
        assert_eq!(tags, expected);
    }
    assert_eq!(Element::TAGS, [(1, "F32"), (6, "I32"), (7, "I64")]);
}

#[test]
fn the_number_is_what_is_written_and_unknown_ones_are_refused() {
    let bytes = twinmask_codec::encode(&Op::from(Unary::Clip { min: -1.0, max: 2.0 }));
    let expected = [&6u32.to_le_bytes()[..], &2u32.to_le_bytes(), &(-1f32).to_le_bytes(), &2f32.to_le_bytes()].concat();
    assert_eq!(bytes, expected);
    let element = twinmask_codec::encode(&Element::I64);
    assert_eq!(element, 7u32.to_le_bytes());
    let refused = |bytes: &[u8]| twinmask_codec::decode::<Op, 1024>(bytes).unwrap_err().to_string();
    for tag in [0u32, 9999, u32::MAX] {
        let error = refused(&tag.to_le_bytes());
        let named = error.starts_with(&format!("operator number {tag} is not known"));
        assert!(named && error.contains("install the matching release"), "{error}");
    }
    let error = refused(&[6u32.to_le_bytes(), 77u32.to_le_bytes()].concat());
    assert!(error.starts_with("function of one operand number 77 is not known"), "{error}");
}

/// If this fails, the frozen bundle lacks an operator, so nothing holds how that is stored.
#[test]
fn the_fixture_holds_every_operator() {
    let held: std::collections::BTreeSet<&str> = graph().nodes.iter().map(|n| tag_name(&n.op)).collect();
    let missing: Vec<_> = Op::TAGS.iter().map(|(_, name)| *name).filter(|name| !held.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The variant's name, as the table of numbers has it.
fn tag_name(op: &Op) -> &'static str {
    let text = format!("{op:?}");
    let name = text.split(['(', ' ', '{']).next().expect("not empty").to_owned();
    Op::TAGS.iter().map(|(_, n)| *n).find(|n| *n == name).unwrap_or_else(|| panic!("{name} has no number"))
}
