//! The JSON forms (docs/cli.md).

use std::time::Duration;

use serde::Serialize;

use crate::inference::{Class, Inference};
use crate::mode::Mode;
use crate::model::Model;
use crate::run::Output;
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

/// CPU time of this process.
pub(super) fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
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

impl From<Class> for TopEntry {
    fn from(Class { index, label, score }: Class) -> Self {
        Self { index, label, score }
    }
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
    /// Times that an edge was busy and the input run anew.
    pub(crate) busy: u32,
    pub(crate) ms: InferMs,
    pub(crate) bytes: EdgeBytes,
}

impl InferReport {
    /// Of an inference whose answers were held against `check`; `top` classes are told.
    pub(crate) fn new(
        input: String,
        model: &Model,
        check: &str,
        (inference, busy): (&Inference, u32),
        top: usize,
    ) -> Self {
        let Inference { outputs, mode, rounds, fallbacks, usage, times, .. } = inference;
        let local = *mode == Mode::Local;
        let shape = |o: &Output| OutputShape { name: o.name.clone(), shape: o.tensor.shape().to_vec() };
        Self {
            input,
            model: model.name().to_owned(),
            mode: mode.to_string(),
            fallbacks: *fallbacks,
            ring: model.bundle().profile.to_string(),
            outputs: outputs.iter().map(shape).collect(),
            top: inference.classes(top).into_iter().map(TopEntry::from).collect(),
            integrity: IntegrityReport { check: check.to_owned(), layers: model.plan().layers().len(), ok: true },
            rounds: *rounds,
            busy,
            ms: InferMs {
                total: ms(times.total),
                device: ms(if local { times.total } else { times.device() }),
                wait: ms(if local { Duration::ZERO } else { times.wait() }),
                edge_a: ms(usage.a.compute),
                edge_b: ms(usage.b.compute),
            },
            bytes: (*usage).into(),
        }
    }
}
