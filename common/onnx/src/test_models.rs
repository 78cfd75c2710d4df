//! Small ONNX files for the tests, written with rten-onnx.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::Path;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};
use twinmask_model::graph::Graph;
use twinmask_model::ops::Op;

use super::{ImportError, ImportOptions, import_bytes};

pub(super) fn value_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    typed_info(name, dims, DataType::FLOAT)
}

pub(super) fn typed_info(name: &str, dims: &[i64], element: DataType) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension { dim_value: (d > 0).then_some(d), dim_param: (d <= 0).then(|| "n".into()) };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TypeProtoTensor { elem_type: Some(element), shape });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type, sequence: None }) }
}

pub(super) fn floats(name: &str, dims: &[i64], data: Vec<f32>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(RefCell::new(data.iter().flat_map(|v| v.to_le_bytes()).collect())),
        ..Default::default()
    }
}

pub(super) fn ints(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::INT64),
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

/// Attribute values.
pub(super) enum A {
    I(i64),
    F(f32),
    S(&'static str),
    Is(Vec<i64>),
    Fs(Vec<f32>),
    T(TensorProto),
}

pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, A)>) -> NodeProto {
    let attribute = |(name, value): (&str, A)| {
        let mut a = AttributeProto { name: Some(name.into()), ..Default::default() };
        a.r#type = Some(match value {
            A::I(v) => (a.i = Some(v), AttributeType::INT).1,
            A::F(v) => (a.f = Some(v), AttributeType::FLOAT).1,
            A::S(v) => (a.s = Some(v.into()), AttributeType::STRING).1,
            A::Is(v) => (a.ints = v, AttributeType::INTS).1,
            A::Fs(v) => (a.floats = v, AttributeType::FLOATS).1,
            A::T(v) => (a.t = Some(v), AttributeType::TENSOR).1,
        });
        a
    };
    NodeProto {
        name: Some(format!("{op}_node")),
        op_type: Some(op.into()),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: outputs.iter().map(|&s| s.into()).collect(),
        attribute: attributes.into_iter().map(attribute).collect(),
        domain: None,
    }
}

/// A model from `x` to `y`.
pub(super) fn model(opset: i64, input: &[i64], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        node,
        initializer,
        input: vec![value_info("x", input)],
        output: vec![value_info("y", &[0])],
        value_info: vec![],
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        producer_name: Some("test".into()),
        ..Default::default()
    }
}

pub(super) fn load(m: &ModelProto) -> Result<Graph, ImportError> {
    import_bytes(&m.write_buf().unwrap(), Path::new("models/m.onnx"), &ImportOptions::default()).map(|i| i.graph)
}

/// Imports one node from `x` to `y` at operator set `opset`.
pub(super) fn one(
    opset: i64,
    input: &[i64],
    initializers: Vec<TensorProto>,
    op: &str,
    inputs: &[&str],
    attributes: Vec<(&str, A)>,
) -> Result<Graph, ImportError> {
    load(&model(opset, input, initializers, vec![node(op, inputs, &["y"], attributes)]))
}

/// The operators of a graph, and its output's shape.
pub(super) fn ops(g: &Graph) -> (Vec<Op>, Vec<u32>) {
    (g.nodes.iter().map(|n| n.op.clone()).collect(), g.shape(g.outputs[0].value).to_vec())
}
