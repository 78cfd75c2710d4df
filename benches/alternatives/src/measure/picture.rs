//! Rows of grey pictures as one PNG.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

/// Pixels between pictures, and how often each pixel is repeated in both directions.
const GAP: usize = 2;
const ZOOM: usize = 2;

/// Writes `rows` of pictures of `side` x `side`, 0 to 1, to `path`.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// If a picture has another size.
pub fn write(path: &Path, side: usize, rows: &[Vec<Vec<f32>>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = side + GAP;
    let (width, height) = (columns * cell * ZOOM, rows.len() * cell * ZOOM);
    let mut pixels = vec![255u8; width * height];
    for (r, row) in rows.iter().enumerate() {
        for (c, picture) in row.iter().enumerate() {
            assert_eq!(picture.len(), side * side, "a picture of another size");
            for y in 0..side * ZOOM {
                let line = &mut pixels[(r * cell * ZOOM + y) * width + c * cell * ZOOM..][..side * ZOOM];
                for (x, pixel) in line.iter_mut().enumerate() {
                    *pixel = (picture[y / ZOOM * side + x / ZOOM].clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_beside_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        write(&path, 3, &[vec![vec![0.0; 9], vec![1.0; 9]], vec![vec![0.5; 9]]]).expect("written");
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(path).expect("there")));
        let reader = decoder.read_info().expect("a PNG");
        assert_eq!((reader.info().width, reader.info().height), (20, 20));
    }
}
