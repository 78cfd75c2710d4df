//! Resampling: Resize and its predecessor Upsample.

use twinmask_model::ops::{Coordinates, NearestRounding, Resize, ResizeMode};

use super::call::Call;
use super::importer::{Importer, Table};
use super::tensor::axis_of;

type Result<T = ()> = std::result::Result<T, String>;

pub(super) const TABLE: Table = &[("Resize", resize), ("Upsample", resize)];

/// Scale and output size per axis.
fn target(im: &Importer, call: &Call, x: &[u32], modern: bool) -> Result<(Vec<f32>, Vec<u32>)> {
    let operand = if modern { 2 } else { 1 };
    let scales = match im.constant(call, operand)? {
        Some(t) => t.as_floats()?.to_vec(),
        None => call.floats("scales").unwrap_or_default().to_vec(),
    };
    let sizes = if modern { im.constant(call, 3)? } else { None };
    let axes = match call.ints("axes") {
        Some(a) => a.iter().map(|&a| axis_of(a, x.len())).collect::<Result<Vec<_>>>()?,
        None => (0..x.len()).collect(),
    };
    let (mut scale, mut shape) = (vec![1.0f32; x.len()], x.to_vec());
    let given = sizes.as_ref().map_or(scales.len(), |s| s.len());
    if given != axes.len() {
        return Err(format!("{given} sizes or scales for {} axes", axes.len()));
    }
    for (i, &axis) in axes.iter().enumerate() {
        if let Some(s) = &sizes {
            shape[axis] = u32::try_from(s.as_ints()?[i]).map_err(|_| "a negative size")?;
            scale[axis] = shape[axis] as f32 / x[axis] as f32;
        } else {
            if !scales[i].is_finite() || scales[i] <= 0.0 {
                return Err(format!("a scale of {}", scales[i]));
            }
            scale[axis] = scales[i];
            shape[axis] = (x[axis] as f32 * scales[i]).floor() as u32;
        }
    }
    Ok((scale, shape))
}

fn resize(im: &mut Importer, call: &Call) -> Result {
    let modern = call.op == "Resize" && im.opset >= 11;
    let x = im.value(call, 0)?;
    let from = im.graph.shape(x).to_vec();
    let (scale, shape) = target(im, call, &from, modern)?;
    let (default_coordinates, default_rounding) =
        if modern { ("half_pixel", "round_prefer_floor") } else { ("asymmetric", "floor") };
    let coordinates = match call.text("coordinate_transformation_mode", default_coordinates) {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return Err(format!("coordinate_transformation_mode {other}")),
    };
    let rounding = match call.text("nearest_mode", default_rounding) {
        "round_prefer_floor" => NearestRounding::RoundPreferFloor,
        "round_prefer_ceil" => NearestRounding::RoundPreferCeil,
        "floor" => NearestRounding::Floor,
        "ceil" => NearestRounding::Ceil,
        other => return Err(format!("nearest_mode {other}")),
    };
    let mode = match call.text("mode", "nearest") {
        "nearest" => ResizeMode::Nearest(rounding),
        "linear" | "bilinear" => ResizeMode::Linear,
        other => return Err(format!("mode {other}; nearest and linear are supported")),
    };
    if call.float("cubic_coeff_a", -0.75)? != -0.75 || call.flag("antialias", false) {
        return Err("antialiasing and cubic coefficients are not supported".into());
    }
    if call.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
        return Err("only the policy 'stretch' is supported".into());
    }
    let y = if shape == from && scale.iter().all(|&s| s == 1.0) {
        x
    } else {
        im.emit(call, Resize { mode, coordinates, scale, shape }, vec![x])?
    };
    im.bind(call, 0, y)
}
