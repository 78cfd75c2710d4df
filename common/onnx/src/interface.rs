//! The network's inputs, as the file declares them.

use twinmask_model::dims::{MAX_RANK, MAX_TENSOR, Shape, elements};
use twinmask_model::graph::Element;

use super::options::ImportOptions;
use super::reader::ValueInfo;

/// Shape and element type of an input of batch 1, the sizes that it leaves open filled in from `options`.
pub(super) fn input(info: &ValueInfo, options: &ImportOptions) -> Result<(Shape, Element), String> {
    let name = info.name;
    let element = match info.element_type {
        1 | 10 | 11 => Element::F32,
        6 => Element::I32,
        7 => Element::I64,
        other => {
            return Err(format!(
                "input '{name}' has element type {other}; export it with a float input, or one of int32 or int64"
            ));
        }
    };
    let Some(shape) = info.shape.as_ref().filter(|s| !s.is_empty()) else {
        return Err(format!("input '{name}' has no shape; export it with one"));
    };
    if let Some(n) = shape[0].filter(|&n| n != 1) {
        return Err(format!("input '{name}' has a batch of {n}; export it with batch 1 or a dynamic one"));
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
    let shape: Shape = dims.into_iter().flatten().collect();
    if elements(&shape) > MAX_TENSOR || shape.len() > MAX_RANK {
        return Err(format!("input '{name}' of shape {shape:?} is too large"));
    }
    Ok((shape, element))
}

/// Dimensions as a person reads them, `?` where the file leaves one open.
fn dimensions(shape: &[Option<u32>]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or_else(|| "?".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}
