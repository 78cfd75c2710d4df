//! Graphs run segment by segment.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use twinmask_codec::LayerId;
use twinmask_model::graph::{Element, Graph, Port};
use twinmask_model::ops::*;

use super::tests::Random;
use super::*;

/// input -> relu -> { layer 0, layer 1 }; their sum doubled -> layer 2; + input + constant -> output.
fn network() -> (Arc<Program>, [u32; 6]) {
    let mut g = Graph::default();
    let input = g.add_input("input", vec![1, 4], Element::F32);
    let linear = |layer| Op::Linear(Linear { layer: LayerId::new(layer), shape: vec![1, 4] });
    let relu = g.add_node("relu", Op::Unary(Unary::Relu), vec![input], "r").unwrap();
    let a = g.add_node("a", linear(0), vec![relu], "a").unwrap();
    let b = g.add_node("b", linear(1), vec![relu], "b").unwrap();
    let sum = g.add_node("sum", Op::Binary(Binary::Add), vec![a, b], "sum").unwrap();
    let twice = g.add_node("twice", Op::Binary(Binary::Add), vec![sum, sum], "twice").unwrap();
    let c = g.add_node("c", linear(2), vec![twice], "c").unwrap();
    let one = g.add_constant("one", vec![4], vec![1.0, 2.0, 3.0, 4.0]);
    let shifted = g.add_node("shifted", Op::Binary(Binary::Sub), vec![one, input], "shifted").unwrap();
    let out = g.add_node("out", Op::Binary(Binary::Sub), vec![c, shifted], "out").unwrap();
    g.outputs = vec![Port::f32(out)];
    (Arc::new(Program::new(g, 1 << 20).unwrap()), [relu, a, b, twice, c, out])
}

#[test]
fn segments_are_the_rounds() {
    let (program, _) = network();
    let names = |nodes: &[usize]| nodes.iter().map(|&i| program.graph().nodes[i].name.as_str()).collect::<Vec<_>>();
    let segments: Vec<_> = program.segments().iter().map(|s| (names(&s.local), names(&s.linear))).collect();
    let expected =
        [(vec!["relu", "shifted"], vec!["a", "b"]), (vec!["sum", "twice"], vec!["c"]), (vec!["out"], vec![])];
    assert_eq!(segments, expected);
    let mut graph = program.graph().clone();
    graph.nodes.swap(0, 1);
    assert!(Program::new(graph, 1 << 20).is_err(), "not in order");
    assert!(Program::new(program.graph().clone(), 16).is_err(), "over the memory cap");
}

/// A ReLU that alone reads an answer is left to whoever puts the answer in; one beside another reader, and one that
/// does not read an answer, stay.
#[test]
fn first_relus_are_left_out() {
    let mut g = Graph::default();
    let input = g.add_input("input", vec![1, 2], Element::F32);
    let linear = |layer| Op::Linear(Linear { layer: LayerId::new(layer), shape: vec![1, 2] });
    let relu = |g: &mut Graph, name: &str, of| g.add_node(name, Op::Unary(Unary::Relu), vec![of], name).unwrap();
    let before = relu(&mut g, "before", input);
    let a = g.add_node("a", linear(0), vec![before], "a").unwrap();
    let alone = relu(&mut g, "alone", a);
    let b = g.add_node("b", linear(1), vec![alone], "b").unwrap();
    let beside = relu(&mut g, "beside", b);
    g.outputs = [beside, b].map(Port::f32).to_vec();
    let (program, outputs) = Program::new(g, 1 << 20).unwrap().without_first_relus();
    assert_eq!(outputs, [(a, alone)].into());
    let names = |nodes: &[usize]| nodes.iter().map(|&i| program.graph().nodes[i].name.as_str()).collect::<Vec<_>>();
    let local: Vec<_> = program.segments().iter().map(|s| names(&s.local)).collect();
    assert_eq!(local, [vec!["before"], vec![], vec!["beside"]]);
    let mut values = Values::new(Arc::new(program));
    values.start(&[&[1.0, -1.0]]).unwrap();
    values.run_segment(0).unwrap();
    values.set(alone, vec![2.0, 0.0]).unwrap();
    assert!(values.get(before).is_err(), "its reader has been served");
    values.run_segment(1).unwrap();
    assert_eq!(values.get(alone).unwrap(), [2.0, 0.0]);
    values.set(b, vec![-1.0, 3.0]).unwrap();
    values.run_segment(2).unwrap();
    assert_eq!((values.get(beside).unwrap(), values.get(b).unwrap()), (&[0.0, 3.0][..], &[-1.0, 3.0][..]));
}

#[test]
fn inferences_run_and_free_their_tensors() {
    let (program, [relu, a, b, twice, c, out]) = network();
    let mut values = Values::new(program);
    for round in 0..3 {
        let x = round as f32;
        values.start(&[&[x, -1.0, 2.0, -3.0]]).unwrap();
        values.run_segment(0).unwrap();
        assert_eq!(values.get(relu).unwrap(), [x, 0.0, 2.0, 0.0]);
        values.set(a, vec![1.0; 4]).unwrap();
        assert!(values.get(relu).is_ok(), "its sibling still reads it");
        values.set(a, vec![1.0; 4]).unwrap();
        assert!(values.get(relu).is_ok(), "set twice is answered once");
        values.set(b, vec![0.5; 4]).unwrap();
        assert!(matches!(values.get(relu), Err(ExecError::Missing { value }) if value == "r"));
        values.run_segment(1).unwrap();
        assert_eq!(values.get(twice).unwrap(), [3.0; 4]);
        assert!(values.run_segment(2).is_err(), "c is not there yet");
        values.set(c, vec![10.0; 4]).unwrap();
        values.start(&[&[x, -1.0, 2.0, -3.0]]).unwrap();
        assert!(values.get(c).is_err(), "a new inference begins empty");
        values.run_segment(0).unwrap();
        values.set(a, vec![1.0; 4]).unwrap();
        values.set(b, vec![0.5; 4]).unwrap();
        values.run_segment(1).unwrap();
        values.set(c, vec![10.0; 4]).unwrap();
        values.run_segment(2).unwrap();
        // c - (one - input)
        assert_eq!(values.get(out).unwrap(), [9.0 + x, 7.0, 9.0, 3.0]);
    }
    let long = values.set(c, vec![0.0; 5]).unwrap_err();
    assert_eq!(long.to_string(), "tensor 'c' of shape [1, 4] cannot hold 5 elements");
    let empty = values.start(&[&[]]).unwrap_err();
    assert_eq!(empty.to_string(), "tensor 'input' of shape [1, 4] cannot hold 0 elements");
}

#[test]
fn overwriting_and_recycling_change_nothing() {
    let shape = vec![1, 8, 40, 40];
    let mut g = Graph::default();
    let mut random = Random(4);
    let whole = g.add_input("input", shape.clone(), Element::F32);
    let side = g.add_constant("side", shape.clone(), random.tensor(&shape));
    let row = g.add_constant("row", vec![40], random.tensor(&[40]));
    let mut last = vec![whole];
    for i in 0..60u32 {
        let pick = |random: &mut Random| last[random.below(last.len() as u32) as usize];
        let (x, y) = (pick(&mut random), pick(&mut random));
        let flat = Op::Reshape(Reshape { shape: shape.clone() });
        let (op, inputs) = match random.below(8) {
            0 => (Op::Unary(Unary::Relu), vec![x]),
            1 => (Op::Unary(Unary::Tanh), vec![x]),
            2 => (Op::Binary(Binary::Sub), vec![side, x]),
            3 => (Op::Binary(Binary::Sub), vec![x, row]),
            4 => (Op::Binary(Binary::Min), vec![row, x]),
            5 => (flat, vec![x]),
            6 => (Op::Transpose(Transpose { perm: vec![0, 1, 3, 2] }), vec![x]),
            _ => (Op::Binary(Binary::Sub), vec![x, y]),
        };
        last.push(g.add_node(format!("n{i}"), op, inputs, format!("v{i}")).unwrap());
    }
    g.outputs = [*last.last().unwrap(), last[20]].map(Port::f32).to_vec();
    let input = random.tensor(&shape);
    let mut all: Vec<Vec<f32>> = vec![Vec::new(); g.values.len()];
    all[whole as usize] = input.clone();
    g.constants.iter().for_each(|(&id, data)| all[id as usize] = data.clone());
    for node in &g.nodes {
        let views: Vec<View<'_>> = node.inputs.iter().map(|&i| View::new(g.shape(i), &all[i as usize])).collect();
        all[node.output as usize] = apply(&node.op, &views, g.shape(node.output)).unwrap();
    }
    let outputs = g.outputs.clone();
    let mut values = Values::new(Arc::new(Program::new(g, 1 << 30).unwrap()));
    for _ in 0..2 {
        values.start(&[&input]).unwrap();
        values.run_segment(0).unwrap();
        outputs.iter().for_each(|o| assert_eq!(values.get(o.value).unwrap(), all[o.value as usize]));
    }
}

#[test]
fn inputs_are_checked_where_they_enter() {
    let mut g = Graph::default();
    let x = g.add_input("x", vec![1, 2], Element::F32);
    let ids = g.add_input("ids", vec![1, 2], Element::I64);
    let unread = g.add_input("unread", vec![1], Element::I32);
    let sum = g.add_node("sum", Binary::Add, vec![x, ids], "sum").unwrap();
    g.outputs = vec![Port::f32(sum)];
    assert_eq!(g.inputs.iter().map(|i| i.value).collect::<Vec<_>>(), [x, ids, unread]);
    let mut values = Values::new(Arc::new(Program::new(g, 1 << 20).unwrap()));
    let largest = exact("ids", Element::I64, &[1 << 24, -(1 << 24)]).unwrap();
    values.start(&[&[0.5, -1.0], &largest, &[3.0]]).unwrap();
    values.run_segment(0).unwrap();
    assert_eq!(values.get(sum).unwrap(), [16_777_216.0, -16_777_217.0f32]);
    let refused = |values: &mut Values, ids: &[f32]| values.start(&[&[0.0; 2], ids, &[0.0]]).unwrap_err().to_string();
    for (bad, shown) in [(0.5, "0.5"), (f32::NAN, "NaN"), (f32::INFINITY, "inf"), (33_554_432.0, "33554432")] {
        let expected = format!("input 'ids' holds {shown} (element 1); it takes integers of magnitude up to 16777216");
        assert_eq!(refused(&mut values, &[7.0, bad]), expected);
    }
    let beyond = exact("ids", Element::I64, &[0, (1 << 24) + 1]).unwrap_err();
    assert!(matches!(beyond, ExecError::Integer { index: 1, element: Element::I64, .. }), "{beyond}");
    assert!(exact("ids", Element::I64, &[i64::MIN]).is_err());
    let few = values.start(&[&[0.0; 2]]).unwrap_err();
    assert_eq!(few.to_string(), "the network takes 3 inputs (x, ids, unread), not 1");
}

#[test]
fn an_index_outside_of_its_axis_names_the_node() {
    let data: Vec<f32> = (0..6).map(|v| v as f32).collect();
    let mut g = Graph::default();
    let ids = g.add_input("ids", vec![1, 2], Element::I64);
    let table = g.add_constant("table", vec![3, 2], data.clone());
    let y = g.add_node("embedding", Gather { axis: 0 }, vec![table, ids], "y").unwrap();
    g.outputs = vec![Port::f32(y)];
    let mut values = Values::new(Arc::new(Program::new(g, 1 << 20).unwrap()));
    values.start(&[&[2.0, -3.0]]).unwrap();
    values.run_segment(0).unwrap();
    assert_eq!(values.get(y).unwrap(), [4.0, 5.0, 0.0, 1.0]);
    values.start(&[&[0.0, 3.0]]).unwrap();
    let error = values.run_segment(0).unwrap_err().to_string();
    assert_eq!(error, "node 'embedding': index 3 of an axis of 3; indices are integers from -3 to 2");
}
