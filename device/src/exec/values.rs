//! The tensors of one inference.

use std::sync::Arc;

use twinmask_model::graph::{Node, Op, ValueId};

use super::{ExecError, Program, View, apply_into, elementwise};

/// Buffers kept for later tensors.
const KEPT: usize = 24;
/// Elements below which a buffer is not worth keeping.
const WORTH_KEEPING: usize = 4096;

/// The tensors of one inference at a time: a slot for each value, emptied after its last reader. Their buffers are kept
/// for the next tensors and the next inference.
#[derive(Debug)]
pub struct Values {
    program: Arc<Program>,
    slots: Vec<Option<Vec<f32>>>,
    unread: Vec<u32>,
    spare: Vec<Vec<f32>>,
}

impl Values {
    /// Empty slots for `program`.
    #[must_use]
    pub fn new(program: Arc<Program>) -> Self {
        let slots = vec![None; program.graph().values.len()];
        Self { unread: program.readers().to_vec(), program, slots, spare: Vec::new() }
    }

    /// The program that fills these slots.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Begins an inference on `input`, the elements of the graph's input tensor; whatever an earlier one left is dropped.
    ///
    /// # Errors
    /// [`ExecError::Length`] when `input` does not fit the graph's input.
    pub fn start(&mut self, input: &[f32]) -> Result<(), ExecError> {
        self.unread.copy_from_slice(self.program.readers());
        for i in 0..self.slots.len() {
            self.empty(i);
        }
        let mut own = self.buffer(input.len());
        own.copy_from_slice(input);
        self.set(self.program.graph().input, own)
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
    /// not there.
    ///
    /// # Panics
    /// If the program has no segment `r`.
    pub fn run_segment(&mut self, r: usize) -> Result<(), ExecError> {
        let program = Arc::clone(&self.program);
        program.segments()[r].local.iter().try_for_each(|&i| {
            let node = &program.graph().nodes[i];
            self.run(node).map_err(|e| e.at(&node.name))
        })
    }

    fn run(&mut self, node: &Node) -> Result<(), ExecError> {
        let program = Arc::clone(&self.program);
        let graph = program.graph();
        let out = match self.take_overwritable(node) {
            Some((i, mut data)) => {
                let other = node.inputs.get(1 - i.min(1)).copied();
                match (&node.op, other) {
                    (Op::Unary(f), _) => elementwise::unary(*f, &mut data),
                    (Op::Binary(f), Some(other)) => {
                        let operand = View::new(graph.shape(other), self.get(other)?);
                        elementwise::binary(*f, graph.shape(node.output), &mut data, operand, i == 1);
                    }
                    _ => {}
                }
                data
            }
            None => {
                let mut out = self.buffer(graph.value(node.output).len());
                let views = node.inputs.iter().map(|&x| Ok(View::new(graph.shape(x), self.get(x)?)));
                let views: Vec<View<'_>> = views.collect::<Result<_, ExecError>>()?;
                apply_into(&node.op, &views, graph.shape(node.output), &mut out)?;
                out
            }
        };
        self.put(node.output, out);
        node.inputs.iter().for_each(|&x| self.served(x));
        Ok(())
    }

    /// Takes the operand that `node` may overwrite with its result: of the result's shape, and read by nobody else.
    fn take_overwritable(&mut self, node: &Node) -> Option<(usize, Vec<f32>)> {
        if !matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Reshape { .. }) {
            return None;
        }
        let graph = self.program.graph();
        let last = |x: ValueId| self.unread[x as usize] == 1 && self.slots[x as usize].is_some();
        let same_shape =
            |x: ValueId| graph.shape(x) == graph.shape(node.output) || matches!(node.op, Op::Reshape { .. });
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
