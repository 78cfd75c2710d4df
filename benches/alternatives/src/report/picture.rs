//! Rows of images in one PNG.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

/// Each pixel becomes so many, in both directions.
const ZOOM: usize = 3;
const GAP: usize = 2;

/// Writes rows of images of `shape` (pixels from 0 to 1, one or three channels) as a PNG.
///
/// # Errors
/// When it cannot be written.
pub fn grid(path: &Path, shape: [usize; 3], rows: &[&[f32]]) -> Result<()> {
    let [c, h, w] = shape;
    let size = c * h * w;
    let columns = rows.iter().map(|r| r.len() / size).max().unwrap_or(0).max(1);
    let (width, height) = (columns * (w + GAP) * ZOOM, rows.len().max(1) * (h + GAP) * ZOOM);
    let mut bytes = vec![255u8; width * height * 3];
    for (i, byte) in bytes.iter_mut().enumerate() {
        let (x, y, channel) = (i / 3 % width / ZOOM, i / 3 / width / ZOOM, i % 3 % c);
        let (column, px, row, py) = (x / (w + GAP), x % (w + GAP), y / (h + GAP), y % (h + GAP));
        if px < w && py < h {
            let index = column * size + channel * h * w + py * w + px;
            rows[row].get(index).into_iter().for_each(|v| *byte = (v.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    writer.finish().with_context(|| path.display().to_string())
}

/// The same images, each stretched to the range from 0 to 1.
#[must_use]
pub fn stretched(pixels: &[f32], size: usize) -> Vec<f32> {
    let stretch = |image: &[f32]| {
        let (low, high) = image.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        image.iter().map(|v| (v - low) / (high - low).max(1e-6)).collect::<Vec<_>>()
    };
    pixels.chunks(size).flat_map(stretch).collect()
}
