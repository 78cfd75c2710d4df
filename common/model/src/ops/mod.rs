//! The operators of the IR, one file per family. Semantics are those of the ONNX operator of the same name unless said
//! otherwise.
//!
//! A new operator is a struct in its family's file that implements `Operator`, and a line with a fresh number in the
//! table below. The compiler then asks the executor (`common/exec/src/apply.rs`) how it is computed, and tests ask for
//! its number (`common/model/tests/format.rs`), for vectors (`common/exec/testdata/vectors.py`) and for random operands
//! (`any_op` of the executor's tests). The importer takes it by a line in the `TABLE` of its family;
//! `tests/onnx/operators.py` compares files with onnxruntime. The set is closed: the device infers every shape of a
//! bundle anew with it.

pub(crate) mod elementwise;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod normalize;
pub(crate) mod operator;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod window;

pub use elementwise::{Binary, Unary, Where};
pub use index::Gather;
pub use layout::{Concat, Expand, Pad, PadMode, Reshape, Slice, Transpose};
pub use linear::{Dense, Linear, MatMul};
pub use normalize::{Lrn, Normalize, Softmax};
pub use reduce::{ArgMax, Reduce, ReduceKind};
pub use resize::{Coordinates, NearestRounding, Resize, ResizeMode};
pub use window::{Conv, ConvTranspose, Pool, PoolKind, Window, pool_size};

use crate::tagged::tagged;
use operator::Operator;

/// Defines [`Op`] from the operators' names and numbers.
macro_rules! operators {
    ($( $op:ident = $tag:literal, )+) => {
        tagged! {
            /// One of the operators.
            #[derive(Debug, Clone, PartialEq)]
            pub enum Op, "operator" {$(
                #[doc = concat!("[`", stringify!($op), "`](type@", stringify!($op), ").")]
                $op(op: $op) = $tag,
            )+}
        }

        impl Op {
            /// The operator's answers about itself.
            pub(crate) fn operator(&self) -> &dyn Operator {
                match self {$( Self::$op(op) => op, )+}
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })+
    };
}

// The numbers are those of bundle format 2. They are never changed and never used again for another operator.
operators! {
    Linear = 1,
    Conv = 2,
    ConvTranspose = 3,
    Dense = 4,
    MatMul = 5,
    Unary = 6,
    Binary = 7,
    Pool = 8,
    Reduce = 9,
    ArgMax = 10,
    Softmax = 11,
    Normalize = 12,
    Lrn = 13,
    Concat = 14,
    Reshape = 15,
    Transpose = 16,
    Pad = 17,
    Slice = 18,
    Expand = 19,
    Resize = 20,
    Where = 21,
    Gather = 22,
}

impl Op {
    /// The operator's name, for messages and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.operator().name()
    }
}
