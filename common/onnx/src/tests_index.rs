//! Choosing and picking by what the network computes.

#![allow(clippy::unwrap_used)]

use rten_onnx::onnx::{DataType, TensorProto};
use twinmask_model::graph::Element;
use twinmask_model::ops::{Gather, Op, Where};

use super::test_models::{A, floats, ints, load, model, node, one, ops, typed_info};

fn ones(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, vec![1.0; dims.iter().product::<i64>() as usize])
}

#[test]
fn choices() {
    let mask = || ints("m", &[3], &[1, 0, 1]);
    let low = || floats("low", &[], vec![-1e4]);
    let g = one(13, &[1, 2, 3], vec![mask(), low()], "Where", &["m", "x", "low"], vec![]).unwrap();
    assert_eq!(ops(&g), (vec![Op::Where(Where)], vec![1, 2, 3]));
    assert_eq!(g.constants[&g.nodes[0].inputs[0]], [1.0, 0.0, 1.0]);
    // A computed condition; the booleans themselves are numbers.
    let nodes =
        vec![node("Cast", &["x"], &["b"], vec![("to", A::I(9))]), node("Where", &["b", "m", "two"], &["y"], vec![])];
    let g = load(&model(13, &[1, 3], vec![mask(), ints("two", &[], &[2])], nodes)).unwrap();
    assert_eq!(ops(&g), (vec![Op::Where(Where); 2], vec![1, 3]));
    assert_eq!(g.outputs[0].element, Element::I64);
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], [1.0]);
    assert_eq!(g.constants[&g.nodes[1].inputs[2]], [2.0]);
    let wide = one(13, &[1, 3], vec![mask(), ones("w", &[1, 4])], "Where", &["m", "x", "w"], vec![]);
    assert!(wide.unwrap_err().to_string().contains("do not broadcast"));
}

#[test]
fn computed_indices() {
    let gather = |axis| Op::Gather(Gather { axis });
    let embedding = |table: TensorProto, attributes| {
        let mut m = model(13, &[1, 4], vec![table], vec![node("Gather", &["t", "x"], &["y"], attributes)]);
        m.graph.as_mut().unwrap().input = vec![typed_info("x", &[1, 4], DataType::INT32)];
        load(&m)
    };
    let g = embedding(ones("t", &[7, 3]), vec![]).unwrap();
    assert_eq!((ops(&g), g.inputs[0].element), ((vec![gather(0)], vec![1, 4, 3]), Element::I32));
    assert_eq!(g.outputs[0].element, Element::F32);
    let g = embedding(ones("t", &[2, 7, 3]), vec![("axis", A::I(-2))]).unwrap();
    assert_eq!(ops(&g), (vec![gather(1)], vec![2, 1, 4, 3]));
    let g = embedding(ints("t", &[3], &[7, 8, 9]), vec![]).unwrap();
    assert_eq!((g.outputs[0].element, &g.constants[&g.nodes[0].inputs[0]]), (Element::I64, &vec![7.0, 8.0, 9.0]));
    assert!(embedding(ones("t", &[7]), vec![("axis", A::I(1))]).unwrap_err().to_string().contains("axis 1"));
}
