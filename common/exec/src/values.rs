//! The tensors of one inference.

use std::mem::take;
use std::sync::Arc;

use twinmask_model::graph::{Element, MAX_INTEGER, Node, Port, ValueId};
use twinmask_model::ops::Op;

use crate::apply::apply_into;
use crate::elementwise;
use crate::error::ExecError;
use crate::program::{Program, ReadyNode};
use crate::view::View;

/// Buffers kept for later tensors.
const KEPT: usize = 24;
/// Elements below which a buffer is not worth keeping.
const WORTH_KEEPING: usize = 4096;

/// The integers of the input `name` as f32, each exactly.
///
/// # Errors
/// [`ExecError::Integer`] for a magnitude above [`MAX_INTEGER`].
pub fn exact(name: &str, element: Element, integers: &[i64]) -> Result<Vec<f32>, ExecError> {
    let one = |(index, &v): (usize, &i64)| {
        if v.unsigned_abs() <= MAX_INTEGER.unsigned_abs() {
            Ok(v as f32)
        } else {
            Err(ExecError::Integer { value: name.into(), element, index, found: v as f64 })
        }
    };
    integers.iter().enumerate().map(one).collect()
}

/// The tensors of one inference at a time: a slot for each value, emptied after its last reader. Their buffers are kept
/// for the next tensors and the next inference.
#[derive(Debug)]
pub struct Values {
    program: Arc<Program>,
    slots: Vec<Option<Vec<f32>>>,
    unread: Vec<u32>,
    spare: Vec<Vec<f32>>,
    /// For convolutions.
    scratch: Vec<f32>,
}

impl Values {
    /// Empty slots for `program`.
    #[must_use]
    pub fn new(program: Arc<Program>) -> Self {
        let slots = vec![None; program.graph().values.len()];
        Self { unread: program.readers().to_vec(), program, slots, spare: Vec::new(), scratch: Vec::new() }
    }

    /// The program that fills these slots.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Begins an inference on `inputs`, the elements of the graph's inputs in their order; whatever an earlier one left
    /// is dropped. Integers are given as f32 (see [`exact`]).
    ///
    /// # Errors
    /// [`ExecError::Inputs`] when their number is wrong, [`ExecError::Length`] when one does not fit its shape,
    /// [`ExecError::Integer`] when one of integers holds anything else.
    pub fn start(&mut self, inputs: &[&[f32]]) -> Result<(), ExecError> {
        let program = Arc::clone(&self.program);
        let graph = program.graph();
        if inputs.len() != graph.inputs.len() {
            let names = graph.inputs.iter().map(|i| graph.value(i.value).name.clone()).collect();
            return Err(ExecError::Inputs { names, found: inputs.len() });
        }
        self.unread.copy_from_slice(program.readers());
        for i in 0..self.slots.len() {
            self.empty(i);
        }
        for (&port, &input) in graph.inputs.iter().zip(inputs) {
            self.check_integers(port, input)?;
            let mut own = self.buffer(input.len());
            own.copy_from_slice(input);
            self.set(port.value, own)?;
        }
        Ok(())
    }

    fn check_integers(&self, Port { value, element }: Port, input: &[f32]) -> Result<(), ExecError> {
        let fits = |v: f32| match element {
            Element::F32 => true,
            Element::I32 | Element::I64 => v.fract() == 0.0 && v.abs() <= MAX_INTEGER as f32,
        };
        match input.iter().position(|&v| !fits(v)) {
            None => Ok(()),
            Some(index) => {
                let value = self.program.graph().value(value).name.clone();
                Err(ExecError::Integer { value, element, index, found: f64::from(input[index]) })
            }
        }
    }

    /// Puts in the answer of a linear node. Its input is freed once all its readers have been served.
    ///
    /// # Errors
    /// [`ExecError::Length`] when `data` does not fit the value's shape.
    pub fn set(&mut self, id: ValueId, data: Vec<f32>) -> Result<(), ExecError> {
        let value = self.program.graph().value(id);
        if value.len() != data.len() {
            return Err(ExecError::Length { value: value.name.clone(), shape: value.shape.clone(), found: data.len() });
        }
        let again = self.slots[id as usize].is_some();
        let input = self.program.linear_input(id).filter(|_| !again);
        self.put(id, data);
        input.into_iter().for_each(|x| self.served(x));
        Ok(())
    }

    /// The elements of the value `id`.
    ///
    /// # Errors
    /// [`ExecError::Missing`] before it is computed and after its last reader.
    pub fn get(&self, id: ValueId) -> Result<&[f32], ExecError> {
        let graph = self.program.graph();
        let found = self.slots[id as usize].as_deref().or_else(|| graph.constants.get(&id).map(Vec::as_slice));
        found.ok_or_else(|| ExecError::Missing { value: graph.value(id).name.clone() })
    }

    /// A buffer of `len` elements of any value, recycled where there is one: for [`set`](Self::set).
    #[must_use]
    pub fn buffer(&mut self, len: usize) -> Vec<f32> {
        let fitting = self.spare.iter().enumerate().filter(|(_, b)| b.capacity() >= len && b.capacity() / 4 <= len);
        match fitting.min_by_key(|(_, b)| b.capacity()).map(|(i, _)| i) {
            Some(i) => {
                let mut buffer = self.spare.swap_remove(i);
                buffer.resize(len, 0.0);
                buffer
            }
            None => vec![0.0; len],
        }
    }

    /// Runs the local nodes of segment `r`; then [`get`](Self::get) the inputs of its linear nodes, and
    /// [`set`](Self::set) their outputs before the next segment.
    ///
    /// # Errors
    /// [`ExecError::Node`] naming the node that refuses its operands, [`ExecError::Missing`] naming a tensor that is
    /// not there. [`ExecError::Index`] naming the first node with an index that is none: the data's fault, so the
    /// segment has run to its end all the same, and whoever must not show where the data went wrong can go on.
    ///
    /// # Panics
    /// If the program has no segment `r`.
    pub fn run_segment(&mut self, r: usize) -> Result<(), ExecError> {
        let program = Arc::clone(&self.program);
        let mut first = Ok(());
        for &i in &program.segments()[r].local {
            let node = &program.graph().nodes[i];
            if let Some(ready) = program.ready(i) {
                self.convolve(node, ready).map_err(|e| e.at(&node.name))?;
                continue;
            }
            let picked = self.run(node).map_err(|e| e.at(&node.name))?;
            first = first.and(picked.map_err(|e| e.at(&node.name)));
        }
        first
    }

    fn convolve(&mut self, node: &Node, ready: &ReadyNode) -> Result<(), ExecError> {
        let (mut out, mut scratch) =
            (self.buffer(self.program.graph().value(node.output).len()), take(&mut self.scratch));
        ready.conv.apply(self.get(node.inputs[0])?, &mut out, &mut scratch);
        self.scratch = scratch;
        self.put(ready.output, out);
        node.inputs.iter().for_each(|&x| self.served(x));
        Ok(())
    }

    /// Runs a node. The inner error is that of an index, which leaves a result behind.
    fn run(&mut self, node: &Node) -> Result<Result<(), ExecError>, ExecError> {
        let mut picked = Ok(());
        let program = Arc::clone(&self.program);
        let graph = program.graph();
        let out = match self.take_overwritable(node) {
            Some((i, mut data)) => {
                if let Op::Unary(f) = &node.op {
                    elementwise::unary(*f, &mut data);
                }
                if let (Op::Binary(f), Some(&other)) = (&node.op, node.inputs.get(1 - i.min(1))) {
                    let operand = View::new(graph.shape(other), self.get(other)?);
                    elementwise::binary(*f, graph.shape(node.output), &mut data, operand, i == 1);
                }
                data
            }
            None => {
                let mut out = self.buffer(graph.value(node.output).len());
                let views = node.inputs.iter().map(|&x| Ok(View::new(graph.shape(x), self.get(x)?)));
                let views: Vec<View<'_>> = views.collect::<Result<_, ExecError>>()?;
                match apply_into(&node.op, &views, graph.shape(node.output), &mut out) {
                    Err(e @ ExecError::Index { .. }) => picked = Err(e),
                    applied => applied?,
                }
                out
            }
        };
        self.put(node.output, out);
        node.inputs.iter().for_each(|&x| self.served(x));
        Ok(picked)
    }

    /// Takes the operand that `node` may overwrite with its result: of the result's shape, and read by nobody else.
    fn take_overwritable(&mut self, node: &Node) -> Option<(usize, Vec<f32>)> {
        if !matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Reshape(_)) {
            return None;
        }
        let graph = self.program.graph();
        let last = |x: ValueId| self.unread[x as usize] == 1 && self.slots[x as usize].is_some();
        let same_shape = |x: ValueId| graph.shape(x) == graph.shape(node.output) || matches!(node.op, Op::Reshape(_));
        let i = node.inputs.iter().position(|&x| last(x) && same_shape(x))?;
        self.slots[node.inputs[i] as usize].take().map(|data| (i, data))
    }

    fn put(&mut self, id: ValueId, data: Vec<f32>) {
        self.empty(id as usize);
        if self.unread[id as usize] == 0 {
            self.keep(data);
        } else {
            self.slots[id as usize] = Some(data);
        }
    }

    /// One reader of `id` is done.
    fn served(&mut self, id: ValueId) {
        let unread = &mut self.unread[id as usize];
        *unread = unread.saturating_sub(1);
        if *unread == 0 {
            self.empty(id as usize);
        }
    }

    fn empty(&mut self, slot: usize) {
        if let Some(data) = self.slots[slot].take() {
            self.keep(data);
        }
    }

    fn keep(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() < WORTH_KEEPING {
            return;
        }
        if self.spare.len() < KEPT {
            self.spare.push(buffer);
        } else if let Some(smallest) = self.spare.iter_mut().min_by_key(|b| b.capacity())
            && smallest.capacity() < buffer.capacity()
        {
            *smallest = buffer;
        }
    }
}
