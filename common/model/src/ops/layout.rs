//! Operators that only move elements.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::dims::{Shape, axis_of, broadcast, elements};
use crate::ops::operator::{Cost, Operator};
use crate::tagged::tagged;

/// Moving elements is no arithmetic.
const FREE: Cost = Cost { flops: 0, macs: 0 };

/// Joins the inputs along `axis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// Which axis.
    pub axis: u32,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=4096
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let mut shape = inputs[0].to_vec();
        let axis = axis_of(&shape, self.axis)?;
        for other in &inputs[1..] {
            let alike = |(i, (a, b)): (usize, (&u32, &u32))| i == axis || a == b;
            if other.len() != shape.len() || !other.iter().zip(&shape).enumerate().all(alike) {
                return Err(format!("{other:?} does not join {:?} along axis {axis}", inputs[0]));
            }
            shape[axis] = shape[axis].checked_add(other[axis]).ok_or("joined axis too long")?;
        }
        Ok(shape)
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs.iter().all(|&i| i)
    }
}

/// Same elements, new shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// New shape.
    pub shape: Shape,
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        if elements(&self.shape) == elements(inputs[0]) {
            Ok(self.shape.clone())
        } else {
            Err(format!("{:?} cannot become {:?}", inputs[0], self.shape))
        }
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}

/// Permutes the axes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transpose {
    /// Output axis i is input axis `perm[i]`.
    pub perm: Vec<u32>,
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, perm) = (inputs[0], &self.perm);
        let mut seen = vec![false; x.len()];
        let mut fresh = |p: u32| (p as usize) < x.len() && !std::mem::replace(&mut seen[p as usize], true);
        if perm.len() == x.len() && perm.iter().all(|&p| fresh(p)) {
            Ok(perm.iter().map(|&p| x[p as usize]).collect())
        } else {
            Err(format!("{perm:?} permutes no {x:?}"))
        }
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}

tagged! {
    /// What stands outside a padded tensor.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub enum PadMode, "kind of padding" {
        /// This value.
        Constant(value: f32) = 1,
        /// The tensor mirrored, its edge not repeated.
        Reflect = 2,
        /// The tensor's edge repeated.
        Edge = 3,
    }
}

/// Adds elements around the tensor, per axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Elements before, per axis.
    pub before: Vec<u32>,
    /// Elements after, per axis.
    pub after: Vec<u32>,
    /// What they hold.
    pub mode: PadMode,
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, before, after) = (inputs[0], &self.before, &self.after);
        if before.len() != x.len() || after.len() != x.len() {
            return Err(format!("paddings {before:?} and {after:?} for {x:?}"));
        }
        if self.mode == PadMode::Reflect && (0..x.len()).any(|i| before[i] >= x[i] || after[i] >= x[i]) {
            return Err(format!("reflection of {before:?} and {after:?} is wider than {x:?}"));
        }
        let padded = |i: usize| x[i].checked_add(before[i])?.checked_add(after[i]);
        (0..x.len()).map(padded).collect::<Option<_>>().ok_or("padding too wide".into())
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0] && !matches!(self.mode, PadMode::Constant(v) if v < 0.0)
    }
}

/// Strided sub-tensor: along axis i, `size[i]` elements from `start[i]` in steps of `step[i]` (never 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// First element, per axis.
    pub start: Vec<u32>,
    /// Step, per axis; may be negative.
    pub step: Vec<i32>,
    /// Elements, per axis.
    pub size: Vec<u32>,
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, Self { start, step, size }) = (inputs[0], self);
        if [start.len(), step.len(), size.len()] != [x.len(); 3] {
            return Err(format!("slice of rank {} for {x:?}", start.len()));
        }
        for i in 0..x.len() {
            let last = i64::from(start[i]) + i64::from(step[i]) * (i64::from(size[i]) - 1);
            let n = i64::from(x[i]);
            if step[i] == 0 || size[i] == 0 || i64::from(start[i]) >= n || !(0..n).contains(&last) {
                return Err(format!("slice from {} by {} for {} leaves axis {i} of {x:?}", start[i], step[i], size[i]));
            }
        }
        Ok(size.clone())
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}

/// Numpy broadcast to `shape`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expand {
    /// New shape.
    pub shape: Shape,
}

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn shape(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (x, shape) = (inputs[0], &self.shape);
        let out = broadcast(x, shape)?;
        if out == *shape { Ok(out) } else { Err(format!("{x:?} does not broadcast to {shape:?}")) }
    }

    fn cost(&self, _inputs: &[&[u32]], _output: &[u32]) -> Cost {
        FREE
    }

    fn non_negative(&self, inputs: &[bool]) -> bool {
        inputs[0]
    }
}
