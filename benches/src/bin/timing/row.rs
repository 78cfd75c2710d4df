//! A line of the report.

use serde::Serialize;
use twinmask_benches::dudect::{Times, largest_t};
use twinmask_benches::report::number;
use twinmask_benches::stats::median;

/// What was measured, and the classes that it was measured with.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// Median, in microseconds, by class.
    median_us: Vec<f64>,
    pub(crate) largest_t: f64,
}

impl Row {
    pub(crate) fn of(what: impl Into<String>, times: &Times) -> Row {
        let row = Row {
            what: what.into(),
            median_us: times.iter().map(|t| median(t) / 1e3).collect(),
            largest_t: largest_t(times),
        };
        eprintln!("{}: |t| {:.1}", row.what, row.largest_t);
        row
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let medians = self.median_us.iter().map(|&m| number(m));
        std::iter::once(self.what.clone()).chain(medians).chain([format!("{:.1}", self.largest_t)]).collect()
    }
}
