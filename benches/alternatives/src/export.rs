//! A trained network as a graph: counts its parameters and multiply-accumulates, and becomes an ONNX file (opset 17)
//! that `owner-keygen add-model` takes.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::prelude::*;
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};
use rten_onnx::protobuf::{EncodeMessage, MessageWriter, ProtobufError, ValueWriter, WriteValue};

/// What a node gives for one image.
#[derive(Debug, Clone)]
pub struct Value {
    name: String,
    /// Without the batch: `[channels, rows, columns]` or `[features]`.
    shape: Vec<usize>,
}

impl Value {
    /// `[channels, rows, columns]`; ones for what it has not.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.shape.get(i).copied().unwrap_or(1))
    }
}

/// Nodes and weights of a network for one image.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    input: Vec<usize>,
    /// Multiply-accumulates of convolutions and linear layers so far.
    pub macs: u64,
    /// Trained parameters so far; running statistics of BatchNorm are none.
    pub parameters: u64,
    /// Upsampling where the publication has it, not where it costs least.
    pub as_published: bool,
}

impl Graph {
    /// An empty graph and its input of `shape` (channels, rows, columns).
    #[must_use]
    pub fn new(shape: [usize; 3]) -> (Self, Value) {
        let input = Value { name: "input".into(), shape: shape.to_vec() };
        (Self { input: shape.to_vec(), ..Self::default() }, input)
    }

    /// Floating point operations: two for each multiply-accumulate.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * self.macs
    }

    /// A convolution padded by half its kernel.
    pub fn conv(&mut self, conv: &Conv2d, x: &Value) -> Value {
        let [out, per_group, k, _] = conv.weight.dims();
        let [_, h, w] = x.shape();
        let (stride, pad) = (conv.stride[0], k / 2);
        let shape = vec![out, (h + 2 * pad - k) / stride + 1, (w + 2 * pad - k) / stride + 1];
        self.macs += (shape.iter().product::<usize>() * per_group * k * k) as u64;
        let mut inputs = vec![x.name.clone(), self.parameter(&conv.weight)];
        inputs.extend(conv.bias.as_ref().map(|b| self.parameter(b)));
        let attributes = vec![
            ints("kernel_shape", &[k, k]),
            ints("strides", &[stride, stride]),
            ints("pads", &[pad; 4]),
            int("group", conv.groups as i64),
        ];
        self.node("Conv", inputs, attributes, shape)
    }

    /// BatchNorm with its running statistics.
    pub fn norm(&mut self, norm: &BatchNorm, x: &Value) -> Value {
        let mut inputs = vec![x.name.clone(), self.parameter(&norm.gamma), self.parameter(&norm.beta)];
        inputs.push(self.constant(norm.running_mean.value()));
        inputs.push(self.constant(norm.running_var.value()));
        let epsilon =
            AttributeProto { f: Some(norm.epsilon as f32), r#type: Some(AttributeType::FLOAT), ..named("epsilon") };
        self.node("BatchNormalization", inputs, vec![epsilon], x.shape.clone())
    }

    /// A linear layer, `x W + b`, `W` `[in, out]`.
    pub fn linear(&mut self, linear: &Linear, x: &Value) -> Value {
        let [from, to] = linear.weight.dims();
        self.macs += (from * to) as u64;
        let mut inputs = vec![x.name.clone(), self.parameter(&linear.weight)];
        inputs.extend(linear.bias.as_ref().map(|b| self.parameter(b)));
        self.node("Gemm", inputs, vec![], vec![to])
    }

    /// ReLU.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", vec![x.name.clone()], vec![], x.shape.clone())
    }

    /// LeakyReLU of slope 0.01.
    pub fn leaky_relu(&mut self, x: &Value) -> Value {
        let alpha = AttributeProto { f: Some(0.01), r#type: Some(AttributeType::FLOAT), ..named("alpha") };
        self.node("LeakyRelu", vec![x.name.clone()], vec![alpha], x.shape.clone())
    }

    /// Sum of two of one shape.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", vec![a.name.clone(), b.name.clone()], vec![], a.shape.clone())
    }

    /// 2x2 maximum pooling.
    pub fn max_pool(&mut self, x: &Value) -> Value {
        let [c, h, w] = x.shape();
        let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        self.node("MaxPool", vec![x.name.clone()], attributes, vec![c, h / 2, w / 2])
    }

    /// Mean over pixels, flat.
    pub fn mean(&mut self, x: &Value) -> Value {
        let y = self.node("GlobalAveragePool", vec![x.name.clone()], vec![], vec![x.shape[0], 1, 1]);
        self.flatten(&y)
    }

    /// All features in one row.
    pub fn flatten(&mut self, x: &Value) -> Value {
        let flat = vec![x.shape.iter().product()];
        self.node("Flatten", vec![x.name.clone()], vec![int("axis", 1)], flat)
    }

    /// Nearest-neighbour upsampling to `size`.
    pub fn upsample(&mut self, x: &Value, size: [usize; 2]) -> Value {
        let c = x.shape[0];
        let scales = vec![1.0, 1.0, size[0] as f32 / x.shape[1] as f32, size[1] as f32 / x.shape[2] as f32];
        let scales = self.tensor(vec![4], scales);
        let inputs = vec![x.name.clone(), String::new(), scales];
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        self.node("Resize", inputs, attributes, vec![c, size[0], size[1]])
    }

    /// ResNet's shortcut without parameters, as a 1x1 convolution of stride two that copies; it counts for nothing.
    pub fn option_a(&mut self, x: &Value, pad: usize) -> Value {
        let [c, h, w] = x.shape();
        let out = c + 2 * pad;
        let weight = (0..out * c).map(|i| if i / c == i % c + pad { 1.0 } else { 0.0 }).collect();
        let inputs = vec![x.name.clone(), self.tensor(vec![out, c, 1, 1], weight)];
        let attributes = vec![ints("kernel_shape", &[1, 1]), ints("strides", &[2, 2])];
        self.node("Conv", inputs, attributes, vec![out, h.div_ceil(2), w.div_ceil(2)])
    }

    /// Writes the network whose last node is `output`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, output: &Value, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        Model(self, output).encode(ValueWriter::new(&mut bytes))?;
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).with_context(|| part.display().to_string())?;
        std::fs::rename(&part, path).with_context(|| path.display().to_string())
    }

    fn node(&mut self, op: &str, input: Vec<String>, attribute: Vec<AttributeProto>, shape: Vec<usize>) -> Value {
        let name = format!("{}{}", op.to_lowercase(), self.nodes.len());
        self.nodes.push(NodeProto {
            name: Some(name.clone()),
            op_type: Some(op.into()),
            input,
            output: vec![name.clone()],
            attribute,
            domain: None,
        });
        Value { name, shape }
    }

    fn parameter<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) -> String {
        self.parameters += parameter.shape().num_elements() as u64;
        self.constant(parameter.val())
    }

    fn constant<const D: usize>(&mut self, tensor: Tensor<D>) -> String {
        let dims = tensor.dims().to_vec();
        self.tensor(dims, tensor.into_data().iter::<f32>().collect())
    }

    fn tensor(&mut self, dims: Vec<usize>, values: Vec<f32>) -> String {
        let name = format!("w{}", self.tensors.len());
        self.tensors.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.into_iter().map(|d| d as i64).collect(),
            data_type: Some(DataType::FLOAT),
            raw_data: Some(values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>().into()),
            ..Default::default()
        });
        name
    }
}

fn named(name: &str) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), r#type: Some(AttributeType::INT), ..named(name) }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&v| v as i64).collect();
    AttributeProto { ints, r#type: Some(AttributeType::INTS), ..named(name) }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.into()), r#type: Some(AttributeType::STRING), ..named(name) }
}

fn described(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dims = [1].iter().chain(shape).map(|&d| Dimension { dim_value: Some(d as i64), dim_param: None }).collect();
    let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: Some(TensorShapeProto { dim: dims }) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor), sequence: None }) }
}

/// `ModelProto`.
struct Model<'a>(&'a Graph, &'a Value);

impl EncodeMessage for Model<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_int64(1, 8)?;
        f.write_message(7, &Body(self.0, self.1))?;
        f.write_message(8, &OperatorSetIdProto { domain: Some(String::new()), version: Some(17) })
    }
}

/// `GraphProto`.
struct Body<'a>(&'a Graph, &'a Value);

impl EncodeMessage for Body<'_> {
    fn encode_fields<W: WriteValue>(&self, f: &mut MessageWriter<W>) -> Result<(), ProtobufError> {
        f.write_repeated_message(1, &self.0.nodes)?;
        f.write_string(2, "network")?;
        f.write_repeated_message(5, &self.0.tensors)?;
        f.write_message(11, &described("input", &self.0.input))?;
        f.write_message(12, &described(&self.1.name, &self.1.shape))
    }
}
