//! The graph IR: what an imported network is turned into, and what the device executes.
//!
//! Every value is a tensor of a static shape (row-major, NCHW for images) and computed with in f32, whatever its
//! element type outside. Every node has one output. Nodes stand in topological order. The owner's partition replaces
//! constant-weight layers by [`Linear`](crate::ops::Linear) holes; everything else runs on the device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod compact;

pub use compact::{Disconnected, compact};

pub use crate::dims::elements;
use crate::ops::Op;
use crate::tagged::tagged;

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

/// Largest magnitude up to which f32 holds every integer: what integer inputs are limited to.
pub const MAX_INTEGER: i64 = 1 << 24;

tagged! {
    /// What the elements of an input or output are outside the network; the numbers are ONNX's. Inside all are f32,
    /// which holds integers exactly up to [`MAX_INTEGER`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Element, "element type" {
        /// 32-bit floats.
        F32 = 1,
        /// 32-bit signed integers.
        I32 = 6,
        /// 64-bit signed integers.
        I64 = 7,
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::I32 => "int32",
            Self::I64 => "int64",
        })
    }
}

/// An input or output of a network. Its name and shape are the value's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The tensor.
    pub value: ValueId,
    /// What its elements are outside.
    pub element: Element,
}

impl Port {
    /// A port of floats.
    #[must_use]
    pub const fn f32(value: ValueId) -> Self {
        Self { value, element: Element::F32 }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// All tensors.
    pub values: Vec<Value>,
    /// All nodes, in topological order.
    pub nodes: Vec<Node>,
    /// The network's inputs, of distinct names.
    pub inputs: Vec<Port>,
    /// The network's outputs.
    pub outputs: Vec<Port>,
    /// Data of constant values. Stored beside the graph in bundles, not in its encoding.
    #[serde(skip)]
    pub constants: BTreeMap<ValueId, Vec<f32>>,
}

impl Graph {
    /// The value `id`.
    ///
    /// # Panics
    /// If there is none; graphs from outside pass [`check`](crate::shapes::check) first.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id as usize]
    }

    /// Shape of the value `id`.
    #[must_use]
    pub fn shape(&self, id: ValueId) -> &[u32] {
        &self.value(id).shape
    }

    /// Shape of the one f32 input, which is where pictures go; empty if there is none, or several.
    #[must_use]
    pub fn picture_shape(&self) -> &[u32] {
        let mut floats = self.inputs.iter().filter(|input| input.element == Element::F32);
        match (floats.next(), floats.next()) {
            (Some(only), None) => self.shape(only.value),
            _ => &[],
        }
    }

    /// Adds a value and returns its id.
    pub fn add_value(&mut self, name: impl Into<String>, shape: Vec<u32>) -> ValueId {
        self.values.push(Value { name: name.into(), shape });
        (self.values.len() - 1) as ValueId
    }

    /// Adds an input and returns its value's id.
    pub fn add_input(&mut self, name: impl Into<String>, shape: Vec<u32>, element: Element) -> ValueId {
        let value = self.add_value(name, shape);
        self.inputs.push(Port { value, element });
        value
    }

    /// Adds a constant and returns its id.
    pub fn add_constant(&mut self, name: impl Into<String>, shape: Vec<u32>, data: Vec<f32>) -> ValueId {
        let id = self.add_value(name, shape);
        self.constants.insert(id, data);
        id
    }
}
