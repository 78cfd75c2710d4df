//! Curves and bars as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 540);
const FONT: (&str, u32) = ("sans-serif", 15);

/// A named curve.
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A value an epoch, from epoch 1 after `before`.
    pub fn by_epoch(name: impl Into<String>, before: usize, values: &[f64]) -> Self {
        let points = values.iter().enumerate().map(|(i, &v)| ((before + i + 1) as f64, v)).collect();
        Self { name: name.into(), points }
    }
}

/// Draws `series` into the SVG file `path`.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn curves(path: &Path, title: &str, labels: (&str, &str), series: &[Series]) -> Result<()> {
    let points = || series.iter().flat_map(|s| &s.points).copied();
    let (x, y) = (range(points().map(|p| p.0))?, range(points().map(|p| p.1))?);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(labels.0).y_desc(labels.1).label_style(FONT).light_line_style(WHITE.mix(0.0)).draw()?;
    for (i, s) in series.iter().enumerate() {
        let style = Palette99::pick(i).to_rgba().stroke_width(2);
        chart
            .draw_series(LineSeries::new(s.points.iter().copied(), style).point_size(3))?
            .label(&s.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    let mut legend = chart.configure_series_labels();
    let legend = legend.position(SeriesLabelPosition::LowerRight).label_font(FONT);
    legend.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    Ok(())
}

/// Draws a bar for each name from zero up into the SVG file `path`.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn bars(path: &Path, title: &str, label: &str, values: &[(&str, f64)]) -> Result<()> {
    let (_, high) = range(values.iter().map(|v| v.1))?;
    let root = SVGBackend::new(path, (SIZE.0, 90 + 40 * values.len() as u32)).into_drawing_area();
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

/// The least and greatest value with some room.
fn range(values: impl Iterator<Item = f64>) -> Result<(f64, f64)> {
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return Err(anyhow!("nothing to draw"));
    }
    let room = ((high - low) * 0.05).max(1e-3);
    Ok((low - room, high + room))
}
