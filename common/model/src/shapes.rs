//! Shape inference, shared by the importer and the device: the device infers every shape of a graph it loads anew
//! and refuses one that does not check out.

use std::collections::BTreeSet;

use crate::dims::{MAX_RANK, MAX_TENSOR, Shape, elements};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Op;

/// A graph that does not check out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node '{node}' ({op}): {reason}")]
#[non_exhaustive]
pub struct ShapeError {
    /// Name of the node.
    pub node: String,
    /// Operator.
    pub op: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl ShapeError {
    /// The error `reason` of a part of a graph: the operator (or other part) `op` named `node`.
    #[must_use]
    pub fn new(node: impl Into<String>, op: &'static str, reason: impl Into<String>) -> Self {
        Self { node: node.into(), op, reason: reason.into() }
    }

    /// The same error, said of `node`.
    #[must_use]
    pub fn at(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }
}

/// The output shape of `op` on operands of these shapes.
///
/// # Errors
/// [`ShapeError`] without a node name (see [`ShapeError::at`]).
pub fn shape_of(op: &Op, inputs: &[&[u32]]) -> Result<Shape, ShapeError> {
    inferred(op, inputs).map_err(|reason| ShapeError::new("", op.name(), reason))
}

fn inferred(op: &Op, inputs: &[&[u32]]) -> Result<Shape, String> {
    let operator = op.operator();
    if !operator.arity().contains(&inputs.len()) {
        return Err(format!("{} operands", inputs.len()));
    }
    if let Some(empty) = inputs.iter().find(|shape| shape.contains(&0)) {
        return Err(format!("operand {empty:?} is empty"));
    }
    let shape = operator.shape(inputs)?;
    if shape.len() > MAX_RANK {
        Err(format!("rank {} is above {MAX_RANK}", shape.len()))
    } else if elements(&shape) > MAX_TENSOR {
        Err(format!("output {shape:?} has more than {MAX_TENSOR} elements"))
    } else if shape.contains(&0) {
        Err(format!("output {shape:?} is empty"))
    } else {
        Ok(shape)
    }
}

impl Graph {
    /// Shapes of a node's operands.
    #[must_use]
    pub fn operand_shapes(&self, inputs: &[ValueId]) -> Vec<&[u32]> {
        inputs.iter().map(|&i| self.shape(i)).collect()
    }

    /// Appends a node whose output shape is inferred, and returns the output's id.
    ///
    /// # Errors
    /// [`ShapeError`] when the operands do not fit the operator.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        output_name: impl Into<String>,
    ) -> Result<ValueId, ShapeError> {
        let (name, op) = (name.into(), op.into());
        let shape = shape_of(&op, &self.operand_shapes(&inputs)).map_err(|e| e.at(&name))?;
        let output = self.add_value(output_name, shape);
        self.nodes.push(Node { name, op, inputs, output });
        Ok(output)
    }
}

/// Checks a whole graph from outside: ids in range, every operand defined before it is used and every value at
/// most once, stored shapes equal to inferred ones, inputs of distinct names, constants as long as their shapes, all
/// tensors together within `memory_cap` bytes.
///
/// # Errors
/// [`ShapeError`] naming the first node (or value) that does not check out.
pub fn check(graph: &Graph, memory_cap: usize) -> Result<(), ShapeError> {
    let mut defined = vec![false; graph.values.len()];
    for (&id, data) in &graph.constants {
        match graph.values.get(id as usize) {
            Some(v) if v.len() == data.len() => defined[id as usize] = true,
            _ => {
                let reason = format!("constant {id} does not fit its shape");
                return Err(ShapeError::new("constants", "Constant", reason));
            }
        }
    }
    check_inputs(graph, &mut defined)?;
    graph.nodes.iter().try_for_each(|node| check_node(graph, node, &mut defined))?;
    let computed = |id: ValueId| defined.get(id as usize).is_some_and(|&d| d);
    if graph.outputs.is_empty() || graph.outputs.iter().any(|o| !computed(o.value)) {
        return Err(ShapeError::new("outputs", "Output", "an output is missing or never computed"));
    }
    let bytes = graph.values.iter().fold(0usize, |sum, v| sum.saturating_add(v.len().saturating_mul(4)));
    if bytes > memory_cap {
        let reason = format!("its tensors take {bytes} bytes, more than the cap of {memory_cap}");
        return Err(ShapeError::new("graph", "Graph", reason));
    }
    Ok(())
}

fn check_inputs(graph: &Graph, defined: &mut [bool]) -> Result<(), ShapeError> {
    let mut names = BTreeSet::new();
    for input in &graph.inputs {
        match graph.values.get(input.value as usize) {
            Some(v) if !defined[input.value as usize] && !v.is_empty() && v.shape.len() <= MAX_RANK => {
                if !names.insert(&v.name) {
                    return Err(ShapeError::new("input", "Input", format!("two inputs are named '{}'", v.name)));
                }
                defined[input.value as usize] = true;
            }
            _ => return Err(ShapeError::new("input", "Input", "the input is missing, empty or constant")),
        }
    }
    if names.is_empty() {
        Err(ShapeError::new("input", "Input", "the input is missing, empty or constant"))
    } else {
        Ok(())
    }
}

fn check_node(graph: &Graph, node: &Node, defined: &mut [bool]) -> Result<(), ShapeError> {
    let fail = |reason| Err(ShapeError::new(&node.name, node.op.name(), reason));
    if let Some(&bad) = node.inputs.iter().find(|&&i| !defined.get(i as usize).is_some_and(|&d| d)) {
        return fail(format!("operand {bad} is not computed before"));
    }
    let shape = shape_of(&node.op, &graph.operand_shapes(&node.inputs)).map_err(|e| e.at(&node.name))?;
    match graph.values.get(node.output as usize) {
        Some(v) if v.shape == shape && !defined[node.output as usize] => defined[node.output as usize] = true,
        _ => return fail(format!("output {} is not a fresh value of shape {shape:?}", node.output)),
    }
    Ok(())
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
