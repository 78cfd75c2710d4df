//! What translators of operators work with: the graph so far, names, operands, constants.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use twinmask_model::graph::{Graph, Op, ValueId};

use super::call::Call;
use super::data::Budget;
use super::tensor::{Data, Tensor};

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Bound {
    /// A value of the graph; its data is in [`Graph::constants`] if it is a constant that a node uses.
    Value(ValueId),
    /// A constant that no node uses yet.
    Const(Rc<Tensor>),
}

/// State of an import.
pub(super) struct Importer<'a> {
    pub(super) graph: Graph,
    pub(super) opset: i64,
    pub(super) budget: Budget,
    /// Where external data lies.
    pub(super) folder: &'a Path,
    pub(super) names: HashMap<String, Bound>,
}

/// Turns one node of the file into nodes of the graph; the error says what is wrong with the node.
pub(super) type Translate = fn(&mut Importer, &Call) -> Result<(), String>;

/// Operators and their translators.
pub(super) type Table = &'static [(&'static str, Translate)];

impl<'a> Importer<'a> {
    /// With nothing imported yet, for tensors of `memory_cap` bytes together.
    pub(super) fn new(opset: i64, memory_cap: u64, folder: &'a Path) -> Self {
        let (graph, names) = (Graph::default(), HashMap::new());
        Self { graph, opset, budget: Budget::new(memory_cap), folder, names }
    }

    fn look(&self, call: &Call, i: usize) -> Result<&Bound, String> {
        let name =
            call.node.inputs.get(i).filter(|n| !n.is_empty()).ok_or_else(|| format!("operand {i} is missing"))?;
        let hint = "is not computed by an earlier node (optional outputs such as pooling indices are not supported)";
        self.names.get(name).ok_or_else(|| format!("operand '{name}' {hint}"))
    }

    /// Operand `i` as a value of the graph.
    pub(super) fn value(&mut self, call: &Call, i: usize) -> Result<ValueId, String> {
        let t = match self.look(call, i)? {
            Bound::Value(id) => return Ok(*id),
            Bound::Const(t) => Rc::clone(t),
        };
        let name = call.node.inputs[i].clone();
        self.names.remove(&name);
        let Tensor { shape, data } = Rc::try_unwrap(t).unwrap_or_else(|shared| (*shared).clone());
        let Data::F(data) = data else {
            return Err(format!("operand '{name}' holds integers where floats are expected"));
        };
        if data.is_empty() {
            return Err(format!("operand '{name}' is empty"));
        }
        let id = self.graph.add_constant(name.clone(), shape, data);
        self.names.insert(name, Bound::Value(id));
        Ok(id)
    }

    /// Whether operand `i` is there and constant.
    pub(super) fn is_constant(&self, call: &Call, i: usize) -> bool {
        match self.look(call, i) {
            Ok(Bound::Const(_)) => true,
            Ok(Bound::Value(id)) => self.graph.constants.contains_key(id),
            Err(_) => false,
        }
    }

    /// Operand `i`, which must be constant if it is there.
    pub(super) fn constant(&self, call: &Call, i: usize) -> Result<Option<Rc<Tensor>>, String> {
        if !call.has_input(i) {
            return Ok(None);
        }
        match self.look(call, i)? {
            Bound::Const(t) => Ok(Some(Rc::clone(t))),
            Bound::Value(id) => match self.graph.constants.get(id) {
                Some(data) => Ok(Some(Rc::new(Tensor::floats(self.graph.shape(*id).to_vec(), data.clone())))),
                None => Err(format!("operand '{}' must be a constant", call.node.inputs[i])),
            },
        }
    }

    /// Operand `i`, which must be there and constant.
    pub(super) fn required(&self, call: &Call, i: usize) -> Result<Rc<Tensor>, String> {
        self.constant(call, i)?.ok_or_else(|| format!("operand {i} is missing"))
    }

    /// Integer list: operand `i` if there, else the attribute.
    pub(super) fn ints(&self, call: &Call, i: usize, attribute: &'static str) -> Result<Option<Vec<i64>>, String> {
        match self.constant(call, i)? {
            Some(t) => t.as_ints().map(|v| Some(v.to_vec())),
            None => Ok(call.ints(attribute).map(<[i64]>::to_vec)),
        }
    }

    /// Shape of operand `i`.
    pub(super) fn shape(&self, call: &Call, i: usize) -> Result<Vec<u32>, String> {
        Ok(match self.look(call, i)? {
            Bound::Const(t) => t.shape.clone(),
            Bound::Value(id) => self.graph.shape(*id).to_vec(),
        })
    }

    /// Appends a node.
    pub(super) fn emit(&mut self, call: &Call, op: Op, inputs: Vec<ValueId>) -> Result<ValueId, String> {
        let output = call.node.outputs.first().map_or("", String::as_str);
        self.graph.add_node(&*call.name, op, inputs, output).map_err(|e| e.reason)
    }

    /// A new constant of the graph, of a node's own making.
    pub(super) fn new_constant(
        &mut self,
        call: &Call,
        what: &str,
        shape: Vec<u32>,
        data: Vec<f32>,
    ) -> Result<ValueId, String> {
        self.budget.charge(data.len() as u64, 4)?;
        Ok(self.graph.add_constant(format!("{}/{what}", call.name), shape, data))
    }

    /// Appends a reshaping, unless the shape is that already.
    pub(super) fn reshape(&mut self, call: &Call, x: ValueId, shape: Vec<u32>) -> Result<ValueId, String> {
        if self.graph.shape(x) == shape { Ok(x) } else { self.emit(call, Op::Reshape { shape }, vec![x]) }
    }

    /// Says that output `i` of the node is the value `id`.
    pub(super) fn bind(&mut self, call: &Call, i: usize, id: ValueId) -> Result<(), String> {
        self.bind_name(call, i, Bound::Value(id))
    }

    pub(super) fn bind_constant(&mut self, call: &Call, i: usize, t: Tensor) -> Result<(), String> {
        self.bind_name(call, i, Bound::Const(Rc::new(t)))
    }

    fn bind_name(&mut self, call: &Call, i: usize, bound: Bound) -> Result<(), String> {
        match call.node.outputs.get(i) {
            Some(name) if !name.is_empty() => match self.names.insert(name.clone(), bound) {
                None => Ok(()),
                Some(_) => Err(format!("output '{name}' is computed twice")),
            },
            _ => Ok(()),
        }
    }
}
