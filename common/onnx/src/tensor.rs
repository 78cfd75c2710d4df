//! Constant tensors while importing: f32 or i64 (all integer types and booleans).

use twinmask_model::dims::{MAX_RANK, MAX_TENSOR, broadcast, elements};

/// Elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    F(Vec<f32>),
    I(Vec<i64>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<u32>,
    pub(super) data: Data,
}

/// Refuses shapes that no tensor may have. Sizes of zero count as 1, so that loops over the outer axes of an empty
/// tensor are bounded as well.
pub(super) fn check_shape(shape: &[u32]) -> Result<(), String> {
    let n = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d.max(1) as usize));
    if n > MAX_TENSOR || shape.len() > MAX_RANK {
        return Err(format!("{shape:?} has more than {MAX_RANK} dimensions or {MAX_TENSOR} elements"));
    }
    Ok(())
}

/// Row-major strides, in elements.
pub(super) fn strides(shape: &[u32]) -> Vec<usize> {
    let mut out = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i] as usize;
    }
    out
}

/// Axis as the file gives it (negative: from the end) in `0..rank`.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor of rank {rank}"))
}

/// Sorted, distinct axes.
pub(super) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut out = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) { Err(format!("axes {axes:?} name one twice")) } else { Ok(out) }
}

/// For each position of `shape` in row-major order, the sum of `index[i] * step[i]`.
fn walk(shape: &[u32], offset: i64, step: &[i64]) -> impl Iterator<Item = usize> {
    let (shape, step) = (shape.to_vec(), step.to_vec());
    let mut index = vec![0u32; shape.len()];
    let mut at = offset;
    (0..elements(&shape)).map(move |_| {
        let here = at;
        for i in (0..shape.len()).rev() {
            index[i] += 1;
            at += step[i];
            if index[i] < shape[i] {
                break;
            }
            at -= step[i] * i64::from(shape[i]);
            index[i] = 0;
        }
        here as usize
    })
}

impl Tensor {
    pub(super) fn floats(shape: Vec<u32>, data: Vec<f32>) -> Self {
        Self { shape, data: Data::F(data) }
    }

    pub(super) fn ints(shape: Vec<u32>, data: Vec<i64>) -> Self {
        Self { shape, data: Data::I(data) }
    }

    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::F(d) => d.len(),
            Data::I(d) => d.len(),
        }
    }

    /// The elements as floats, if they are.
    pub(super) fn as_floats(&self) -> Result<&[f32], String> {
        if let Data::F(d) = &self.data {
            Ok(d)
        } else {
            Err("an integer tensor stands where floats are expected".into())
        }
    }

    /// The elements as integers, if they are.
    pub(super) fn as_ints(&self) -> Result<&[i64], String> {
        if let Data::I(d) = &self.data {
            Ok(d)
        } else {
            Err("a float tensor stands where integers are expected".into())
        }
    }

    /// The elements as f32, whatever they are.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        match &self.data {
            Data::F(d) => d.clone(),
            Data::I(d) => d.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The only element.
    pub(super) fn scalar(&self) -> Result<f32, String> {
        if self.len() == 1 {
            Ok(self.to_floats()[0])
        } else {
            Err(format!("{:?} stands where one number is expected", self.shape))
        }
    }

    /// The elements at `indices`, in the shape `shape` of as many elements.
    pub(super) fn pick(&self, shape: Vec<u32>, indices: impl Iterator<Item = usize>) -> Self {
        let data = match &self.data {
            Data::F(d) => Data::F(indices.map(|i| d[i]).collect()),
            Data::I(d) => Data::I(indices.map(|i| d[i]).collect()),
        };
        Self { shape, data }
    }

    pub(super) fn reshaped(&self, shape: Vec<u32>) -> Self {
        Self { shape, data: self.data.clone() }
    }

    pub(super) fn transposed(&self, perm: &[usize]) -> Self {
        let from = strides(&self.shape);
        let shape: Vec<u32> = perm.iter().map(|&p| self.shape[p]).collect();
        let step: Vec<i64> = perm.iter().map(|&p| from[p] as i64).collect();
        self.pick(shape.clone(), walk(&shape, 0, &step))
    }

    /// Numpy broadcast to `shape`, which must be one that it broadcasts to.
    pub(super) fn expanded(&self, shape: &[u32]) -> Result<Self, String> {
        if broadcast(&self.shape, shape)? != shape {
            return Err(format!("{:?} does not broadcast to {shape:?}", self.shape));
        }
        let missing = shape.len() - self.shape.len();
        let from = strides(&self.shape);
        let step: Vec<i64> = (0..shape.len())
            .map(|i| if i < missing || self.shape[i - missing] == 1 { 0 } else { from[i - missing] as i64 })
            .collect();
        Ok(self.pick(shape.to_vec(), walk(shape, 0, &step)))
    }

    pub(super) fn sliced(&self, plan: &SlicePlan) -> Self {
        let from = strides(&self.shape);
        let offset = plan.start.iter().zip(&from).map(|(&s, &f)| i64::from(s) * f as i64).sum();
        let step: Vec<i64> = plan.step.iter().zip(&from).map(|(&s, &f)| i64::from(s) * f as i64).collect();
        self.pick(plan.size.clone(), walk(&plan.size, offset, &step))
    }
}

/// Operands of [`twinmask_model::ops::Slice`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlicePlan {
    pub(super) start: Vec<u32>,
    pub(super) step: Vec<i32>,
    pub(super) size: Vec<u32>,
}

impl SlicePlan {
    /// All of a tensor.
    pub(super) fn whole(shape: &[u32]) -> Self {
        Self { start: vec![0; shape.len()], step: vec![1; shape.len()], size: shape.to_vec() }
    }

    /// ONNX's `starts`, `ends`, `axes`, `steps` on a tensor, with their clamping.
    pub(super) fn new(
        shape: &[u32],
        starts: &[i64],
        ends: &[i64],
        axes: Option<&[i64]>,
        steps: Option<&[i64]>,
    ) -> Result<Self, String> {
        let n = starts.len();
        if ends.len() != n || axes.is_some_and(|a| a.len() != n) || steps.is_some_and(|s| s.len() != n) {
            return Err("starts, ends, axes and steps differ in length".into());
        }
        let mut plan = Self::whole(shape);
        for i in 0..n {
            let axis = axis_of(axes.map_or(i as i64, |a| a[i]), shape.len())?;
            let (d, step) = (i64::from(shape[axis]), steps.map_or(1, |s| s[i]));
            let step32 =
                i32::try_from(step).ok().filter(|&s| s != 0 && s != i32::MIN).ok_or_else(|| format!("step {step}"))?;
            let wrap = |v: i64| if v < 0 { v.saturating_add(d) } else { v };
            let (low, high) = if step > 0 { (0, d) } else { (-1, d - 1) };
            let start = wrap(starts[i]).clamp(low.max(0), high.max(0));
            let end = wrap(ends[i]).clamp(low, high);
            let room = if step > 0 { end - start } else { start - end };
            let size = room.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
            plan.start[axis] = start as u32;
            plan.step[axis] = step32;
            plan.size[axis] = size as u32;
        }
        Ok(plan)
    }
}
