//! Operators with a window: convolution, transposed convolution, pooling.

use twinmask_model::dims::image;
use twinmask_model::ops::{Conv, ConvTranspose, Pool, PoolKind, Reduce, ReduceKind, Window};

use super::call::Call;
use super::importer::{Importer, Table};

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[
    ("AveragePool", pool),
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("GlobalAveragePool", global_pool),
    ("GlobalMaxPool", global_pool),
    ("MaxPool", pool),
];

/// Height and width, or length, as the file orders them: per spatial axis, with height 1 put before a length.
struct Spatial {
    rank: usize,
}

impl Spatial {
    fn of(x: &[u32]) -> Result<Self> {
        image(x)?;
        Ok(Self { rank: x.len() - 2 })
    }

    /// A list with one entry per axis; `fill` for the missing height of 1-D tensors.
    fn pair(&self, name: &str, list: Option<&[i64]>, default: u32, fill: u32) -> Result<[u32; 2]> {
        let Some(list) = list else { return Ok(if self.rank == 2 { [default; 2] } else { [fill, default] }) };
        let size = |v: i64| u32::try_from(v).ok().filter(|&v| v < 1 << 16).ok_or_else(|| format!("{name} {list:?}"));
        match (self.rank, list) {
            (2, &[a, b]) => Ok([size(a)?, size(b)?]),
            (1, &[a]) => Ok([fill, size(a)?]),
            _ => Err(format!("{name} {list:?} for {} spatial axes", self.rank)),
        }
    }

    /// ONNX's `pads` (all begins, then all ends).
    fn pads(&self, list: Option<&[i64]>) -> Result<[u32; 4]> {
        let Some(list) = list else { return Ok([0; 4]) };
        if list.len() != 2 * self.rank {
            return Err(format!("pads {list:?} for {} spatial axes", self.rank));
        }
        let (begin, end) = list.split_at(self.rank);
        let ([t, l], [b, r]) = (self.pair("pads", Some(begin), 0, 0)?, self.pair("pads", Some(end), 0, 0)?);
        Ok([t, l, b, r])
    }
}

fn kernel(s: &Spatial, call: &Call, weights: Option<&[u32]>) -> Result<[u32; 2]> {
    let given = call.ints("kernel_shape");
    let from_weights: Option<Vec<i64>> = weights.map(|w| w.iter().skip(2).map(|&d| i64::from(d)).collect());
    match (given, from_weights.as_deref()) {
        (Some(g), Some(w)) if g != w => Err(format!("kernel_shape {g:?} for weights of kernel {w:?}")),
        (None, None) => Err("kernel_shape is missing".into()),
        (g, w) => s.pair("kernel_shape", g.or(w), 1, 1),
    }
}

/// The window without padding.
fn window(s: &Spatial, call: &Call, weights: Option<&[u32]>) -> Result<Window> {
    Ok(Window {
        kernel: kernel(s, call, weights)?,
        stride: s.pair("strides", call.ints("strides"), 1, 1)?,
        pad: [0; 4],
        dilation: s.pair("dilations", call.ints("dilations"), 1, 1)?,
    })
}

fn span(w: &Window, i: usize) -> i64 {
    i64::from(w.dilation[i]) * (i64::from(w.kernel[i]) - 1) + 1
}

/// Splits a total padding: the larger half at the end for `SAME_UPPER`, at the begin for `SAME_LOWER`.
fn halves(total: i64, upper: bool) -> Result<(u32, u32)> {
    let total = u32::try_from(total).map_err(|_| format!("a total padding of {total}"))?;
    let (small, large) = (total / 2, total - total / 2);
    Ok(if upper { (small, large) } else { (large, small) })
}

/// Padding of a convolution or pooling.
fn set_padding(s: &Spatial, call: &Call, x: &[u32], w: &mut Window) -> Result {
    w.pad = s.pads(call.ints("pads"))?;
    match call.text("auto_pad", "NOTSET") {
        "NOTSET" => {}
        "VALID" => w.pad = [0; 4],
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let [_, height, width] = image(x)?;
            for (i, n) in [height, width].into_iter().enumerate() {
                let (n, stride) = (i64::from(n), i64::from(w.stride[i].max(1)));
                let total = (((n + stride - 1) / stride - 1) * stride + span(w, i) - n).max(0);
                (w.pad[i], w.pad[i + 2]) = halves(total, mode == "SAME_UPPER")?;
            }
        }
        other => return Err(format!("auto_pad {other}")),
    }
    Ok(())
}

fn groups(call: &Call) -> Result<u32> {
    let g = call.int("group", 1);
    u32::try_from(g).map_err(|_| format!("group {g}"))
}

/// Weights and, if there is one, bias as operands after x.
fn operands(im: &mut Importer, call: &Call, x: u32) -> Result<Vec<u32>> {
    let mut inputs = vec![x, im.value(call, 1)?];
    if call.has_input(2) {
        inputs.push(im.value(call, 2)?);
    }
    Ok(inputs)
}

fn conv(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let s = Spatial::of(&shape)?;
    let mut window = window(&s, call, Some(&im.shape(call, 1)?))?;
    set_padding(&s, call, &shape, &mut window)?;
    let inputs = operands(im, call, x)?;
    let y = im.emit(call, Conv { window, groups: groups(call)? }, inputs)?;
    im.bind(call, 0, y)
}

fn conv_transpose(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let s = Spatial::of(&shape)?;
    let mut w = window(&s, call, Some(&im.shape(call, 1)?))?;
    let output_padding = s.pair("output_padding", call.ints("output_padding"), 0, 0)?;
    w.pad = s.pads(call.ints("pads"))?;
    let [_, height, width] = image(&shape)?;
    let auto = call.text("auto_pad", "NOTSET");
    let target = match (call.ints("output_shape"), auto) {
        (Some(list), _) => Some(s.pair("output_shape", Some(&list[list.len().saturating_sub(s.rank)..]), 1, 1)?),
        (None, "SAME_UPPER" | "SAME_LOWER") => {
            Some([height.saturating_mul(w.stride[0]), width.saturating_mul(w.stride[1])])
        }
        (None, "VALID") => {
            w.pad = [0; 4];
            None
        }
        (None, "NOTSET") => None,
        (None, other) => return Err(format!("auto_pad {other}")),
    };
    for (i, n) in [height, width].into_iter().enumerate() {
        if let Some(target) = target {
            let full = i64::from(w.stride[i]) * (i64::from(n) - 1) + i64::from(output_padding[i]) + span(&w, i);
            (w.pad[i], w.pad[i + 2]) = halves(full - i64::from(target[i]), auto == "SAME_UPPER")?;
        }
    }
    let inputs = operands(im, call, x)?;
    let y = im.emit(call, ConvTranspose { window: w, output_padding, groups: groups(call)? }, inputs)?;
    im.bind(call, 0, y)
}

fn pool(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let shape = im.graph.shape(x).to_vec();
    let s = Spatial::of(&shape)?;
    let mut window = window(&s, call, None)?;
    set_padding(&s, call, &shape, &mut window)?;
    let kind = if call.op == "MaxPool" {
        PoolKind::Max
    } else {
        PoolKind::Average { count_include_pad: call.flag("count_include_pad", false) }
    };
    let y = im.emit(call, Pool { window, kind, ceil: call.flag("ceil_mode", false) }, vec![x])?;
    im.bind(call, 0, y)
}

fn global_pool(im: &mut Importer, call: &Call) -> Result {
    let x = im.value(call, 0)?;
    let rank = im.graph.shape(x).len() as u32;
    if rank < 3 {
        return Err(format!("an input of rank {rank}"));
    }
    let kind = if call.op == "GlobalMaxPool" { ReduceKind::Max } else { ReduceKind::Mean };
    let y = im.emit(call, Reduce { kind, axes: (2..rank).collect(), keep_dims: true }, vec![x])?;
    im.bind(call, 0, y)
}
