#![allow(clippy::unwrap_used)]

use twinmask_model::graph::{Element, Graph, Port};
use twinmask_model::ops::{Binary, Conv, Dense, Unary, Window};
use twinmask_model::ring_plan::Profile;

use super::cut::Cut;
use super::layout::Layout;
use super::*;

/// x -> conv "a" -> ReLU -> siblings "b" and "c" -> their sum -> conv "d", and beside it depthwise "e" on x.
fn network() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", vec![1, 4, 6, 6], Element::F32);
    let conv = |g: &mut Graph, name: &str, x, groups: u32| {
        let w = g.add_constant(format!("{name}.w"), vec![4, 4 / groups, 1, 1], vec![0.5; (16 / groups) as usize]);
        let b = g.add_constant(format!("{name}.b"), vec![4], vec![0.25; 4]);
        let window = Window { kernel: [1; 2], stride: [1; 2], pad: [0; 4], dilation: [1; 2] };
        g.add_node(name, Conv { window, groups }, vec![x, w, b], format!("{name}.y")).unwrap()
    };
    let e = conv(&mut g, "e", x, 4);
    let a = conv(&mut g, "a", x, 1);
    let a = g.add_node("relu", Unary::Relu, vec![a], "r").unwrap();
    let (b, c) = (conv(&mut g, "b", a, 1), conv(&mut g, "c", a, 1));
    let sum = g.add_node("sum", Binary::Add, vec![b, c], "s").unwrap();
    let d = conv(&mut g, "d", sum, 1);
    g.outputs = [d, e].map(Port::f32).into();
    g
}

#[test]
fn siblings_share_a_group_and_rounds_follow_from_the_graph() {
    let cut = Cut::new(network(), Profile::Balanced, &Offload::All).unwrap();
    assert_eq!(cut.layers().iter().map(|l| l.name()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let layout = Layout::of(&cut);
    let ids = |g: usize| layout.groups()[g].layers().iter().map(|l| l.get()).collect::<Vec<_>>();
    assert_eq!([ids(0), ids(1), ids(2)], [vec![0], vec![1, 2], vec![3]]);
    assert_eq!(
        [0, 1, 2].map(|g| layout.groups()[g].signed()),
        [true, false, true],
        "only the ReLU's output has no sign"
    );
    assert_eq!(layout.rounds().iter().map(|r| r[0].get()).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn plan_graph_and_integers_belong_together() {
    let parts = partition(network(), Profile::Bits(20), &Offload::All).unwrap();
    assert_eq!(parts.plan.layers().iter().map(|l| l.name()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(parts.plan.groups().iter().all(|g| (19..=20).contains(&g.k())), "the ring is filled");
    twinmask_model::rounds::check(&parts.graph, &parts.plan).unwrap();
    for ((layer, weights), scales) in parts.plan.layers().iter().zip(&parts.weights).zip(&parts.layers) {
        let top = (1 << (layer.w_bits() - 1)) - 1;
        assert_eq!(weights, &vec![top; 16], "{}", layer.name());
        assert!(scales.scales.iter().all(|s| (s * f32::from(top) - 0.5).abs() < 1e-6));
        assert_eq!(scales.bias, Some(vec![0.25; 4]));
    }
    // The depthwise convolution has kept its constants, the others' are gone.
    assert_eq!(parts.graph.constants.len(), 2);
}

#[test]
fn layers_by_name() {
    let parts = partition(network(), Profile::Balanced, &Offload::Named(vec!["e".into(), "c".into()])).unwrap();
    assert_eq!(parts.plan.layers().iter().map(|l| l.name()).collect::<Vec<_>>(), ["e", "c"]);
    let unknown = partition(network(), Profile::Balanced, &Offload::Named(vec!["f".into()])).unwrap_err().to_string();
    assert_eq!(unknown, "--offload names 'f', which is no layer with constant weights; there are: e, a, b, c, d");
}

#[test]
fn networks_that_cannot_be_divided() {
    let divide = |graph, profile, offload: &Offload| partition(graph, profile, offload).unwrap_err().to_string();
    let mut plain = network();
    plain.constants.clear();
    let text = divide(plain, Profile::Balanced, &Offload::All);
    assert!(text.contains("no Conv, Gemm or MatMul with constant weights"), "{text}");
    let mut wide = Graph::default();
    let x = wide.add_input("x", vec![1, 1000], Element::F32);
    let w = wide.add_constant("w", vec![1, 1000], vec![1.0; 1000]);
    let y = wide.add_node("fc", Dense, vec![x, w], "y").unwrap();
    wide.outputs = vec![Port::f32(y)];
    let text = divide(wide, Profile::Bits(8), &Offload::All);
    assert_eq!(text, "layer 'fc' does not fit a ring of 8 bits even with 2-bit weights: choose a wider --ring");
}

#[test]
fn a_device_may_keep_everything() {
    let parts = partition(network(), Profile::Balanced, &Offload::None).unwrap();
    assert!(parts.plan.rounds().is_empty() && parts.weights.is_empty() && parts.layers.is_empty());
    assert_eq!(parts.graph.constants.len(), 10, "weights and biases of all five");
    twinmask_model::rounds::check(&parts.graph, &parts.plan).unwrap();
}

/// x -> matrix "fc0" -> matrix "fc1" -> ... of one constant of `side` x `side`, which holds `data`.
fn siamese(side: u32, layers: u32, data: Vec<f32>) -> Graph {
    let mut g = Graph::default();
    let mut x = g.add_input("x", vec![1, side], Element::F32);
    let w = g.add_constant("w", vec![side, side], data);
    for i in 0..layers {
        x = g.add_node(format!("fc{i}"), Dense, vec![x, w], format!("y{i}")).unwrap();
    }
    g.outputs = vec![Port::f32(x)];
    g
}

/// If this fails, a small file makes the owner's tool take as much memory as its layers are many.
#[test]
fn layers_of_one_constant_share_it() {
    let cut = Cut::new(siamese(8, 50, vec![0.5; 64]), Profile::Balanced, &Offload::All).unwrap();
    let first = cut.layers()[0].weights().data.as_ptr();
    assert!(cut.layers().len() == 50 && cut.layers().iter().all(|l| l.weights().data.as_ptr() == first));
    assert!(cut.graph().constants.is_empty(), "nobody else reads it");
    // One that a node of the device reads as well stays there.
    let mut graph = siamese(8, 2, vec![0.5; 64]);
    let w = graph.nodes[0].inputs[1];
    let y = graph.add_node("sum", Binary::Add, vec![graph.outputs[0].value, w], "s").unwrap();
    graph.outputs = vec![Port::f32(y)];
    let parts = partition(graph, Profile::Balanced, &Offload::All).unwrap();
    assert_eq!(parts.graph.constants.values().collect::<Vec<_>>(), [&vec![0.5; 64]]);

    // 2^28 weights four times are what edges are to hold, and the data is not looked at before that is known.
    let beyond = partition(siamese(1 << 14, 5, vec![]), Profile::Balanced, &Offload::All).unwrap_err().to_string();
    assert!(beyond.starts_with("layer 'fc4': with it the layers hold more than 1073741824 weights"), "{beyond}");
}

/// If this fails, a network is imported whose first inference panics: no frame holds that round.
#[test]
fn a_round_that_no_frame_holds_is_refused_with_the_layer() {
    let mut g = Graph::default();
    let x = g.add_input("x", vec![1, 4, 1 << 13, 1 << 13], Element::F32);
    let w = g.add_constant("w", vec![1, 4, 1, 1], vec![0.5; 4]);
    let window = Window { kernel: [1; 2], stride: [1; 2], pad: [0; 4], dilation: [1; 2] };
    let y = g.add_node("large", Conv { window, groups: 1 }, vec![x, w], "y").unwrap();
    g.outputs = vec![Port::f32(y)];
    let error = partition(g, Profile::Balanced, &Offload::All).unwrap_err().to_string();
    assert!(
        error.starts_with("round 0 moves 1073741824 bytes in one frame, of which 1065353216 are possible"),
        "{error}"
    );
    assert!(error.contains("most of them for layer large: keep that layer on the device"), "{error}");
}
