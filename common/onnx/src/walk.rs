//! The walk over the file's nodes: each is folded, or translated by the operator's own module.

use std::path::Path;
use std::rc::Rc;

use twinmask_model::graph::{Disconnected, Graph, Port, compact};

use super::call::{Call, is_onnx};
use super::error::ImportError;
use super::importer::{Bound, Importer, Table, Translate};
use super::options::ImportOptions;
use super::tensor::Tensor;
use super::{data, fold, integers, interface, passes, reader};
use super::{ops_composed, ops_dense, ops_elementwise, ops_normalize, ops_resize, ops_shape, ops_window};

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
    let disconnected = |e: Disconnected| interface(e.to_string());
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut im = Importer::new(opset, options.memory_cap, folder);
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
    file.nodes.iter().try_for_each(|node| im.add(node, path))?;
    im.add_outputs(file).map_err(interface)?;
    let mut graph = compact(im.finish()).map_err(disconnected)?;
    passes::fuse(&mut graph);
    let graph = compact(graph).map_err(disconnected)?;
    check(&graph, path, options)?;
    Ok(graph)
}

/// What the importer promises of a graph: finite constants, shapes that check out, within the memory cap.
fn check(graph: &Graph, path: &Path, options: &ImportOptions) -> Result<(), ImportError> {
    for (&id, data) in &graph.constants {
        if let Some(bad) = data.iter().find(|v| !v.is_finite()) {
            let reason = format!("it holds {bad}");
            return Err(ImportError::Tensor { path: path.into(), tensor: graph.value(id).name.clone(), reason });
        }
    }
    let cap = usize::try_from(options.memory_cap).unwrap_or(usize::MAX);
    twinmask_model::shapes::check(graph, cap).map_err(|e| ImportError::Node {
        path: path.into(),
        node: e.node,
        op: e.op.into(),
        reason: e.reason,
    })
}

impl Importer<'_> {
    /// Imports one node of the file.
    fn add(&mut self, node: &reader::Node, path: &Path) -> Result<(), ImportError> {
        let call = Call::new(node);
        let op = if is_onnx(node.domain) { node.op.to_owned() } else { format!("{}.{}", node.domain, node.op) };
        let known = is_onnx(node.domain) && (translator(node.op).is_some() || fold::FOLDED_ONLY.contains(&node.op));
        if !known {
            return Err(ImportError::Unsupported { path: path.into(), node: call.name, op, supported: supported() });
        }
        self.translate(&call).and_then(|()| call.check_attributes()).map_err(|reason| ImportError::Node {
            path: path.into(),
            node: call.name,
            op,
            reason,
        })
    }

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
            let given = self.holds(value) || self.graph.inputs.iter().any(|i| i.value == value);
            if !given {
                output.name.clone_into(&mut self.graph.values[value as usize].name);
            }
            self.graph.outputs.push(Port { value, element });
        }
        if self.graph.outputs.is_empty() { Err("the network has no output".into()) } else { Ok(()) }
    }

    fn translate(&mut self, call: &Call) -> Result<(), String> {
        if call.op == "Constant" {
            let tensor = Rc::new(self.constant_node(call)?);
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
}
