//! The JSON forms of interface.md.

use std::time::Duration;

use serde::Serialize;

use crate::infer::{Outcome, Output};
use crate::network::Network;
use crate::session::Usage;

/// UDP payload bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct UpDown {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// Bytes to and from each edge.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct EdgeBytes {
    pub(crate) edge_a: UpDown,
    pub(crate) edge_b: UpDown,
}

impl From<Usage> for EdgeBytes {
    fn from(u: Usage) -> Self {
        Self { edge_a: UpDown { up: u.a.up, down: u.a.down }, edge_b: UpDown { up: u.b.up, down: u.b.down } }
    }
}

/// Milliseconds with microsecond digits.
pub(crate) fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct OutputShape {
    name: String,
    shape: Vec<u32>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TopEntry {
    pub(crate) index: usize,
    pub(crate) label: String,
    pub(crate) score: f32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct IntegrityReport {
    pub(crate) check: String,
    pub(crate) layers: usize,
    pub(crate) ok: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct InferMs {
    total: f64,
    device: f64,
    wait: f64,
    edge_a: f64,
    edge_b: f64,
}

/// How an inference really ran.
#[derive(Debug, Clone)]
pub(crate) struct How {
    /// split, relay or local.
    pub(crate) mode: &'static str,
    /// Rounds of relay that fell back.
    pub(crate) fallbacks: u32,
    /// Integrity check.
    pub(crate) check: String,
}

/// One line of `device infer --json`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InferReport {
    pub(crate) input: String,
    pub(crate) model: String,
    pub(crate) mode: String,
    pub(crate) fallbacks: u32,
    pub(crate) ring: String,
    pub(crate) outputs: Vec<OutputShape>,
    pub(crate) top: Vec<TopEntry>,
    pub(crate) integrity: IntegrityReport,
    pub(crate) rounds: usize,
    pub(crate) ms: InferMs,
    pub(crate) bytes: EdgeBytes,
}

impl InferReport {
    pub(crate) fn new(
        input: String,
        network: &Network,
        how: &How,
        outcome: &Outcome,
        usage: Usage,
        top: usize,
    ) -> Self {
        let wait: Duration = outcome.rounds.iter().sum();
        let local = how.mode == "local";
        Self {
            input,
            model: network.name().to_owned(),
            mode: how.mode.to_owned(),
            fallbacks: how.fallbacks,
            ring: network.model().profile.to_string(),
            outputs: outcome
                .outputs
                .iter()
                .map(|o| OutputShape { name: o.name.clone(), shape: o.shape.clone() })
                .collect(),
            top: best(&outcome.outputs[0], &network.model().labels, top),
            integrity: IntegrityReport { check: how.check.clone(), layers: network.plan().layers().len(), ok: true },
            rounds: outcome.rounds.len(),
            ms: InferMs {
                total: ms(outcome.total),
                device: ms(if local { outcome.total } else { outcome.device() }),
                wait: ms(if local { Duration::ZERO } else { wait }),
                edge_a: ms(usage.a.compute),
                edge_b: ms(usage.b.compute),
            },
            bytes: usage.into(),
        }
    }
}

/// The `n` largest elements of an output, as probabilities: the output itself if it is a distribution, else its softmax.
pub(crate) fn best(output: &Output, labels: &[String], n: usize) -> Vec<TopEntry> {
    let sum: f32 = output.data.iter().sum();
    let distribution = output.data.iter().all(|&v| (0.0..=1.0).contains(&v)) && (sum - 1.0).abs() < 1e-3;
    let max = output.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = output.data.iter().map(|v| (v - max).exp()).sum();
    let score = |v: f32| if distribution { v } else { (v - max).exp() / total };
    let mut order: Vec<usize> = (0..output.data.len()).collect();
    order.sort_by(|&a, &b| output.data[b].total_cmp(&output.data[a]).then(a.cmp(&b)));
    let entry = |index: usize| TopEntry {
        index,
        label: labels.get(index).cloned().unwrap_or_else(|| index.to_string()),
        score: score(output.data[index]),
    };
    order.into_iter().take(n).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(data: &[f32]) -> Output {
        Output { name: "y".into(), shape: vec![1, data.len() as u32], data: data.to_vec() }
    }

    #[test]
    fn logits_become_probabilities_and_distributions_stay() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let top = best(&output(&[0.0, 2.0, 1.0]), &labels, 2);
        assert_eq!((top[0].index, top[0].label.as_str(), top[1].label.as_str()), (1, "b", "2"));
        assert!((top[0].score - 0.665_241).abs() < 1e-5);
        assert_eq!(best(&output(&[0.25, 0.75]), &[], 1)[0].score, 0.75);
    }
}
