//! One node of the file: attributes with defaults, and which of them were asked for.

use std::cell::RefCell;

use super::reader::{Attribute, Node, Tensor};

/// Attributes without influence on inference results.
const IGNORED: [&str; 9] = [
    "momentum",
    "seed",
    "storage_order",
    "is_test",
    "consumed_inputs",
    "exclude_outside",
    "extrapolation_value",
    "stash_type",
    "saturate",
];

/// Whether a domain is ONNX's own.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// A node that is being imported.
pub(super) struct Call<'a> {
    pub(super) node: &'a Node<'a>,
    /// Name of the node, or of its first output.
    pub(super) name: String,
    pub(super) op: &'a str,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(node: &'a Node<'a>) -> Self {
        let name =
            if node.name.is_empty() { node.outputs.first().cloned().unwrap_or_default() } else { node.name.clone() };
        Self { node, name, op: node.op, asked: RefCell::default() }
    }

    fn get(&self, name: &'static str) -> Option<&'a Attribute<'a>> {
        self.asked.borrow_mut().push(name);
        self.node.attributes.iter().find(|a| a.name == name)
    }

    pub(super) fn has_input(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(|n| !n.is_empty())
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn int(&self, name: &'static str, default: i64) -> i64 {
        self.get(name).map_or(default, |a| a.i)
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }

    pub(super) fn float(&self, name: &'static str, default: f32) -> Result<f32, String> {
        let value = self.get(name).map_or(default, |a| a.f);
        if value.is_finite() { Ok(value) } else { Err(format!("attribute {name} is {value}")) }
    }

    pub(super) fn floats(&self, name: &'static str) -> Option<&'a [f32]> {
        self.get(name).map(|a| a.floats.as_slice())
    }

    pub(super) fn ints(&self, name: &'static str) -> Option<&'a [i64]> {
        self.get(name).map(|a| a.ints.as_slice())
    }

    pub(super) fn text(&self, name: &'static str, default: &'static str) -> &'a str {
        self.get(name).map_or(default, |a| std::str::from_utf8(a.s).unwrap_or("(not UTF-8)"))
    }

    pub(super) fn tensor(&self, name: &'static str) -> Option<&'a Tensor<'a>> {
        self.get(name).and_then(|a| a.tensor.as_ref())
    }

    /// Refuses an attribute that nothing has asked for: a form of the operator that is not known.
    pub(super) fn check_attributes(&self) -> Result<(), String> {
        let asked = self.asked.borrow();
        match self.node.attributes.iter().find(|a| !asked.contains(&a.name) && !IGNORED.contains(&a.name)) {
            None => Ok(()),
            Some(a) => Err(format!("attribute '{}' is not known in this form of the operator", a.name)),
        }
    }
}
