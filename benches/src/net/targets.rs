//! The targets that concern links, each as a ratio within one run.

use serde::Serialize;

use super::rows::{LAYERS_F32, Plans, Row, Scheme, twinmask};
use crate::baseline::{PAPER_WIDTH, PAPER_WIDTH_COMPRESSED};

/// A target and what was reached.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// What is demanded.
    pub what: String,
    /// Measured; `None` if a row for it is missing.
    pub value: Option<f64>,
    /// Most that it may be.
    pub limit: f64,
}

impl Target {
    /// Whether it is reached; `None` if it was not measured.
    #[must_use]
    pub fn passed(&self) -> Option<bool> {
        self.value.map(|v| v <= self.limit)
    }

    /// For a table with the columns target, measured, limit, verdict.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let verdict = match self.passed() {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "not measured",
        };
        // Four decimals: some are reached by little.
        let text = |v: f64| format!("{v:.4}");
        vec![self.what.clone(), self.value.map_or("-".to_owned(), text), text(self.limit), verdict.to_owned()]
    }
}

fn find<'r>(rows: &'r [Row], network: &str, link: &str, scheme: Scheme) -> Option<&'r Row> {
    let measured = |r: &&Row| !r.computed && r.failure.is_none();
    rows.iter().filter(measured).find(|r| r.network == network && r.link.name == link && r.scheme == scheme)
}

/// Relay rows of the targets: without falling back, the mode that was asked for.
fn relay(profile: &'static str, drop: bool) -> Scheme {
    if drop { twinmask("relay", profile, "sample:16", true) } else { twinmask("relay", profile, "freivalds", false) }
}

/// All targets for `rows`; `paper` are the plans of `alexnet227`, if it was measured.
#[must_use]
pub fn judge(rows: &[Row], paper: Option<&Plans>) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: String, value: Option<f64>, limit: f64| targets.push(Target { what, value, limit });
    for (drop, name, specified, compressed) in [(true, "dropped bits", 12.0, 3.5), (false, "Freivalds", 11.0, 3.3)] {
        for (width, of, parts) in
            [(PAPER_WIDTH, "as specified", specified), (PAPER_WIDTH_COMPRESSED, "at its 70 %", compressed)]
        {
            // The fewest bytes of any link count for the paper's encoding: two edges, no headers at all.
            let theirs = paper.map(|p| (2 * width) as f64 * (p.elements().0 + p.elements().1) as f64);
            let ours = find(rows, "alexnet227", "40m", relay("balanced", drop)).map(Row::total_bytes);
            let ratio = ours.zip(theirs).map(|(o, t)| o / t);
            let what =
                format!("alexnet227, relay, balanced + {name}: bytes / the paper's encoding {of} (limit 1/{parts})");
            add(what, ratio, 1.0 / parts);
        }
    }
    for (drop, name, limit) in [(true, "dropped bits", 0.65), (false, "Freivalds", 0.80)] {
        let row = find(rows, "alexnet227", "40m", relay("compact", drop));
        let what = format!("alexnet227 at 40 Mbit/s, 5 ms, relay, compact + {name}: s (the paper: 3.08)");
        add(what, row.map(|r| r.ms.median / 1e3), limit);
    }
    for profile in ["compact", "balanced"] {
        let ours = find(rows, "alexnet", "1g", relay(profile, false));
        let theirs = find(rows, "alexnet", "1g", LAYERS_F32);
        let ratio = ours.zip(theirs).map(|(o, t)| o.ms.median / t.ms.median);
        add(format!("alexnet at 1 Gbit/s, 0.5 ms, relay, {profile} + Freivalds / layer-wise f32"), ratio, 1.0);
    }
    let relayed: Vec<&Row> = rows.iter().filter(|r| r.scheme.relays() && !r.computed && r.failure.is_none()).collect();
    let worst = |least: f64, of: fn(&Row) -> f64| {
        relayed.iter().filter(|r| r.total_bytes() >= least).map(|r| of(r)).reduce(f64::max)
    };
    add(
        "fallbacks in all relay rows (a row that ran in another mode counts as 1)".to_owned(),
        worst(0.0, fallbacks),
        0.0,
    );
    let what = "edge A's part of the device's bytes in relay rows of 1 MB and more, the largest".to_owned();
    add(what, worst(1e6, Row::edge_a_share), 0.01);
    targets
}

fn fallbacks(row: &Row) -> f64 {
    row.fallbacks as f64 + if row.mode.as_deref() == Some("relay") { 0.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_pass_fail_or_are_not_measured() {
        let target = |value| Target { what: "x".into(), value, limit: 1.0 };
        assert_eq!([Some(1.0), Some(1.01), None].map(|v| target(v).passed()), [Some(true), Some(false), None]);
        assert!(judge(&[], None).iter().all(|t| t.passed().is_none()));
    }
}
