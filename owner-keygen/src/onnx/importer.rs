//! The walk over the file's nodes.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use twinmask_model::graph::{Element, Graph, MAX_INTEGER, Port, ValueId};
use twinmask_model::ops::{Op, Reshape};

use super::call::{Call, is_onnx};
use super::data::{self, Budget};
use super::tensor::{Data, Tensor};
use super::{ImportError, ImportOptions, fold, integers, interface, passes, reader};
use super::{ops_composed, ops_dense, ops_elementwise, ops_normalize, ops_resize, ops_shape, ops_window};

/// What a name stands for.
#[derive(Clone)]
enum Bound {
    /// A value of the graph, and what its elements are in the file; its data is in [`Graph::constants`] if it is a
    /// constant that a node uses.
    Value(ValueId, Element),
    /// A constant that no node uses yet.
    Const(Rc<Tensor>),
}

/// State of an import.
pub(super) struct Importer<'a> {
    pub(super) graph: Graph,
    pub(super) opset: i64,
    pub(super) budget: Budget,
    folder: &'a Path,
    names: HashMap<String, Bound>,
    /// What the elements of the present node's results are.
    result: Element,
}

type Translate = fn(&mut Importer, &Call) -> Result<(), String>;

/// Operators and their translators.
pub(super) type Table = &'static [(&'static str, Translate)];

const TABLES: [Table; 7] = [
    ops_window::TABLE,
    ops_dense::TABLE,
    ops_elementwise::TABLE,
    ops_normalize::TABLE,
    ops_shape::TABLE,
    ops_resize::TABLE,
    ops_composed::TABLE,
];

fn translator(op: &str) -> Option<Translate> {
    TABLES.iter().flat_map(|t| t.iter()).find(|(name, _)| *name == op).map(|&(_, f)| f)
}

fn supported() -> String {
    let mut names: Vec<&str> = TABLES.iter().flat_map(|t| t.iter().map(|&(n, _)| n)).collect();
    names.sort_unstable();
    let mut folded: Vec<&str> = fold::FOLDED_ONLY.to_vec();
    folded.sort_unstable();
    format!("{}; on constants only: {}", names.join(", "), folded.join(", "))
}

/// Imports a graph whose local functions are inlined.
pub(super) fn run(
    file: &reader::Graph,
    opset: i64,
    path: &Path,
    options: &ImportOptions,
) -> Result<Graph, ImportError> {
    let interface = |reason| ImportError::Interface { path: path.into(), reason };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut im = Importer {
        graph: Graph::default(),
        opset,
        budget: Budget::new(options.memory_cap),
        folder,
        names: HashMap::new(),
        result: Element::F32,
    };
    if file.sparse {
        return Err(interface("sparse initializers are not supported; export dense ones".into()));
    }
    for t in &file.initializers {
        let tensor = data::decode(t, folder, &mut im.budget).map_err(|reason| ImportError::Tensor {
            path: path.into(),
            tensor: t.name.into(),
            reason,
        })?;
        im.names.insert(t.name.into(), Bound::Const(Rc::new(tensor)));
    }
    im.add_inputs(file, options).map_err(interface)?;
    for node in &file.nodes {
        let call = Call::new(node);
        let op = if is_onnx(node.domain) { node.op.to_owned() } else { format!("{}.{}", node.domain, node.op) };
        let known = is_onnx(node.domain) && (translator(node.op).is_some() || fold::FOLDED_ONLY.contains(&node.op));
        if !known {
            return Err(ImportError::Unsupported { path: path.into(), node: call.name, op, supported: supported() });
        }
        im.translate(&call).and_then(|()| call.check_attributes()).map_err(|reason| ImportError::Node {
            path: path.into(),
            node: call.name,
            op,
            reason,
        })?;
    }
    im.add_outputs(file).map_err(interface)?;
    let mut graph = passes::compact(im.graph).map_err(interface)?;
    passes::fuse(&mut graph);
    let graph = passes::compact(graph).map_err(interface)?;
    for (&id, data) in &graph.constants {
        if let Some(bad) = data.iter().find(|v| !v.is_finite()) {
            let reason = format!("it holds {bad}");
            return Err(ImportError::Tensor { path: path.into(), tensor: graph.value(id).name.clone(), reason });
        }
    }
    let cap = usize::try_from(options.memory_cap).unwrap_or(usize::MAX);
    twinmask_model::shapes::check(&graph, cap).map_err(|e| ImportError::Node {
        path: path.into(),
        node: e.node,
        op: e.op.into(),
        reason: e.reason,
    })?;
    Ok(graph)
}

impl Importer<'_> {
    fn add_inputs(&mut self, file: &reader::Graph, options: &ImportOptions) -> Result<(), String> {
        for info in &file.inputs {
            match self.names.get(info.name) {
                // A weight may be listed as an input; it is none.
                Some(Bound::Const(_)) => {}
                Some(Bound::Value(..)) => return Err(format!("two inputs are named '{}'; rename one", info.name)),
                None => {
                    let (shape, element) = interface::input(info, options)?;
                    let id = self.graph.add_input(info.name, shape, element);
                    self.names.insert(info.name.into(), Bound::Value(id, element));
                }
            }
        }
        if self.graph.inputs.is_empty() { Err("the network has no input; export it with one".into()) } else { Ok(()) }
    }

    fn add_outputs(&mut self, file: &reader::Graph) -> Result<(), String> {
        for output in &file.outputs {
            let Some(&Bound::Value(value, element)) = self.names.get(output.name) else {
                return Err(format!(
                    "output '{}' is not computed from the input; remove it from the model's outputs",
                    output.name
                ));
            };
            let given = self.graph.constants.contains_key(&value) || self.graph.inputs.iter().any(|i| i.value == value);
            if !given {
                output.name.clone_into(&mut self.graph.values[value as usize].name);
            }
            self.graph.outputs.push(Port { value, element });
        }
        if self.graph.outputs.is_empty() { Err("the network has no output".into()) } else { Ok(()) }
    }

    fn translate(&mut self, call: &Call) -> Result<(), String> {
        if call.op == "Constant" {
            let tensor = self.constant_node(call)?;
            return self.bind_constant(call, 0, tensor);
        }
        if let Some(results) = fold::fold(self, call)? {
            for (i, t) in results.into_iter().enumerate() {
                self.bind_constant(call, i, t)?;
            }
            return Ok(());
        }
        match translator(call.op) {
            Some(translate) => {
                self.result = integers::result(self, call)?;
                translate(self, call)
            }
            None => Err("this operator is supported on constants only".into()),
        }
    }

    fn constant_node(&mut self, call: &Call) -> Result<Tensor, String> {
        if let Some(t) = call.tensor("value") {
            data::decode(t, self.folder, &mut self.budget)
        } else if let Some(f) = call.floats("value_floats") {
            Ok(Tensor::floats(vec![f.len() as u32], f.to_vec()))
        } else if let Some(i) = call.ints("value_ints") {
            Ok(Tensor::ints(vec![i.len() as u32], i.to_vec()))
        } else if call.has("value_int") {
            Ok(Tensor::ints(vec![], vec![call.int("value_int", 0)]))
        } else if call.has("value_float") {
            Ok(Tensor::floats(vec![], vec![call.float("value_float", 0.0)?]))
        } else {
            Err("a constant without a dense value".into())
        }
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
        self.names.remove(&name);
        let Tensor { shape, data } = Rc::try_unwrap(t).unwrap_or_else(|shared| (*shared).clone());
        let Data::F(data) = data else {
            return Err(format!("operand '{name}' holds integers where floats are expected"));
        };
        if data.is_empty() {
            return Err(format!("operand '{name}' is empty"));
        }
        let id = self.graph.add_constant(name.clone(), shape, data);
        self.names.insert(name, Bound::Value(id, Element::F32));
        Ok(id)
    }

    /// The integers of operand `i` beside other operands that the network computes, as a constant of the node's own: as
    /// dimensions, the name keeps standing for integers.
    fn integers(&mut self, call: &Call, i: usize, t: &Tensor) -> Result<ValueId, String> {
        if let Some(v) = t.as_ints()?.iter().find(|v| v.unsigned_abs() > MAX_INTEGER.unsigned_abs()) {
            return Err(format!(
                "operand '{}' holds {v}; magnitudes up to {MAX_INTEGER} are exact",
                call.node.inputs[i]
            ));
        }
        self.new_constant(call, "integers", t.shape.clone(), t.to_floats())
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
            Ok(Bound::Value(id, _)) => self.graph.constants.contains_key(id),
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
            Bound::Value(id, _) => match self.graph.constants.get(id) {
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
        Ok(self.graph.add_constant(format!("{}/{what}", call.name), shape, data))
    }

    /// Appends a reshaping, unless the shape is that already.
    pub(super) fn reshape(&mut self, call: &Call, x: ValueId, shape: Vec<u32>) -> Result<ValueId, String> {
        if self.graph.shape(x) == shape { Ok(x) } else { self.emit(call, Reshape { shape }, vec![x]) }
    }

    /// Says that output `i` of the node is the value `id`.
    pub(super) fn bind(&mut self, call: &Call, i: usize, id: ValueId) -> Result<(), String> {
        self.bind_name(call, i, Bound::Value(id, self.result))
    }

    fn bind_constant(&mut self, call: &Call, i: usize, t: Tensor) -> Result<(), String> {
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
