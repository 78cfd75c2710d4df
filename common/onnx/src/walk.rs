//! The walk over the file's nodes: each is folded, or translated by the operator's own module.

use std::path::Path;
use std::rc::Rc;

use twinmask_model::graph::{Disconnected, Graph, compact};

use super::call::{Call, is_onnx};
use super::error::ImportError;
use super::importer::{Bound, Importer, Table, Translate};
use super::options::ImportOptions;
use super::tensor::Tensor;
use super::{data, fold, passes, reader};
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
    im.add_input(file, options).map_err(interface)?;
    file.nodes.iter().try_for_each(|node| im.add(node, path))?;
    im.add_outputs(file).map_err(interface)?;
    let mut graph = compact(im.graph).map_err(disconnected)?;
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
    twinmask_model::infer::check(graph, cap).map_err(|e| ImportError::Node {
        path: path.into(),
        node: e.node,
        op: e.op.into(),
        reason: e.reason,
    })
}

/// Dimensions as a person reads them, `?` where the file leaves one open.
fn dimensions(shape: &[Option<u32>]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or_else(|| "?".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
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

    fn add_input(&mut self, file: &reader::Graph, options: &ImportOptions) -> Result<(), String> {
        let inputs: Vec<_> = file.inputs.iter().filter(|v| !self.names.contains_key(v.name)).collect();
        let [input] = inputs[..] else {
            let names: Vec<&str> = inputs.iter().map(|v| v.name).collect();
            return Err(format!(
                "the network has {} inputs ({}); export it with exactly one",
                names.len(),
                names.join(", ")
            ));
        };
        let name = input.name;
        if !matches!(input.element_type, 1 | 10 | 11) {
            return Err(format!(
                "input '{name}' has element type {}; export it with a float input",
                input.element_type
            ));
        }
        let Some(shape) = input.shape.as_ref().filter(|s| !s.is_empty()) else {
            return Err(format!("input '{name}' has no shape; export it with one"));
        };
        if shape[0].is_some_and(|n| n != 1) {
            return Err(format!(
                "input '{name}' has a batch of {}; export it with batch 1 or a dynamic one",
                shape[0].unwrap_or(0)
            ));
        }
        let mut dims = shape.clone();
        dims[0] = Some(1);
        if let (Some((h, w)), 4) = (options.input_size, dims.len()) {
            for (dim, size) in dims[2..].iter_mut().zip([h, w]) {
                if dim.is_some_and(|d| d != size) {
                    let shape = dimensions(shape);
                    return Err(format!("input '{name}' has the fixed shape {shape}; leave --input-size {h}x{w} away"));
                }
                *dim = Some(size);
            }
        }
        let open: Vec<usize> = (1..dims.len()).filter(|&i| dims[i].is_none()).collect();
        if !open.is_empty() {
            return Err(if dims.len() == 4 && open.iter().all(|&i| i >= 2) {
                format!("input '{name}' leaves its height or width open; pass --input-size HxW")
            } else {
                format!("input '{name}' leaves its dimensions {open:?} open; export it with a fixed shape")
            });
        }
        let shape: Vec<u32> = dims.into_iter().flatten().collect();
        let fits = twinmask_model::graph::elements(&shape) <= twinmask_model::infer::MAX_TENSOR;
        if !fits || shape.len() > twinmask_model::infer::MAX_RANK {
            return Err(format!("input '{name}' of shape {shape:?} is too large"));
        }
        self.graph.input = self.graph.add_value(name, shape);
        self.names.insert(name.into(), Bound::Value(self.graph.input));
        Ok(())
    }

    fn add_outputs(&mut self, file: &reader::Graph) -> Result<(), String> {
        for output in &file.outputs {
            let Some(Bound::Value(id)) = self.names.get(output.name).cloned() else {
                return Err(format!(
                    "output '{}' is not computed from the input; remove it from the model's outputs",
                    output.name
                ));
            };
            if id != self.graph.input && !self.graph.constants.contains_key(&id) {
                output.name.clone_into(&mut self.graph.values[id as usize].name);
            }
            self.graph.outputs.push(id);
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
            Some(translate) => translate(self, call),
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
