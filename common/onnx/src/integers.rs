//! Which results are integers. The device computes in f32, so integers may only go through operators that do the same
//! with both: sums and products of what f32 holds exactly, comparisons, and whatever only moves elements.

use twinmask_model::graph::Element;

use super::call::Call;
use super::importer::Importer;

/// Operators that give integers for integers.
const LIKE_FLOATS: [&str; 26] = [
    "Abs",
    "Add",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Identity",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Element type of the node's results.
pub(super) fn result(im: &Importer, call: &Call) -> Result<Element, String> {
    let integers = im.integer_operand(call);
    match (call.op, integers) {
        ("ArgMax" | "ArgMin", None) => Ok(Element::I64),
        ("Cast", _) => Ok(match call.int("to", 0) {
            6 => Element::I32,
            // Booleans are integers here, 0 and 1.
            7 | 9 => Element::I64,
            _ => Element::F32,
        }),
        ("CastLike", _) => Ok(im.element(call, 1)),
        ("Gather", _) => Ok(im.element(call, 0)),
        ("Where", _) => Ok(im.element(call, 1)),
        (_, None) => Ok(Element::F32),
        (op, Some(element)) if LIKE_FLOATS.contains(&op) => Ok(element),
        (_, Some(_)) => {
            Err("its operand holds integers, with which it computes otherwise than with floats; cast them before"
                .into())
        }
    }
}
