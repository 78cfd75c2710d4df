//! Local functions (`ModelProto.functions`): calls are replaced by the function's nodes before import.

use std::collections::HashMap;

use super::reader::{Attribute, Function, Graph, Node};

/// Deepest nesting of calls.
const MAX_DEPTH: u32 = 32;
/// Most words of 8 bytes that inlined nodes may take, about.
const MAX_COST: usize = 1 << 26;

/// The graph without calls of local functions.
pub(super) fn inline<'a>(mut graph: Graph<'a>, functions: &[Function<'a>]) -> Result<Graph<'a>, String> {
    if !functions.is_empty() {
        let mut inliner = Inliner { functions, calls: 0, left: MAX_COST, nodes: Vec::new() };
        for node in std::mem::take(&mut graph.nodes) {
            inliner.expand(node, 0)?;
        }
        graph.nodes = inliner.nodes;
    }
    Ok(graph)
}

/// Size of a node in words, about: every copy is paid for, so that nested calls cannot multiply without bound.
fn cost(node: &Node) -> usize {
    let names = node.inputs.iter().chain(&node.outputs).map(|n| n.len() / 8 + 4).sum::<usize>();
    let tensor = |a: &Attribute| a.tensor.as_ref().map_or(0, |t| t.floats.len() + t.ints.len() + t.doubles.len());
    names + node.attributes.iter().map(|a| 32 + a.ints.len() + a.floats.len() + tensor(a)).sum::<usize>() + 32
}

struct Inliner<'f, 'a> {
    functions: &'f [Function<'a>],
    /// Calls so far: makes the names inside each one unique.
    calls: u32,
    left: usize,
    nodes: Vec<Node<'a>>,
}

impl<'a> Inliner<'_, 'a> {
    fn expand(&mut self, node: Node<'a>, depth: u32) -> Result<(), String> {
        self.left = self.left.checked_sub(cost(&node)).ok_or("its local functions expand to too many nodes")?;
        let Some(function) = self.functions.iter().find(|f| f.name == node.op && f.domain == node.domain) else {
            self.nodes.push(node);
            return Ok(());
        };
        if depth >= MAX_DEPTH {
            return Err(format!(
                "local function '{}' calls itself, or calls nest more than {MAX_DEPTH} deep",
                function.name
            ));
        }
        self.calls += 1;
        let prefix = format!("{}#{}", function.name, self.calls);
        let names = outer_names(&node, function)?;
        let rename = |list: &[String]| {
            let inner = |n: &String| if n.is_empty() { String::new() } else { format!("{prefix}/{n}") };
            list.iter().map(|n| names.get(n.as_str()).cloned().unwrap_or_else(|| inner(n))).collect()
        };
        for inner in &function.nodes {
            let call = Node {
                domain: inner.domain,
                op: inner.op,
                name: format!("{prefix}/{}", if inner.name.is_empty() { inner.op } else { &inner.name }),
                inputs: rename(&inner.inputs),
                outputs: rename(&inner.outputs),
                attributes: inner.attributes.iter().filter_map(|a| resolve(a, &node, function)).collect(),
            };
            self.expand(call, depth + 1)?;
        }
        Ok(())
    }
}

/// The caller's names for a function's inputs and outputs.
fn outer_names<'a>(call: &Node, function: &Function<'a>) -> Result<HashMap<&'a str, String>, String> {
    let mut names = HashMap::new();
    for (i, &name) in function.inputs.iter().enumerate() {
        names.insert(name, call.inputs.get(i).cloned().unwrap_or_default());
    }
    for (&name, outer) in function.outputs.iter().zip(&call.outputs) {
        if names.insert(name, outer.clone()).is_some() {
            return Err(format!(
                "local function '{}' returns its input '{name}' as it is, which is not supported",
                function.name
            ));
        }
    }
    Ok(names)
}

/// An attribute of a node in a function, taken from the call or the function's defaults where it refers to them; an
/// attribute that the call leaves away is absent.
fn resolve<'a>(attribute: &Attribute<'a>, call: &Node<'a>, function: &Function<'a>) -> Option<Attribute<'a>> {
    if attribute.reference.is_empty() {
        return Some(attribute.clone());
    }
    let by_name = |a: &&Attribute<'a>| a.name == attribute.reference;
    let value = call.attributes.iter().find(by_name).or_else(|| function.defaults.iter().find(by_name))?;
    Some(Attribute { name: attribute.name, ..value.clone() })
}
