//! The graph IR: what an imported network is turned into, and what the device executes.
//!
//! Every value is an f32 tensor of a static shape with batch 1 (row-major, NCHW for images). Every node has one
//! output. Nodes stand in topological order. The owner's partition replaces constant-weight layers by
//! [`Op::Linear`] holes; everything else runs on the device.

mod compact;

use std::collections::BTreeMap;

pub use compact::{Disconnected, compact};
use serde::{Deserialize, Serialize};

/// Index of a value in [`Graph::values`].
pub type ValueId = u32;

/// A named tensor of known shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Name from the model file, for messages.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<u32>,
}

impl Value {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        elements(&self.shape)
    }

    /// Whether a dimension is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Product of the dimensions, saturating.
#[must_use]
pub fn elements(shape: &[u32]) -> usize {
    shape.iter().fold(1usize, |n, &d| n.saturating_mul(d as usize))
}

/// One operator application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name from the model file, for messages.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Result.
    pub output: ValueId,
}

/// Window of a convolution, pooling or transposed convolution; 1-D tensors `[1, c, l]` are treated as `[1, c, 1, l]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [u32; 2],
    /// Steps down and right.
    pub stride: [u32; 2],
    /// Padding at top, left, bottom, right.
    pub pad: [u32; 4],
    /// Distance of taps down and right.
    pub dilation: [u32; 2],
}

/// Elementwise functions of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum Unary {
    Relu,
    Clip { min: f32, max: f32 },
    LeakyRelu { alpha: f32 },
    Elu { alpha: f32 },
    Sigmoid,
    HardSigmoid { alpha: f32, beta: f32 },
    HardSwish,
    Tanh,
    Gelu { tanh: bool },
    Erf,
    Exp,
    Log,
    Sqrt,
    Abs,
    Neg,
    Reciprocal,
    Softplus,
}

/// Elementwise functions of two operands with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    /// `x` if positive, else `slope * x`.
    PRelu,
}

/// What a pooling window keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// The maximum; padding never wins.
    Max,
    /// The mean over the taps inside the input, or over the padded window (`count_include_pad`).
    Average {
        /// Whether padding counts as zeros.
        count_include_pad: bool,
    },
}

/// How axes are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum ReduceKind {
    Mean,
    Sum,
    Max,
    Min,
    L2,
}

/// What stands outside a padded tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum PadMode {
    /// This value.
    Constant(f32),
    /// The tensor mirrored, its edge not repeated.
    Reflect,
    /// The tensor's edge repeated.
    Edge,
}

/// Interpolation of [`Op::Resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum ResizeMode {
    Linear,
    Nearest(NearestRounding),
}

/// Rounding of nearest-neighbour coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum NearestRounding {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How an output coordinate is mapped into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named and defined as in the ONNX operator set")]
pub enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// Operators of the IR. Semantics are those of the ONNX operator of the same name unless said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Offloaded linear layer, bias included; input x.
    Linear {
        /// Index of the layer in the plan.
        layer: u32,
        /// Output shape, checked against the plan's geometry.
        shape: Vec<u32>,
    },
    /// Inputs x `[1, c, h, w]` or `[1, c, l]`, w `[c_out, c / groups, kh, kw]`, optional b `[c_out]`.
    Conv {
        /// Kernel window.
        window: Window,
        /// Channel groups.
        groups: u32,
    },
    /// Inputs x `[1, c, h, w]`, w `[c, c_out / groups, kh, kw]`, optional b `[c_out]`.
    ConvTranspose {
        /// Kernel window; padding is cut from the output.
        window: Window,
        /// Rows and columns added at bottom and right.
        output_padding: [u32; 2],
        /// Channel groups.
        groups: u32,
    },
    /// Fully connected: x `[.., in]`, w `[out, in]`, optional b `[out]` -> `[.., out]`.
    Dense,
    /// Product of two activations, numpy broadcasting of the leading axes.
    MatMul,
    /// Elementwise function of one operand.
    Unary(Unary),
    /// Elementwise function of two operands, broadcast.
    Binary(Binary),
    /// Pooling of `[1, c, h, w]` or `[1, c, l]`.
    Pool {
        /// Window.
        window: Window,
        /// What is kept.
        kind: PoolKind,
        /// Whether a last, partial window counts.
        ceil: bool,
    },
    /// Reduction over `axes` (sorted, distinct).
    Reduce {
        /// How.
        kind: ReduceKind,
        /// Which axes.
        axes: Vec<u32>,
        /// Whether reduced axes stay as 1.
        keep_dims: bool,
    },
    /// Index of the first (or last) maximum along `axis`, as f32.
    ArgMax {
        /// Which axis.
        axis: u32,
        /// Whether the axis stays as 1.
        keep_dims: bool,
        /// Whether the last of equal maxima wins.
        last: bool,
    },
    /// Softmax (or its logarithm) along `axis`.
    Softmax {
        /// Which axis.
        axis: u32,
        /// Whether the logarithm is taken.
        log: bool,
    },
    /// `(x - mean) / sqrt(variance + epsilon)` over `axes`; scale and shift follow as Mul and Add.
    Normalize {
        /// Which axes share mean and variance.
        axes: Vec<u32>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Local response normalization across channels.
    Lrn {
        /// Channels in the window.
        size: u32,
        /// Scale.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Added inside the power.
        bias: f32,
    },
    /// Joins the inputs along `axis`.
    Concat {
        /// Which axis.
        axis: u32,
    },
    /// Same elements, new shape.
    Reshape {
        /// New shape.
        shape: Vec<u32>,
    },
    /// Permutes the axes.
    Transpose {
        /// Output axis i is input axis `perm[i]`.
        perm: Vec<u32>,
    },
    /// Adds elements around the tensor, per axis.
    Pad {
        /// Elements before, per axis.
        before: Vec<u32>,
        /// Elements after, per axis.
        after: Vec<u32>,
        /// What they hold.
        mode: PadMode,
    },
    /// Strided sub-tensor: along axis i, `size[i]` elements from `start[i]` in steps of `step[i]` (never 0).
    Slice {
        /// First element, per axis.
        start: Vec<u32>,
        /// Step, per axis; may be negative.
        step: Vec<i32>,
        /// Elements, per axis.
        size: Vec<u32>,
    },
    /// Numpy broadcast to `shape`.
    Expand {
        /// New shape.
        shape: Vec<u32>,
    },
    /// Resampling to `shape`; `scale[i]` is the factor of axis i as the file gives it.
    Resize {
        /// Interpolation.
        mode: ResizeMode,
        /// Coordinate mapping.
        coordinates: Coordinates,
        /// Scale per axis.
        scale: Vec<f32>,
        /// Output shape.
        shape: Vec<u32>,
    },
}

impl Op {
    /// The operator's name, for messages and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "Linear",
            Self::Conv { .. } => "Conv",
            Self::ConvTranspose { .. } => "ConvTranspose",
            Self::Dense => "Gemm",
            Self::MatMul => "MatMul",
            Self::Unary(_) => "Unary",
            Self::Binary(_) => "Binary",
            Self::Pool { kind: PoolKind::Max, .. } => "MaxPool",
            Self::Pool { .. } => "AveragePool",
            Self::Reduce { .. } => "Reduce",
            Self::ArgMax { .. } => "ArgMax",
            Self::Softmax { .. } => "Softmax",
            Self::Normalize { .. } => "Normalize",
            Self::Lrn { .. } => "LRN",
            Self::Concat { .. } => "Concat",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Pad { .. } => "Pad",
            Self::Slice { .. } => "Slice",
            Self::Expand { .. } => "Expand",
            Self::Resize { .. } => "Resize",
        }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// All tensors.
    pub values: Vec<Value>,
    /// All nodes, in topological order.
    pub nodes: Vec<Node>,
    /// The network's input.
    pub input: ValueId,
    /// The network's outputs.
    pub outputs: Vec<ValueId>,
    /// Data of constant values. Stored beside the graph in bundles, not in its encoding.
    #[serde(skip)]
    pub constants: BTreeMap<ValueId, Vec<f32>>,
}

impl Graph {
    /// The value `id`.
    ///
    /// # Panics
    /// If there is none; graphs from outside pass [`check`](crate::infer::check) first.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id as usize]
    }

    /// Shape of the value `id`.
    #[must_use]
    pub fn shape(&self, id: ValueId) -> &[u32] {
        &self.value(id).shape
    }

    /// Adds a value and returns its id.
    pub fn add_value(&mut self, name: impl Into<String>, shape: Vec<u32>) -> ValueId {
        self.values.push(Value { name: name.into(), shape });
        (self.values.len() - 1) as ValueId
    }

    /// Adds a constant and returns its id.
    pub fn add_constant(&mut self, name: impl Into<String>, shape: Vec<u32>, data: Vec<f32>) -> ValueId {
        let id = self.add_value(name, shape);
        self.constants.insert(id, data);
        id
    }

    /// Appends a node whose output shape is inferred, and returns the output's id.
    ///
    /// # Errors
    /// [`InferError`](crate::infer::InferError) when the operands do not fit the operator.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: Vec<ValueId>,
        output_name: impl Into<String>,
    ) -> Result<ValueId, crate::infer::InferError> {
        let name = name.into();
        let shapes: Vec<&[u32]> = inputs.iter().map(|&i| self.shape(i)).collect();
        let shape = crate::infer::infer(&op, &shapes).map_err(|e| e.at(&name))?;
        let output = self.add_value(output_name, shape);
        self.nodes.push(Node { name, op, inputs, output });
        Ok(output)
    }
}
