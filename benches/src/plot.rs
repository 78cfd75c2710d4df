//! Plots as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// Size of a plot, pixels.
const SIZE: (u32, u32) = (900, 540);
/// Text.
const FONT: (&str, u32) = ("sans-serif", 15);

/// A named curve.
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points; both coordinates positive where axes are logarithmic.
    pub points: Vec<(f64, f64)>,
}

/// How both axes are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// By factors: curves that fall, their names in the upper right.
    Logarithmic,
    /// Evenly: curves that rise, their names in the lower right.
    Linear,
}

/// Draws `series` into the SVG file `path`.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn curves(path: &Path, title: &str, labels: (&str, &str), axes: Axes, series: &[Series]) -> Result<()> {
    let points = || series.iter().flat_map(|s| &s.points).copied();
    let range = |values: Vec<f64>| if axes == Axes::Linear { spread(&values) } else { range(values.into_iter()) };
    let (x, y) = (range(points().map(|p| p.0).collect())?, range(points().map(|p| p.1).collect())?);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root);
    chart.caption(title, ("sans-serif", 20)).margin(12).x_label_area_size(45).y_label_area_size(70);
    match axes {
        Axes::Logarithmic => {
            let chart = chart.build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
            draw(chart, labels, SeriesLabelPosition::UpperRight, series)?;
        }
        Axes::Linear => {
            draw(chart.build_cartesian_2d(x.0..x.1, y.0..y.1)?, labels, SeriesLabelPosition::LowerRight, series)?;
        }
    }
    root.present()?;
    Ok(())
}

type Chart<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>;

fn draw<'a, X, Y>(
    mut chart: Chart<'a, X, Y>,
    labels: (&str, &str),
    names: SeriesLabelPosition,
    series: &[Series],
) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
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
    let legend = legend.position(names).label_font(FONT);
    legend.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}

/// Draws groups of horizontal bars with a logarithmic length into the SVG file `path`: each group has a name and one
/// value per entry of `names`, `None` where there is none.
///
/// # Errors
/// When there is nothing to draw or the file cannot be written.
pub fn bars(
    path: &Path,
    title: &str,
    label: &str,
    names: &[String],
    groups: &[(String, Vec<Option<f64>>)],
) -> Result<()> {
    let (low, high) = range(groups.iter().flat_map(|g| g.1.iter().flatten()).copied())?;
    let slots = (names.len() + 1) * groups.len();
    let root = SVGBackend::new(path, (SIZE.0, 140 + 14 * (slots + names.len()) as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(50 + 17 * names.len() as i32);
    upper.draw(&Text::new(title.to_owned(), (12, 10), ("sans-serif", 20)))?;
    for (i, name) in names.iter().enumerate() {
        let y = 38 + 17 * i as i32;
        upper.draw(&Rectangle::new([(14, y), (28, y + 11)], Palette99::pick(i).filled()))?;
        upper.draw(&Text::new(name.clone(), (36, y - 1), FONT))?;
    }
    let mut chart = ChartBuilder::on(&lower)
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(110)
        .build_cartesian_2d((low..high).log_scale(), 0.0..slots as f64)?;
    // The names of groups stand where the axis has its numbers.
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_desc(label)
        .label_style(FONT)
        .light_line_style(WHITE.mix(0.0))
        .draw()?;
    let top = |group: usize, bar: usize| (slots - group * (names.len() + 1) - bar) as f64 - 0.5;
    for (g, (_, values)) in groups.iter().enumerate() {
        let bar = |(b, v): (usize, &Option<f64>)| {
            v.map(|v| Rectangle::new([(low, top(g, b)), (v, top(g, b) - 0.85)], Palette99::pick(b).filled()))
        };
        chart.draw_series(values.iter().enumerate().filter_map(bar))?;
    }
    for (g, (name, _)) in groups.iter().enumerate() {
        let (_, y) = chart.backend_coord(&(low, top(g, names.len() / 2)));
        root.draw(&Text::new(name.clone(), (14, y), FONT))?;
    }
    root.present()?;
    Ok(())
}

/// A range around positive numbers, with some room.
fn range(values: impl Iterator<Item = f64>) -> Result<(f64, f64)> {
    let positive: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).collect();
    let low = positive.iter().copied().reduce(f64::min).ok_or_else(|| anyhow!("nothing to draw"))?;
    let high = positive.iter().copied().fold(low, f64::max);
    Ok((low / 1.3, high * 1.3))
}

/// A range around numbers, with some room.
fn spread(values: &[f64]) -> Result<(f64, f64)> {
    let values = || values.iter().copied().filter(|v| v.is_finite());
    let low = values().reduce(f64::min).ok_or_else(|| anyhow!("nothing to draw"))?;
    let high = values().fold(low, f64::max);
    let room = ((high - low) * 0.05).max(1e-3);
    Ok((low - room, high + room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_svg_with_their_names() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("a.svg");
        let series = [Series { name: "one".into(), points: vec![(0.01, 5.0), (1.0, 0.1)] }];
        for axes in [Axes::Linear, Axes::Logarithmic] {
            curves(&path, "Title", ("speed", "ms"), axes, &series).expect("draws");
            let text = std::fs::read_to_string(&path).expect("written");
            assert!(["<svg", "Title", "speed", "one", "polyline"].iter().all(|w| text.contains(w)), "{text}");
        }
        let groups = [("net".to_owned(), vec![Some(2.0), None]), ("other".to_owned(), vec![Some(30.0), Some(4.0)])];
        bars(&path, "Bars", "ms", &["a".to_owned(), "b".to_owned()], &groups).expect("draws");
        let text = std::fs::read_to_string(&path).expect("written");
        assert!(["<svg", "Bars", "net", "other"].iter().all(|w| text.contains(w)), "{text}");
        assert!(curves(&path, "Nothing", ("", ""), Axes::Linear, &[]).is_err());
    }
}
