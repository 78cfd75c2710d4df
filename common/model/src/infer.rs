//! Shape inference, shared by the importer and the device: the device re-infers every shape of a graph it loads
//! and refuses one that does not check out.

use crate::graph::{Graph, Op, Window, elements};

/// Most elements of one tensor.
pub const MAX_TENSOR: usize = 1 << 28;
/// Highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// A graph that does not check out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node '{node}' ({op}): {reason}")]
pub struct InferError {
    /// Name of the node.
    pub node: String,
    /// Operator.
    pub op: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl InferError {
    /// The same error, said of `node`.
    #[must_use]
    pub fn at(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }
}

type Shape = Vec<u32>;

/// The output shape of `op` on operands of these shapes.
///
/// # Errors
/// [`InferError`] without a node name (see [`InferError::at`]).
pub fn infer(op: &Op, inputs: &[&[u32]]) -> Result<Shape, InferError> {
    let result = arity(op, inputs).and_then(|()| shape_of(op, inputs)).and_then(|shape| {
        if shape.len() > MAX_RANK {
            Err(format!("rank {} is above {MAX_RANK}", shape.len()))
        } else if elements(&shape) > MAX_TENSOR {
            Err(format!("output {shape:?} has more than {MAX_TENSOR} elements"))
        } else if shape.contains(&0) {
            Err(format!("output {shape:?} is empty"))
        } else {
            Ok(shape)
        }
    });
    result.map_err(|reason| InferError { node: String::new(), op: op.name(), reason })
}

fn arity(op: &Op, inputs: &[&[u32]]) -> Result<(), String> {
    let range = match op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Dense => 2..=3,
        Op::MatMul | Op::Binary(_) => 2..=2,
        Op::Concat { .. } => 1..=4096,
        _ => 1..=1,
    };
    if !range.contains(&inputs.len()) {
        return Err(format!("{} operands", inputs.len()));
    }
    match inputs.iter().find(|shape| shape.contains(&0)) {
        Some(empty) => Err(format!("operand {empty:?} is empty")),
        None => Ok(()),
    }
}

fn shape_of(op: &Op, inputs: &[&[u32]]) -> Result<Shape, String> {
    let x = inputs[0];
    match op {
        Op::Linear { shape, .. } => Ok(shape.clone()),
        Op::Resize { shape, scale, .. } => resize(x, shape, scale),
        Op::Unary(_) => Ok(x.to_vec()),
        Op::Lrn { size, .. } if *size > 0 && x.len() >= 2 => Ok(x.to_vec()),
        Op::Lrn { size, .. } => Err(format!("a window of {size} channels on {x:?}")),
        Op::Softmax { axis, .. } => axis_of(x, *axis).map(|_| x.to_vec()),
        Op::Normalize { axes, .. } => axes_of(x, axes).map(|()| x.to_vec()),
        Op::Binary(_) => broadcast(x, inputs[1]),
        Op::Conv { window, groups } => conv(x, inputs[1], inputs.get(2).copied(), window, *groups),
        Op::ConvTranspose { window, output_padding, groups } => {
            conv_transpose(x, inputs[1], inputs.get(2).copied(), window, *output_padding, *groups)
        }
        Op::Dense => dense(x, inputs[1], inputs.get(2).copied()),
        Op::MatMul => matmul(x, inputs[1]),
        Op::Pool { window, ceil, .. } => pool(x, window, *ceil),
        Op::Reduce { axes, keep_dims, .. } => axes_of(x, axes).map(|()| reduced(x, axes, *keep_dims)),
        Op::ArgMax { axis, keep_dims, .. } => axis_of(x, *axis).map(|_| reduced(x, &[*axis], *keep_dims)),
        Op::Concat { axis } => concat(inputs, *axis),
        Op::Reshape { shape } => {
            if elements(shape) == elements(x) {
                Ok(shape.clone())
            } else {
                Err(format!("{x:?} cannot become {shape:?}"))
            }
        }
        Op::Transpose { perm } => {
            let mut seen = vec![false; x.len()];
            let valid = perm.len() == x.len()
                && perm.iter().all(|&p| (p as usize) < x.len() && !std::mem::replace(&mut seen[p as usize], true));
            if valid {
                Ok(perm.iter().map(|&p| x[p as usize]).collect())
            } else {
                Err(format!("{perm:?} permutes no {x:?}"))
            }
        }
        Op::Pad { before, after, mode } => pad(x, before, after, *mode),
        Op::Slice { start, step, size } => slice(x, start, step, size),
        Op::Expand { shape } => {
            let out = broadcast(x, shape)?;
            if out == *shape { Ok(out) } else { Err(format!("{x:?} does not broadcast to {shape:?}")) }
        }
    }
}

fn resize(x: &[u32], shape: &[u32], scale: &[f32]) -> Result<Shape, String> {
    let positive = scale.iter().all(|s| s.is_finite() && *s > 0.0);
    if shape.len() == x.len() && scale.len() == x.len() && positive {
        Ok(shape.to_vec())
    } else {
        Err(format!("{x:?} cannot be resized to {shape:?} by {scale:?}"))
    }
}

fn axis_of(x: &[u32], axis: u32) -> Result<usize, String> {
    if (axis as usize) < x.len() { Ok(axis as usize) } else { Err(format!("axis {axis} of {x:?}")) }
}

fn axes_of(x: &[u32], axes: &[u32]) -> Result<(), String> {
    if axes.windows(2).any(|w| w[0] >= w[1]) {
        return Err(format!("axes {axes:?} are not sorted and distinct"));
    }
    axes.iter().try_for_each(|&a| axis_of(x, a).map(|_| ()))
}

fn reduced(x: &[u32], axes: &[u32], keep: bool) -> Shape {
    let gone = |i: usize| axes.contains(&(i as u32));
    if keep {
        x.iter().enumerate().map(|(i, &d)| if gone(i) { 1 } else { d }).collect()
    } else {
        x.iter().enumerate().filter(|&(i, _)| !gone(i)).map(|(_, &d)| d).collect()
    }
}

/// The numpy broadcast of two shapes.
///
/// # Errors
/// Says which shapes do not broadcast.
pub fn broadcast(a: &[u32], b: &[u32]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[u32], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// Channels, height and width of `[1, c, h, w]` or `[1, c, l]` (height 1).
///
/// # Errors
/// Says which shape is no image of batch 1.
pub fn image(x: &[u32]) -> Result<[u32; 3], String> {
    match *x {
        [1, c, h, w] => Ok([c, h, w]),
        [1, c, l] => Ok([c, 1, l]),
        _ => Err(format!("{x:?} is not [1, channels, height, width] or [1, channels, length]")),
    }
}

fn like_image(x: &[u32], c: u32, h: u32, w: u32) -> Shape {
    if x.len() == 4 { vec![1, c, h, w] } else { vec![1, c, w] }
}

fn check_window(x: &[u32], w: &Window) -> Result<(), String> {
    // A 1-D tensor is one row, and stays one.
    if x.len() == 3 && (w.kernel[0], w.stride[0], w.pad[0], w.pad[2]) != (1, 1, 0, 0) {
        return Err(format!("window {w:?} has rows, input {x:?} has none"));
    }
    let positive = w.kernel.iter().chain(&w.stride).chain(&w.dilation).all(|&v| (1..1 << 16).contains(&v));
    if positive && w.pad.iter().all(|&p| p < 1 << 16) { Ok(()) } else { Err(format!("impossible window {w:?}")) }
}

fn span(w: &Window, i: usize) -> u64 {
    u64::from(w.dilation[i]) * (u64::from(w.kernel[i]) - 1) + 1
}

fn check_bias(bias: Option<&[u32]>, outputs: u32) -> Result<(), String> {
    match bias {
        None => Ok(()),
        Some(b) if b == [outputs] => Ok(()),
        Some(b) => Err(format!("bias {b:?} for {outputs} outputs")),
    }
}

/// Kernel height and width of weights `[o, i, kh, kw]` or `[o, i, k]`.
fn kernel_of(w: &[u32]) -> Option<[u32; 2]> {
    match *w {
        [_, _, kh, kw] => Some([kh, kw]),
        [_, _, k] => Some([1, k]),
        _ => None,
    }
}

fn conv(x: &[u32], w: &[u32], b: Option<&[u32]>, window: &Window, groups: u32) -> Result<Shape, String> {
    let [c, h, wd] = image(x)?;
    check_window(x, window)?;
    if kernel_of(w) != Some(window.kernel)
        || groups == 0
        || c % groups != 0
        || w[1] != c / groups
        || !w[0].is_multiple_of(groups)
    {
        return Err(format!("weights {w:?} do not fit input {x:?} in {groups} groups, kernel {:?}", window.kernel));
    }
    check_bias(b, w[0])?;
    let out = |n: u32, i: usize| {
        let padded = u64::from(n) + u64::from(window.pad[i]) + u64::from(window.pad[i + 2]);
        padded.checked_sub(span(window, i)).map(|room| (room / u64::from(window.stride[i]) + 1) as u32)
    };
    match (out(h, 0), out(wd, 1)) {
        (Some(oh), Some(ow)) => Ok(like_image(x, w[0], oh, ow)),
        _ => Err(format!("kernel {:?} does not fit input {x:?}", window.kernel)),
    }
}

fn conv_transpose(
    x: &[u32],
    w: &[u32],
    b: Option<&[u32]>,
    window: &Window,
    output_padding: [u32; 2],
    groups: u32,
) -> Result<Shape, String> {
    let [c, h, wd] = image(x)?;
    check_window(x, window)?;
    if kernel_of(w) != Some(window.kernel)
        || groups == 0
        || c % groups != 0
        || w[0] != c
        || output_padding.iter().any(|&p| p >= 1 << 16)
    {
        return Err(format!("weights {w:?} do not fit input {x:?} in {groups} groups, kernel {:?}", window.kernel));
    }
    let outputs = w[1].checked_mul(groups).ok_or("too many output channels")?;
    check_bias(b, outputs)?;
    let out = |n: u32, i: usize| {
        let full = u64::from(window.stride[i]) * (u64::from(n) - 1) + span(window, i) + u64::from(output_padding[i]);
        full.checked_sub(u64::from(window.pad[i]) + u64::from(window.pad[i + 2])).and_then(|v| u32::try_from(v).ok())
    };
    match (out(h, 0), out(wd, 1)) {
        (Some(oh), Some(ow)) => Ok(like_image(x, outputs, oh, ow)),
        _ => Err(format!("padding {:?} leaves nothing of the output", window.pad)),
    }
}

fn dense(x: &[u32], w: &[u32], b: Option<&[u32]>) -> Result<Shape, String> {
    match (w, x.split_last()) {
        (&[outputs, inputs], Some((&last, rows))) if last == inputs => {
            check_bias(b, outputs)?;
            Ok([rows, &[outputs]].concat())
        }
        _ => Err(format!("weights {w:?} do not fit input {x:?}")),
    }
}

fn matmul(a: &[u32], b: &[u32]) -> Result<Shape, String> {
    let (Some((m, ra)), Some((k2, n, rb))) =
        (a.len().checked_sub(2).map(|r| (a[r], r)), b.len().checked_sub(2).map(|r| (b[r], b[r + 1], r)))
    else {
        return Err(format!("{a:?} x {b:?}: both operands need rank 2 or more"));
    };
    if a[ra + 1] != k2 {
        return Err(format!("{a:?} x {b:?}: inner sizes differ"));
    }
    let mut shape = broadcast(&a[..ra], &b[..rb])?;
    shape.extend([m, n]);
    Ok(shape)
}

/// Output size of a pooling window along axis `i` (0 height, 1 width); `None` when it does not fit.
#[must_use]
pub fn pool_size(n: u32, window: &Window, i: usize, ceil: bool) -> Option<u32> {
    let (before, stride) = (u64::from(window.pad[i]), u64::from(window.stride[i]));
    let padded = u64::from(n) + before + u64::from(window.pad[i + 2]);
    let room = padded.checked_sub(span(window, i))?;
    let mut out = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
    // A last window that would start in the padding behind the input is dropped, as onnxruntime does.
    if ceil && (out - 1) * stride >= u64::from(n) + before {
        out -= 1;
    }
    u32::try_from(out).ok()
}

fn pool(x: &[u32], window: &Window, ceil: bool) -> Result<Shape, String> {
    let [c, h, w] = image(x)?;
    check_window(x, window)?;
    let inside = (0..2).all(|i| u64::from(window.pad[i].max(window.pad[i + 2])) < span(window, i));
    match (inside, pool_size(h, window, 0, ceil), pool_size(w, window, 1, ceil)) {
        (true, Some(oh), Some(ow)) => Ok(like_image(x, c, oh, ow)),
        _ => Err(format!("window {window:?} does not fit input {x:?}")),
    }
}

fn concat(inputs: &[&[u32]], axis: u32) -> Result<Shape, String> {
    let mut shape = inputs[0].to_vec();
    let axis = axis_of(&shape, axis)?;
    for other in &inputs[1..] {
        let fits =
            other.len() == shape.len() && other.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return Err(format!("{other:?} does not join {:?} along axis {axis}", inputs[0]));
        }
        shape[axis] = shape[axis].checked_add(other[axis]).ok_or("joined axis too long")?;
    }
    Ok(shape)
}

fn pad(x: &[u32], before: &[u32], after: &[u32], mode: crate::graph::PadMode) -> Result<Shape, String> {
    if before.len() != x.len() || after.len() != x.len() {
        return Err(format!("paddings {before:?} and {after:?} for {x:?}"));
    }
    if mode == crate::graph::PadMode::Reflect && (0..x.len()).any(|i| before[i] >= x[i] || after[i] >= x[i]) {
        return Err(format!("reflection of {before:?} and {after:?} is wider than {x:?}"));
    }
    (0..x.len())
        .map(|i| x[i].checked_add(before[i])?.checked_add(after[i]))
        .collect::<Option<_>>()
        .ok_or("padding too wide".into())
}

fn slice(x: &[u32], start: &[u32], step: &[i32], size: &[u32]) -> Result<Shape, String> {
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
    Ok(size.to_vec())
}

/// Checks a whole graph from outside: ids in range, every operand defined before it is used and every value at
/// most once, stored shapes equal to inferred ones, constants as long as their shapes, all tensors together within
/// `memory_cap` bytes.
///
/// # Errors
/// [`InferError`] naming the first node (or value) that does not check out.
pub fn check(graph: &Graph, memory_cap: usize) -> Result<(), InferError> {
    let fail = |node: &str, op, reason: String| Err(InferError { node: node.into(), op, reason });
    let n = graph.values.len();
    let mut defined = vec![false; n];
    let mut bytes = 0usize;
    for (&id, data) in &graph.constants {
        match graph.values.get(id as usize) {
            Some(v) if v.len() == data.len() => defined[id as usize] = true,
            _ => return fail("constants", "Constant", format!("constant {id} does not fit its shape")),
        }
    }
    match graph.values.get(graph.input as usize) {
        Some(v) if !defined[graph.input as usize] && !v.is_empty() && v.shape.len() <= MAX_RANK => {
            defined[graph.input as usize] = true
        }
        _ => return fail("input", "Input", "the input is missing, empty or constant".into()),
    }
    for node in &graph.nodes {
        if let Some(&bad) = node.inputs.iter().find(|&&i| !defined.get(i as usize).is_some_and(|&d| d)) {
            return fail(&node.name, node.op.name(), format!("operand {bad} is not computed before"));
        }
        let shapes: Vec<&[u32]> = node.inputs.iter().map(|&i| graph.shape(i)).collect();
        let shape = infer(&node.op, &shapes).map_err(|e| e.at(&node.name))?;
        match graph.values.get(node.output as usize) {
            Some(v) if v.shape == shape && !defined[node.output as usize] => defined[node.output as usize] = true,
            _ => {
                return fail(
                    &node.name,
                    node.op.name(),
                    format!("output {} is not a fresh value of shape {shape:?}", node.output),
                );
            }
        }
    }
    if graph.outputs.is_empty() || graph.outputs.iter().any(|&o| !defined.get(o as usize).is_some_and(|&d| d)) {
        return fail("outputs", "Output", "an output is missing or never computed".into());
    }
    for v in &graph.values {
        bytes = bytes.saturating_add(v.len().saturating_mul(4));
    }
    if bytes > memory_cap {
        return fail("graph", "Graph", format!("its tensors take {bytes} bytes, more than the cap of {memory_cap}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "infer_tests.rs"]
mod tests;
