//! Builds and writes networks: nodes by short calls, weights generated only while they are written.

use std::io::Write;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};
use rten_onnx::protobuf::varint::varint_len;
use rten_onnx::protobuf::{EncodeMessage, MessageWriter, ProtobufError, ValueWriter, WriteValue};
use twinmask_ring::prf::Key;

use super::weights;

/// Operator set of the files.
const OPSET: i64 = 17;
/// Standard deviation of biases.
const BIAS: f64 = 0.02;
/// Gain for a layer before a ReLU: variance 2 / fan-in.
pub(super) const RELU: f64 = std::f64::consts::SQRT_2;
/// Gain for a layer without one.
pub(super) const LINEAR: f64 = 1.0;

/// A tensor to be filled with normal numbers.
struct Weights {
    name: String,
    dims: Vec<i64>,
    std: f64,
}

/// A convolution's numbers.
pub(super) struct Conv {
    pub(super) channels: [i64; 2],
    pub(super) kernel: [i64; 2],
    pub(super) stride: i64,
    pub(super) pad: [i64; 2],
    pub(super) gain: f64,
    pub(super) groups: i64,
}

impl Conv {
    /// `from` to `to` channels, square kernel, stride 1, no padding, gain for a ReLU.
    pub(super) fn new(from: i64, to: i64, kernel: i64) -> Self {
        Self { channels: [from, to], kernel: [kernel; 2], stride: 1, pad: [0; 2], gain: RELU, groups: 1 }
    }

    pub(super) fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn pad(self, pad: i64) -> Self {
        Self { pad: [pad; 2], ..self }
    }

    /// Padded so that stride 1 keeps the size.
    pub(super) fn same(self) -> Self {
        Self { pad: self.kernel.map(|k| k / 2), ..self }
    }

    pub(super) fn gain(self, gain: f64) -> Self {
        Self { gain, ..self }
    }

    /// Every channel on its own.
    pub(super) fn depthwise(self) -> Self {
        Self { groups: self.channels[0], ..self }
    }
}

/// A network.
pub(super) struct Net {
    nodes: Vec<NodeProto>,
    weights: Vec<Weights>,
    input: ValueInfoProto,
    output: ValueInfoProto,
}

fn tensor_type(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = shape.iter().map(|&d| Dimension { dim_value: Some(d), dim_param: None }).collect();
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor), sequence: None }) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints: ints.to_vec(),
        r#type: Some(AttributeType::INTS),
        ..Default::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(i), r#type: Some(AttributeType::INT), ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: Some(name.into()), f: Some(f), r#type: Some(AttributeType::FLOAT), ..Default::default() }
}

/// Name of the network's input.
pub(super) const INPUT: &str = "input";

impl Net {
    /// A network from `[1, ..input]` to `[1, outputs]`; its last node gives `output`.
    pub(super) fn new(input: [i64; 3], output: &str, outputs: i64) -> Self {
        let [c, h, w] = input;
        Self {
            nodes: Vec::new(),
            weights: Vec::new(),
            input: tensor_type(INPUT, &[1, c, h, w]),
            output: tensor_type(output, &[1, outputs]),
        }
    }

    fn node(&mut self, name: &str, op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            name: Some(name.into()),
            op_type: Some(op.into()),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: outputs.iter().map(|&o| o.into()).collect(),
            attribute,
            domain: None,
        });
    }

    fn simple(&mut self, name: &str, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.node(name, op, inputs, &[name], attribute);
        name.into()
    }

    /// Weights and bias of a layer, as names.
    fn layer(&mut self, name: &str, dims: Vec<i64>, gain: f64) -> [String; 2] {
        let fan_in: i64 = dims[1..].iter().product();
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        let outputs = vec![dims[0]];
        self.weights.push(Weights { name: names[0].clone(), dims, std: gain / (fan_in as f64).sqrt() });
        self.weights.push(Weights { name: names[1].clone(), dims: outputs, std: BIAS });
        names
    }

    /// Convolution.
    pub(super) fn conv(&mut self, name: &str, x: &str, c: &Conv) -> String {
        let [from, to] = c.channels;
        let [w, b] = self.layer(name, vec![to, from / c.groups, c.kernel[0], c.kernel[1]], c.gain);
        let [t, l] = c.pad;
        let mut attributes =
            vec![ints("kernel_shape", &c.kernel), ints("strides", &[c.stride; 2]), ints("pads", &[t, l, t, l])];
        attributes.extend((c.groups > 1).then(|| int("group", c.groups)));
        self.simple(name, "Conv", &[x, &w, &b], attributes)
    }

    /// Convolution and ReLU.
    pub(super) fn conv_relu(&mut self, name: &str, x: &str, c: &Conv) -> String {
        let y = self.conv(name, x, c);
        self.relu(&format!("{name}.relu"), &y)
    }

    /// The bounds of [`conv_relu6`](Self::conv_relu6), once before the first.
    pub(super) fn six(&mut self) {
        for (name, bound) in [("zero", 0.0), ("six", 6.0)] {
            self.simple(name, "Constant", &[], vec![float("value_float", bound)]);
        }
    }

    /// Convolution and ReLU6.
    pub(super) fn conv_relu6(&mut self, name: &str, x: &str, c: &Conv) -> String {
        let y = self.conv(name, x, c);
        self.simple(&format!("{name}.relu6"), "Clip", &[&y, "zero", "six"], vec![])
    }

    /// Fully connected layer.
    pub(super) fn fc(&mut self, name: &str, x: &str, inputs: i64, outputs: i64, gain: f64) -> String {
        let [w, b] = self.layer(name, vec![outputs, inputs], gain);
        self.simple(name, "Gemm", &[x, &w, &b], vec![int("transB", 1)])
    }

    pub(super) fn relu(&mut self, name: &str, x: &str) -> String {
        self.simple(name, "Relu", &[x], vec![])
    }

    /// Maximum over a square window; `pads` top, left, bottom, right.
    pub(super) fn max_pool(&mut self, name: &str, x: &str, kernel: i64, stride: i64, pads: [i64; 4]) -> String {
        let attributes = vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2]), ints("pads", &pads)];
        self.simple(name, "MaxPool", &[x], attributes)
    }

    /// Mean of each channel, flattened.
    pub(super) fn mean(&mut self, x: &str) -> String {
        let y = self.simple("gap", "GlobalAveragePool", &[x], vec![]);
        self.flatten(&y)
    }

    pub(super) fn flatten(&mut self, x: &str) -> String {
        self.simple("flat", "Flatten", &[x], vec![int("axis", 1)])
    }

    pub(super) fn lrn(&mut self, name: &str, x: &str, bias: f32) -> String {
        let attributes = vec![int("size", 5), float("alpha", 1e-4), float("beta", 0.75), float("bias", bias)];
        self.simple(name, "LRN", &[x], attributes)
    }

    pub(super) fn concat(&mut self, name: &str, parts: &[&str]) -> String {
        self.simple(name, "Concat", parts, vec![int("axis", 1)])
    }

    pub(super) fn add(&mut self, name: &str, a: &str, b: &str) -> String {
        self.simple(name, "Add", &[a, b], vec![])
    }

    /// The larger of the two halves of a vector (maxout with two pieces).
    pub(super) fn maxout(&mut self, name: &str, x: &str) -> String {
        let (a, b) = (format!("{name}.piece0"), format!("{name}.piece1"));
        self.node(&format!("{name}.split"), "Split", &[x], &[&a, &b], vec![int("axis", 1)]);
        self.simple(name, "Max", &[&a, &b], vec![])
    }

    /// Scales a vector to length 1.
    pub(super) fn unit_length(&mut self, name: &str, x: &str) -> String {
        self.simple(name, "LpNormalization", &[x], vec![int("axis", 1), int("p", 2)])
    }

    /// Writes the ONNX file.
    pub(super) fn write(mut self, arch: &str, seed: u64, out: impl Write) -> Result<(), ProtobufError> {
        if let Some(last) = self.nodes.last_mut() {
            last.output = self.output.name.iter().cloned().collect();
        }
        let key = Key::derive("zoo", &[&seed.to_le_bytes(), arch.as_bytes()]);
        Model(Graph { net: &self, key: &key }).encode(ValueWriter::new(out))
    }
}

/// `ModelProto`.
struct Model<'a>(Graph<'a>);

impl EncodeMessage for Model<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_int64(1, 8)?;
        f.write_string(2, "twinmask zoo")?;
        f.write_message(7, &self.0)?;
        f.write_message(8, &OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) })
    }
}

/// `GraphProto`.
struct Graph<'a> {
    net: &'a Net,
    key: &'a Key,
}

impl EncodeMessage for Graph<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_repeated_message(1, &self.net.nodes)?;
        f.write_string(2, "zoo")?;
        for (index, weights) in self.net.weights.iter().enumerate() {
            f.write_message(5, &Tensor { weights, index: index as u64, key: self.key })?;
        }
        f.write_message(11, &self.net.input)?;
        f.write_message(12, &self.net.output)
    }
}

/// `TensorProto` whose data exists only while it is written.
struct Tensor<'a> {
    weights: &'a Weights,
    index: u64,
    key: &'a Key,
}

impl Tensor<'_> {
    fn count(&self) -> usize {
        self.weights.dims.iter().product::<i64>() as usize
    }

    /// All fields but the data.
    fn head(&self) -> TensorProto {
        let Weights { name, dims, .. } = self.weights;
        TensorProto {
            name: Some(name.clone()),
            dims: dims.clone(),
            data_type: Some(DataType::FLOAT),
            ..Default::default()
        }
    }
}

impl EncodeMessage for Tensor<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        self.head().encode_fields(f)?;
        f.write_bytes(9, &weights::normal(self.key, self.index, self.count(), self.weights.std))
    }

    /// Without generating the data: a tag of one byte, the length, the data.
    fn encoded_len(&self) -> Result<u64, ProtobufError> {
        let bytes = self.count() as u64 * 4;
        Ok(self.head().encoded_len()? + 1 + varint_len(bytes) as u64 + bytes)
    }
}
