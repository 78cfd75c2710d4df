//! Small ONNX files, node by node.

use std::cell::RefCell;
use std::path::Path;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

use twinmask_testkit::numbers;

/// A network being written; tensors go by name.
pub struct Network {
    input: Vec<i64>,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

impl Network {
    /// A network whose input, `x`, has this shape.
    #[must_use]
    pub fn new(input: &[i64]) -> Network {
        Network { input: input.to_vec(), nodes: vec![], weights: vec![] }
    }

    /// Seeded weights of about unit gain for the given fan-in; gives their name.
    pub fn weights(&mut self, dims: &[i64], fan_in: i64) -> String {
        let name = format!("w{}", self.weights.len());
        let scale = (6.0 / fan_in as f32).sqrt();
        let data = numbers(&name, dims.iter().product::<i64>() as usize).into_iter().map(|v| v * scale).collect();
        self.constant(&name, dims, data)
    }

    /// A constant with these elements; gives its name.
    pub fn constant(&mut self, name: &str, dims: &[i64], data: Vec<f32>) -> String {
        self.weights.push(TensorProto {
            name: Some(name.into()),
            dims: dims.to_vec(),
            data_type: Some(DataType::FLOAT),
            raw_data: Some(RefCell::new(data.iter().flat_map(|v| v.to_le_bytes()).collect())),
            ..Default::default()
        });
        name.into()
    }

    /// A node with integer and integer list attributes (a list of one is a list; see [`int`]); gives its output's name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{}{}", op.to_lowercase(), self.nodes.len());
        self.nodes.push(NodeProto {
            name: Some(format!("{output}_node")),
            op_type: Some(op.into()),
            input: inputs.iter().map(|&s| s.into()).collect(),
            output: vec![output.as_str().into()],
            attribute: attributes,
            domain: None,
        });
        output
    }

    /// A convolution of `channels` (from, to) with bias; `attributes` say the rest.
    pub fn conv(
        &mut self,
        x: &str,
        channels: [i64; 2],
        kernel: &[i64],
        groups: i64,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let per_group = channels[0] / groups;
        let fan_in = per_group * kernel.iter().product::<i64>();
        let w = self.weights(&[&[channels[1], per_group], kernel].concat(), fan_in);
        let b = self.weights(&[channels[1]], 60);
        self.node("Conv", &[x, &w, &b], [attributes, vec![int("group", groups)]].concat())
    }

    /// A fully connected layer with bias.
    pub fn dense(&mut self, x: &str, inputs: i64, outputs: i64) -> String {
        let w = self.weights(&[outputs, inputs], inputs);
        let b = self.weights(&[outputs], 60);
        self.node("Gemm", &[x, &w, &b], vec![int("transB", 1)])
    }

    /// The file's bytes; `output` is the network's.
    ///
    /// # Panics
    /// If memory cannot be written.
    #[must_use]
    pub fn bytes(self, output: &str) -> Vec<u8> {
        let graph = GraphProto {
            node: self.nodes,
            initializer: self.weights,
            input: vec![value_info("x", &self.input)],
            output: vec![value_info(output, &[])],
            value_info: vec![],
        };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }],
            producer_name: Some("twinmask-tests".into()),
            ..Default::default()
        };
        model.write_buf().expect("memory takes it")
    }

    /// Writes the file; `output` is the network's.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(self, output: &str, path: &Path) {
        std::fs::write(path, self.bytes(output)).expect("writes");
    }
}

fn value_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension { dim_value: Some(d), dim_param: None };
    let shape = (!dims.is_empty()).then(|| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type, sequence: None }) }
}

/// An integer attribute.
#[must_use]
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(value), r#type: Some(AttributeType::INT), ..Default::default() }
}

/// An attribute that is a list of integers.
#[must_use]
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = Some(AttributeType::INTS);
    AttributeProto { name: Some(name.into()), ints: values.to_vec(), r#type, ..Default::default() }
}
