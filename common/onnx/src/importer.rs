//! What translators of operators work with: the graph so far, names, operands, constants.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use twinmask_model::graph::{Element, Graph, MAX_INTEGER, ValueId};
use twinmask_model::ops::{Op, Reshape};

use super::call::Call;
use super::data::Budget;
use super::tensor::{Data, Tensor};

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Bound {
    /// A value of the graph, and what its elements are in the file; its data is in [`Importer::constants`] if it is a
    /// constant that a node uses.
    Value(ValueId, Element),
    /// A constant that no node uses yet.
    Const(Rc<Tensor>),
}

/// What becomes of a constant in the graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Its elements as floats.
    Floats,
    /// Weights `[out, in]`: transposed or not, and multiplied by the float of these bits.
    Weights { transposed: bool, alpha: u32 },
}

type Made = HashMap<(*const Tensor, Form), (Rc<Tensor>, ValueId)>;

/// State of an import.
pub(super) struct Importer<'a> {
    /// Without the data of its constants until the end.
    pub(super) graph: Graph,
    /// Data of the graph's constants. However many nodes and names use one, it is here once.
    constants: HashMap<ValueId, Rc<Tensor>>,
    /// Constants of the graph by the tensor that they were made from, which is kept so that its address stays its own.
    made: Made,
    pub(super) opset: i64,
    pub(super) budget: Budget,
    /// Where external data lies.
    pub(super) folder: &'a Path,
    pub(super) names: HashMap<String, Bound>,
    /// What the elements of the present node's results are.
    pub(super) result: Element,
}

/// Turns one node of the file into nodes of the graph; the error says what is wrong with the node.
pub(super) type Translate = fn(&mut Importer, &Call) -> Result<(), String>;

/// Operators and their translators.
pub(super) type Table = &'static [(&'static str, Translate)];

impl<'a> Importer<'a> {
    /// With nothing imported yet, for tensors of `memory_cap` bytes together.
    pub(super) fn new(opset: i64, memory_cap: u64, folder: &'a Path) -> Self {
        let (graph, names, constants, made) = (Graph::default(), HashMap::new(), HashMap::new(), HashMap::new());
        let budget = Budget::new(memory_cap);
        Self { graph, constants, made, opset, budget, folder, names, result: Element::F32 }
    }

    /// The graph, with the data of its constants.
    pub(super) fn finish(self) -> Graph {
        let Self { mut graph, constants, made, names, .. } = self;
        drop((made, names));
        for (id, t) in constants {
            if let Data::F(data) = Rc::unwrap_or_clone(t).data {
                graph.constants.insert(id, data);
            }
        }
        graph
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
            Bound::Value(id, _) => return Ok(*id),
            Bound::Const(t) => Rc::clone(t),
        };
        if matches!(t.data, Data::I(_)) && self.integer_operand(call).is_some() {
            return self.integers(call, i, &t);
        }
        let name = call.node.inputs[i].clone();
        let Data::F(data) = &t.data else {
            return Err(format!("operand '{name}' holds integers where floats are expected"));
        };
        if data.is_empty() {
            return Err(format!("operand '{name}' is empty"));
        }
        let id = self.made(&t, Form::Floats, |im| Ok(im.add_constant(&name, Rc::clone(&t))))?;
        self.names.insert(name, Bound::Value(id, Element::F32));
        Ok(id)
    }

    /// The constant of the graph that `make` makes of `t`: once for all nodes that want it in this form.
    pub(super) fn made(
        &mut self,
        t: &Rc<Tensor>,
        form: Form,
        make: impl FnOnce(&mut Self) -> Result<ValueId, String>,
    ) -> Result<ValueId, String> {
        let key = (Rc::as_ptr(t), form);
        if let Some((_, id)) = self.made.get(&key) {
            return Ok(*id);
        }
        let id = make(self)?;
        self.made.insert(key, (Rc::clone(t), id));
        Ok(id)
    }

    /// A constant of the graph; what it takes must have been charged.
    pub(super) fn add_constant(&mut self, name: &str, t: Rc<Tensor>) -> ValueId {
        let id = self.graph.add_value(name, t.shape.clone());
        self.constants.insert(id, t);
        id
    }

    /// `t` as a constant of floats.
    pub(super) fn floats(&mut self, call: &Call, what: &str, t: &Rc<Tensor>) -> Result<ValueId, String> {
        self.made(t, Form::Floats, |im| match t.data {
            Data::F(_) => Ok(im.add_constant(&format!("{}/{what}", call.name), Rc::clone(t))),
            Data::I(_) => im.new_constant(call, what, t.shape.clone(), t.to_floats()),
        })
    }

    /// The integers of operand `i` beside other operands that the network computes, as a constant of its own: as
    /// dimensions, the name keeps standing for integers.
    fn integers(&mut self, call: &Call, i: usize, t: &Rc<Tensor>) -> Result<ValueId, String> {
        if let Some(v) = t.as_ints()?.iter().find(|v| v.unsigned_abs() > MAX_INTEGER.unsigned_abs()) {
            return Err(format!(
                "operand '{}' holds {v}; magnitudes up to {MAX_INTEGER} are exact",
                call.node.inputs[i]
            ));
        }
        self.floats(call, "integers", t)
    }

    /// Operand `i` as numbers, whatever its type in the file.
    pub(super) fn number(&mut self, call: &Call, i: usize) -> Result<ValueId, String> {
        match self.look(call, i)? {
            Bound::Const(t) if matches!(t.data, Data::I(_)) => {
                let t = Rc::clone(t);
                self.integers(call, i, &t)
            }
            Bound::Const(_) | Bound::Value(..) => self.value(call, i),
        }
    }

    /// Element type of operand `i`; constants of any integer type are 64-bit ones.
    pub(super) fn element(&self, call: &Call, i: usize) -> Element {
        match self.look(call, i) {
            Ok(Bound::Value(_, element)) => *element,
            Ok(Bound::Const(t)) if matches!(t.data, Data::I(_)) => Element::I64,
            Ok(Bound::Const(_)) | Err(_) => Element::F32,
        }
    }

    /// Element type of the first operand of integers that the network computes, if there is one.
    pub(super) fn integer_operand(&self, call: &Call) -> Option<Element> {
        let operands = (0..call.node.inputs.len()).filter(|&i| call.has_input(i) && !self.is_constant(call, i));
        operands.map(|i| self.element(call, i)).find(|&element| element != Element::F32)
    }

    /// Whether operand `i` is there and constant.
    pub(super) fn is_constant(&self, call: &Call, i: usize) -> bool {
        match self.look(call, i) {
            Ok(Bound::Const(_)) => true,
            Ok(Bound::Value(id, _)) => self.holds(*id),
            Err(_) => false,
        }
    }

    /// Whether the value is a constant.
    pub(super) fn holds(&self, id: ValueId) -> bool {
        self.constants.contains_key(&id)
    }

    /// Operand `i`, which must be constant if it is there.
    pub(super) fn constant(&self, call: &Call, i: usize) -> Result<Option<Rc<Tensor>>, String> {
        if !call.has_input(i) {
            return Ok(None);
        }
        match self.look(call, i)? {
            Bound::Const(t) => Ok(Some(Rc::clone(t))),
            Bound::Value(id, _) => match self.constants.get(id) {
                Some(t) => Ok(Some(Rc::clone(t))),
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
            Bound::Value(id, _) => self.graph.shape(*id).to_vec(),
        })
    }

    /// Appends a node.
    pub(super) fn emit(&mut self, call: &Call, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<ValueId, String> {
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
        Ok(self.add_constant(&format!("{}/{what}", call.name), Rc::new(Tensor::floats(shape, data))))
    }

    /// Appends a reshaping, unless the shape is that already.
    pub(super) fn reshape(&mut self, call: &Call, x: ValueId, shape: Vec<u32>) -> Result<ValueId, String> {
        if self.graph.shape(x) == shape { Ok(x) } else { self.emit(call, Reshape { shape }, vec![x]) }
    }

    /// Says that output `i` of the node is the value `id`.
    pub(super) fn bind(&mut self, call: &Call, i: usize, id: ValueId) -> Result<(), String> {
        self.bind_name(call, i, Bound::Value(id, self.result))
    }

    pub(super) fn bind_constant(&mut self, call: &Call, i: usize, t: Rc<Tensor>) -> Result<(), String> {
        self.bind_name(call, i, Bound::Const(t))
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
