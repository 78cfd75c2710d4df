//! The settings that are measured, and the measurement of one.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;
use twinmask_benches::deployment::{Deployment, Pair, program};
use twinmask_benches::kernels;
use twinmask_benches::lines::Runner;
use twinmask_benches::stats::{Spread, median, paired_ratio};

/// The edges compute ahead of time for the next inference; onnxruntime is timed when they have done so: after as long
/// as the inference took, twice over, and at least this.
const SETTLE: Duration = Duration::from_millis(40);

/// Name of the device and of the model in every deployment.
pub(crate) const NAME: &str = "bench";

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) mode: &'static str,
    pub(crate) integrity: &'static str,
    pub(crate) ring: &'static str,
    /// Further arguments of the device.
    pub(crate) extra: Vec<&'static str>,
    pub(crate) kernel: &'static str,
    pub(crate) threads: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, integrity, ring, extra, kernel, threads } = self;
        write!(f, "{mode} {integrity} {ring} {} {kernel} {threads} threads", extra.join(" "))
    }
}

const MODES: [&str; 2] = ["split", "relay"];
const INTEGRITY: [&str; 4] = ["none", "sample:16", "freivalds", "sample:16+freivalds"];

fn case(mode: &'static str, integrity: &'static str, threads: usize) -> Case {
    Case { mode, integrity, ring: "balanced", extra: Vec::new(), kernel: "auto", threads }
}

/// Every setting that matters: modes, checks and threads in full; each kernel, ring, dropped bits and prefetching by
/// turns. Ordered by ring, kernel and threads, so that neighbours share their edges.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for threads in [1, 2] {
        for mode in MODES {
            cases.extend(INTEGRITY.map(|integrity| case(mode, integrity, threads)));
        }
        cases.push(Case { extra: vec!["--drop-bits", "auto"], ..case("relay", "none", threads) });
        cases.push(Case { extra: vec!["--prefetch", "1"], ..case("split", "freivalds", threads) });
    }
    for kernel in kernels().names().into_iter().filter(|k| *k != "auto") {
        cases.extend(MODES.map(|mode| Case { kernel, ..case(mode, "freivalds", 1) }));
    }
    for ring in ["compact", "precise"] {
        cases.extend(MODES.map(|mode| Case { ring, ..case(mode, "freivalds", 1) }));
    }
    cases
}

/// What every network is measured with.
pub(crate) fn main_ones() -> Vec<Case> {
    let checks = ["freivalds", "sample:16+freivalds"];
    let of = |threads| MODES.into_iter().flat_map(move |mode| checks.map(|integrity| case(mode, integrity, threads)));
    [1, 2].into_iter().flat_map(of).collect()
}

/// UDP payload bytes per inference, medians.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Bytes {
    pub(crate) edge_a_up: f64,
    pub(crate) edge_a_down: f64,
    pub(crate) edge_b_up: f64,
    pub(crate) edge_b_down: f64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) network: String,
    pub(crate) case: Case,
    /// Mode that was really used.
    pub(crate) mode: String,
    /// Rounds of all measured runs that both edges had to answer in relay.
    pub(crate) fallbacks: u64,
    pub(crate) rounds: Value,
    pub(crate) ms: Spread,
    pub(crate) device_cpu_ms: Spread,
    pub(crate) edge_compute_ms: [f64; 2],
    pub(crate) onnxruntime_f32_ms: Spread,
    pub(crate) onnxruntime_f32_cpu_ms: Spread,
    pub(crate) onnxruntime_int8_ms: Spread,
    pub(crate) ratio_f32: f64,
    pub(crate) ratio_int8: f64,
    /// Device CPU of onnxruntime f32 CPU.
    pub(crate) cpu_ratio: f64,
    pub(crate) bytes: Bytes,
    /// Edge A's part of all bytes that the device received.
    pub(crate) edge_a_share_of_down: f64,
}

/// A device with the settings of `case`, ready.
pub(crate) fn device(name: &str, deployment: &Deployment, edges: &Pair, case: &Case) -> Result<Runner> {
    let mut command = Command::new(program("device-serve")?);
    command.arg("--dir").arg(deployment.device(name)).args(edges.arguments());
    command.args(["--mode", case.mode, "--integrity", case.integrity]).args(&case.extra);
    Runner::start(&mut command)
}

/// Measures one setting by its `device`, every run in turn with both forms of `local` onnxruntime.
pub(crate) fn measure(
    network: &str,
    case: &Case,
    mut device: Runner,
    local: &mut [Runner; 2],
    [warmup, runs]: [usize; 2],
) -> Result<Row> {
    let (mut own, mut plain, mut small) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..warmup + runs {
        let done = device.run()?;
        std::thread::sleep(SETTLE.max(Duration::from_secs_f64(number(&done, "/ms") * 2e-3)));
        let [f32s, int8s] = local;
        let (reference, quantized) = (f32s.run()?, int8s.run()?);
        if run >= warmup {
            own.push(done);
            plain.push(reference);
            small.push(quantized);
        }
    }
    ensure!(!own.is_empty(), "at least one run");
    let of = |samples: &[Value], pointer: &str| samples.iter().map(|v| number(v, pointer)).collect::<Vec<f64>>();
    let middle = |pointer: &str| median(&of(&own, pointer));
    let (ms, cpu) = (of(&own, "/ms"), of(&own, "/cpu_ms"));
    let (f32_ms, f32_cpu, int8_ms) = (of(&plain, "/ms"), of(&plain, "/cpu_ms"), of(&small, "/ms"));
    let bytes = Bytes {
        edge_a_up: middle("/bytes/edge_a/up"),
        edge_a_down: middle("/bytes/edge_a/down"),
        edge_b_up: middle("/bytes/edge_b/up"),
        edge_b_down: middle("/bytes/edge_b/down"),
    };
    Ok(Row {
        network: network.to_owned(),
        case: case.clone(),
        mode: own[0]["mode"].as_str().unwrap_or("?").to_owned(),
        fallbacks: own.iter().filter_map(|v| v["fallbacks"].as_u64()).sum(),
        rounds: device.ready["rounds"].clone(),
        ratio_f32: paired_ratio(&ms, &f32_ms),
        ratio_int8: paired_ratio(&ms, &int8_ms),
        cpu_ratio: median(&cpu) / median(&f32_cpu),
        ms: Spread::of(&ms),
        device_cpu_ms: Spread::of(&cpu),
        edge_compute_ms: ["/edge_ms/edge_a", "/edge_ms/edge_b"].map(middle),
        onnxruntime_f32_ms: Spread::of(&f32_ms),
        onnxruntime_f32_cpu_ms: Spread::of(&f32_cpu),
        onnxruntime_int8_ms: Spread::of(&int8_ms),
        edge_a_share_of_down: bytes.edge_a_down / (bytes.edge_a_down + bytes.edge_b_down),
        bytes,
    })
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}
