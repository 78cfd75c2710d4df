//! Why something cannot be executed.

use twinmask_model::graph::{Element, MAX_INTEGER};
use twinmask_model::ops::Op;

/// Why a graph or an operator cannot be executed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// An operator refuses its operands.
    #[error("node '{node}' ({op}): {reason}; import the model again with this version's owner-keygen")]
    Node {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A computed index that is none of the axis that it picks from.
    #[error("node '{node}': index {index} of an axis of {len}; indices are integers from -{len} to {}", len.saturating_sub(1))]
    Index {
        /// The node's name.
        node: String,
        /// The index.
        index: f32,
        /// Length of the axis.
        len: usize,
    },
    /// A tensor is read before it is there: a round was skipped, or its answer not put in.
    #[error("tensor '{value}' is not computed yet: run the segments in order and set the answers of each round")]
    Missing {
        /// The tensor's name.
        value: String,
    },
    /// A tensor put in from outside has the wrong size.
    #[error("tensor '{value}' of shape {shape:?} cannot hold {found} elements")]
    Length {
        /// The tensor's name.
        value: String,
        /// Its shape.
        shape: Vec<u32>,
        /// Elements given.
        found: usize,
    },
    /// More or fewer inputs than the network takes.
    #[error("the network takes {} inputs ({}), not {found}", names.len(), names.join(", "))]
    Inputs {
        /// Names of the network's inputs.
        names: Vec<String>,
        /// Inputs given.
        found: usize,
    },
    /// An element of an integer input that is no integer which f32 holds exactly.
    #[error("input '{value}' holds {found} (element {index}); it takes integers of magnitude up to {MAX_INTEGER}")]
    Integer {
        /// The input's name.
        value: String,
        /// Its element type.
        element: Element,
        /// Index of the element.
        index: usize,
        /// The element.
        found: f64,
    },
}

impl ExecError {
    pub(crate) fn of(op: &Op, reason: impl Into<String>) -> Self {
        Self::Node { node: String::new(), op: op.name(), reason: reason.into() }
    }

    /// The same error, said of the node `name`.
    pub(crate) fn at(mut self, name: &str) -> Self {
        if let Self::Node { node, .. } | Self::Index { node, .. } = &mut self {
            name.clone_into(node);
        }
        self
    }
}
