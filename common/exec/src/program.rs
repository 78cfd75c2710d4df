//! A graph sorted into the rounds of an inference.

use std::collections::BTreeMap;

use twinmask_model::graph::{Graph, ValueId};
use twinmask_model::ops::{Op, Unary};
use twinmask_model::rounds::depths;
use twinmask_model::shapes::{ShapeError, check};

use crate::conv::Ready;
use crate::view::View;

/// The nodes between two exchanges with the edges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// Indices of the local nodes to run, in topological order.
    pub local: Vec<usize>,
    /// Indices of the linear nodes whose inputs are then ready: the round that follows. Siblings share an input.
    pub linear: Vec<usize>,
}

/// A checked graph, sorted once and run many times; shared by all inferences.
#[derive(Debug)]
pub struct Program {
    graph: Graph,
    segments: Vec<Segment>,
    readers: Vec<u32>,
    linear_input: BTreeMap<ValueId, ValueId>,
    convs: BTreeMap<usize, ReadyNode>,
}

/// A convolution of constant weights, with what follows it.
#[derive(Debug)]
pub(crate) struct ReadyNode {
    /// The layer.
    pub(crate) conv: Ready,
    /// The value that it computes: its own, or that of the activation that alone reads it.
    pub(crate) output: ValueId,
}

impl Program {
    /// Checks `graph` (all its tensors within `memory_cap` bytes) and sorts it: the input and constants have depth 0,
    /// the output of a linear node is one deeper than its input, that of a local node as deep as its deepest input, and
    /// a node belongs to the segment of its inputs' depth.
    ///
    /// # Errors
    /// [`ShapeError`] naming the node (or value) that does not check out.
    pub fn new(graph: Graph, memory_cap: usize) -> Result<Self, ShapeError> {
        check(&graph, memory_cap)?;
        if let Some(empty) = graph.values.iter().find(|v| v.is_empty()) {
            return Err(ShapeError::new(&empty.name, "Value", "the tensor is empty"));
        }
        let depths = depths(&graph);
        let deepest = depths.iter().max().map_or(0, |&d| d as usize);
        let mut segments = vec![Segment::default(); deepest + 1];
        let mut readers = vec![0u32; graph.values.len()];
        let mut linear_input = BTreeMap::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&x| readers[x as usize] += 1);
            let depth = depths[node.output as usize] as usize;
            if matches!(node.op, Op::Linear(_)) {
                segments[depth - 1].linear.push(i);
                linear_input.insert(node.output, node.inputs[0]);
            } else {
                segments[depth].local.push(i);
            }
        }
        // An output is read once more, by the caller at the end.
        graph.outputs.iter().for_each(|o| readers[o.value as usize] += 1);
        let mut program = Self { graph, segments, readers, linear_input, convs: BTreeMap::new() };
        program.ready_convs();
        Ok(program)
    }

    /// Arranges the weights of convolutions, and lets them compute activations that alone read them.
    fn ready_convs(&mut self) {
        let Self { graph, readers, .. } = self;
        let mut arranged = vec![0u32; graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            let Op::Conv(op) = &node.op else { continue };
            let constant = |x: &ValueId| graph.constants.get(x).map(|data| View::new(graph.shape(*x), data));
            let Some(operands) = node.inputs[1..].iter().map(constant).collect::<Option<Vec<_>>>() else { continue };
            let bias = operands.get(1).map(|b| b.data);
            if let Ok(conv) = Ready::new(op, graph.shape(node.inputs[0]), operands[0], bias) {
                node.inputs[1..].iter().for_each(|&x| arranged[x as usize] += 1);
                self.convs.insert(i, ReadyNode { conv, output: node.output });
            }
        }
        // What was arranged is not read any more.
        graph.constants.retain(|&x, _| arranged[x as usize] == 0 || arranged[x as usize] < readers[x as usize]);
        let makers: BTreeMap<ValueId, usize> = self.convs.iter().map(|(&i, own)| (own.output, i)).collect();
        for segment in &mut self.segments {
            segment.local.retain(|&i| {
                let node = &graph.nodes[i];
                let alone = node.inputs.first().filter(|&&x| readers[x as usize] == 1).and_then(|x| makers.get(x));
                let own = alone.and_then(|maker| self.convs.get_mut(maker));
                if let (Op::Unary(f), Some(own)) = (&node.op, own)
                    && own.conv.followed_by(*f)
                {
                    own.output = node.output;
                    return false;
                }
                true
            });
        }
    }

    /// Leaves out every ReLU that alone reads a linear node's output: whoever puts in that node's answer computes it on
    /// the way, and puts it in as the ReLU's output. Returns which output stands for which linear node's.
    #[must_use]
    pub fn without_first_relus(mut self) -> (Self, BTreeMap<ValueId, ValueId>) {
        let mut outputs = BTreeMap::new();
        for segment in &mut self.segments {
            segment.local.retain(|&i| {
                let node = &self.graph.nodes[i];
                let of = node.inputs[0];
                let first = matches!(node.op, Op::Unary(Unary::Relu)) && self.readers[of as usize] == 1;
                match self.linear_input.get(&of).copied().filter(|_| first) {
                    Some(input) => {
                        self.linear_input.insert(node.output, input);
                        outputs.insert(of, node.output);
                        false
                    }
                    None => true,
                }
            });
        }
        (self, outputs)
    }

    /// The graph, without the constants that only convolutions read.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The segments in order; each but the last ends in a round of linear nodes.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The convolution that node `i` is, if its weights are arranged.
    pub(crate) fn ready(&self, i: usize) -> Option<&ReadyNode> {
        self.convs.get(&i)
    }

    /// How often each value is read, the graph's outputs once by the caller.
    pub(crate) fn readers(&self) -> &[u32] {
        &self.readers
    }

    /// The operand of the linear node that computes `output`.
    pub(crate) fn linear_input(&self, output: ValueId) -> Option<ValueId> {
        self.linear_input.get(&output).copied()
    }
}
