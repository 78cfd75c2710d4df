//! What an inference gives.

use std::sync::Arc;
use std::time::Duration;

use crate::input::Tensor;
use crate::mode::Mode;
use crate::run::Output;
use crate::session::{Glimpse, Usage};

/// Time of one inference, without opening a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// All of it, from claiming the counter to the last output.
    pub total: Duration,
    /// Until edge A granted the counter.
    pub claim: Duration,
    /// Within each round: from the first share that leaves to the last answer that is unmasked.
    pub rounds: Vec<Duration>,
}

impl Times {
    /// Time in which the device computed its own part: neither claiming nor exchanging.
    #[must_use]
    pub fn device(&self) -> Duration {
        self.total.saturating_sub(self.wait())
    }

    /// Time of claiming and of all rounds.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.claim + self.rounds.iter().sum::<Duration>()
    }
}

/// One class of a classifier's output.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its index in the output.
    pub index: usize,
    /// Its label, or the index where the owner stored no labels.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

/// An inference's outputs and what it cost. Every answer that they come from has passed the session's checks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inference {
    /// The network's outputs, in the model file's order.
    pub outputs: Vec<Output>,
    /// Mode that was really used.
    pub mode: Mode,
    /// Rounds: how often something was exchanged.
    pub rounds: usize,
    /// Rounds of mode `relay` that both edges had to answer.
    pub fallbacks: u32,
    /// Bytes to and from each edge, and their compute time. Inferences side by side on one device count together.
    pub usage: Usage,
    /// What took how long.
    pub times: Times,
    /// What [`Builder::watch`](crate::Builder::watch) asked for.
    pub glimpses: Vec<Glimpse>,
    pub(crate) labels: Arc<[String]>,
}

impl Inference {
    /// The output called `name`.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Tensor> {
        self.outputs.iter().find(|o| o.name == name).map(|o| &o.tensor)
    }

    /// Label and probability of the `n` likeliest classes of the first output.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<(String, f32)> {
        self.classes(n).into_iter().map(|c| (c.label, c.score)).collect()
    }

    /// The `n` likeliest classes of the first output, as probabilities: the output itself if it is a distribution, else
    /// its softmax.
    #[must_use]
    pub fn classes(&self, n: usize) -> Vec<Class> {
        self.outputs.first().map_or_else(Vec::new, |o| best(&o.tensor.to_f32(), &self.labels, n))
    }
}

fn best(data: &[f32], labels: &[String], n: usize) -> Vec<Class> {
    let sum: f32 = data.iter().sum();
    let distribution = data.iter().all(|&v| (0.0..=1.0).contains(&v)) && (sum - 1.0).abs() < 1e-3;
    let max = data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = data.iter().map(|v| (v - max).exp()).sum();
    let score = |v: f32| if distribution { v } else { (v - max).exp() / total };
    let mut order: Vec<usize> = (0..data.len()).collect();
    order.sort_by(|&a, &b| data[b].total_cmp(&data[a]).then(a.cmp(&b)));
    let class = |index: usize| Class {
        index,
        label: labels.get(index).cloned().unwrap_or_else(|| index.to_string()),
        score: score(data[index]),
    };
    order.into_iter().take(n).map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities_and_distributions_stay() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let top = best(&[0.0, 2.0, 1.0], &labels, 2);
        assert_eq!((top[0].index, top[0].label.as_str(), top[1].label.as_str()), (1, "b", "2"));
        assert!((top[0].score - 0.665_241).abs() < 1e-5);
        assert_eq!(best(&[0.25, 0.75], &[], 1)[0].score, 0.75);
    }

    #[test]
    fn times_add_up() {
        let ms = Duration::from_millis;
        let times = Times { total: ms(10), claim: ms(1), rounds: vec![ms(2), ms(3)] };
        assert_eq!((times.wait(), times.device()), (ms(6), ms(4)));
    }
}
