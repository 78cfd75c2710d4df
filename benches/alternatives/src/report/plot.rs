//! Curves and bars as SVG.

use std::path::Path;

use anyhow::{Result, ensure};
use plotters::prelude::*;
use twinmask_benches::plot::{self, Axes};

pub use twinmask_benches::plot::Series;

const WIDTH: u32 = 900;
const FONT: (&str, u32) = ("sans-serif", 15);

/// A curve with a value an epoch, from epoch 1 after `before`.
pub fn by_epoch(name: impl Into<String>, before: usize, values: &[f64]) -> Series {
    let points = values.iter().enumerate().map(|(i, &v)| ((before + i + 1) as f64, v)).collect();
    Series { name: name.into(), points }
}

/// Draws `series` into the SVG file `path`.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn curves(path: &Path, title: &str, labels: (&str, &str), series: &[Series]) -> Result<()> {
    plot::curves(path, title, labels, Axes::Linear, series)
}

/// Draws a bar for each name from zero up into the SVG file `path`.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn bars(path: &Path, title: &str, label: &str, values: &[(&str, f64)]) -> Result<()> {
    ensure!(!values.is_empty(), "nothing to draw");
    let high = values.iter().map(|v| v.1).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let root = SVGBackend::new(path, (WIDTH, 90 + 40 * values.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(format!("{title} ({label})"), (12, 10), ("sans-serif", 20)))?;
    for (i, (name, value)) in values.iter().enumerate() {
        let y = 55 + 40 * i as i32;
        let length = (480.0 * value.max(0.0) / high) as i32;
        root.draw(&Text::new((*name).to_owned(), (12, y), FONT))?;
        root.draw(&Rectangle::new([(330, y - 5), (331 + length, y + 20)], Palette99::pick(i).filled()))?;
        root.draw(&Text::new(format!("{value:.1}"), (340 + length, y), FONT))?;
    }
    root.present()?;
    Ok(())
}
