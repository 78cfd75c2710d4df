//! What is measured on a link: schemes, the runs of each, and the rows of the tables.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde_json::Value;
use twinmask_model::graph::Port;
use twinmask_model::plan::Plan;

use super::Link;
use super::deploy::{Running, Site};
use super::energy::{self, Energy, PI_SPEED};
use super::process;
use crate::baseline::client;
use crate::baseline::{PAPER_WIDTH, PAPER_WIDTH_COMPRESSED};
use crate::lines::Runner;
use crate::report::number;
use crate::stats::{Spread, median};

/// One way of running an inference from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// The real device program against the real edges.
    Twinmask {
        /// `split` or `relay`.
        mode: &'static str,
        /// Ring profile.
        profile: &'static str,
        /// `--integrity`.
        integrity: &'static str,
        /// Whether `--drop-bits auto`.
        drop: bool,
        /// `--network` of the device where it is not the link's.
        preset: Option<&'static str>,
    },
    /// A client of [`baseline`](crate::baseline).
    Offload {
        /// What it stands for.
        label: &'static str,
        /// One upload of the input instead of layers.
        whole: bool,
        /// Bytes per element.
        width: usize,
        /// Servers that get it all.
        servers: usize,
    },
    /// onnxruntime f32 on the device, one thread.
    Local,
}

/// Layer-wise f32 offloading: what the ratios are taken to.
pub const LAYERS_F32: Scheme = offload("layer-wise f32, one server, no privacy", false, 4, 1);
/// The paper's encoding as specified.
pub const PAPER: Scheme = offload("the paper's encoding, 160 bits", false, PAPER_WIDTH, 2);
/// The paper's encoding at its 70 % compression.
pub const PAPER_COMPRESSED: Scheme = offload("the paper's encoding at its 70 %", false, PAPER_WIDTH_COMPRESSED, 2);
/// One-time keys: one edge, masks from storage.
pub const ONE_TIME: Scheme = offload("one-time keys, one edge, 160 bits", false, PAPER_WIDTH, 1);
const WHOLE_F32: Scheme = offload("whole network uploaded, f32, no privacy", true, 4, 1);

const fn offload(label: &'static str, whole: bool, width: usize, servers: usize) -> Scheme {
    Scheme::Offload { label, whole, width, servers }
}

/// twinmask's row in a mode and profile with a check; bits are dropped where `drop` says so.
#[must_use]
pub const fn twinmask(mode: &'static str, profile: &'static str, integrity: &'static str, drop: bool) -> Scheme {
    Scheme::Twinmask { mode, profile, integrity, drop, preset: None }
}

/// All schemes of a table, in its order.
#[must_use]
pub fn all() -> Vec<Scheme> {
    let mut schemes = vec![Scheme::Local, WHOLE_F32, LAYERS_F32, ONE_TIME, PAPER, PAPER_COMPRESSED];
    for mode in ["split", "relay"] {
        for profile in super::deploy::PROFILES {
            for (integrity, drop) in [("freivalds", false), ("sample:16+freivalds", false), ("sample:16", true)] {
                schemes.push(twinmask(mode, profile, integrity, drop));
            }
        }
    }
    schemes
}

impl Scheme {
    /// Name in tables.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Twinmask { mode, profile, integrity, drop, preset } => {
                let drop = if *drop { ", dropped bits" } else { "" };
                let preset = preset.map_or(String::new(), |p| format!(", preset {p}"));
                format!("twinmask {mode}, {profile}, {integrity}{drop}{preset}")
            }
            Self::Offload { label, .. } => (*label).to_owned(),
            Self::Local => "local, onnxruntime f32, one thread".to_owned(),
        }
    }

    /// Whether edge B answers for both.
    #[must_use]
    pub fn relays(&self) -> bool {
        matches!(self, Self::Twinmask { mode: "relay", .. })
    }

    /// Payload bytes (up, down) of one inference on the device's link, without headers; upper bound with dropped bits.
    #[must_use]
    pub fn payload(&self, site: &Plans) -> (f64, f64) {
        match self {
            Self::Local => (0.0, 0.0),
            Self::Offload { whole: true, width, .. } => {
                (site.input as f64 * *width as f64, site.output as f64 * *width as f64)
            }
            Self::Offload { width, servers, .. } => {
                let (up, down) = site.elements();
                let factor = (width * servers) as f64;
                (up as f64 * factor, down as f64 * factor)
            }
            Self::Twinmask { mode, profile, .. } => {
                let plan = if *profile == "compact" { &site.compact } else { &site.balanced };
                let (up, down) = bits(plan);
                (up / 8.0, down / 8.0 * if *mode == "split" { 2.0 } else { 1.0 })
            }
        }
    }

    /// Rounds of one inference.
    #[must_use]
    pub fn rounds(&self, site: &Plans) -> usize {
        match self {
            Self::Local => 0,
            Self::Offload { whole: true, .. } => 1,
            _ => site.balanced.rounds().len(),
        }
    }

    /// Least time that the link takes for one inference, s: bytes and round trips, no computation.
    #[must_use]
    pub fn least_s(&self, site: &Plans, link: &Link) -> f64 {
        let (up, down) = self.payload(site);
        link.airtime_s(up) + link.airtime_s(down) + self.rounds(site) as f64 * link.rtt_ms / 1e3
    }
}

/// A network's plans, and the sizes of its input and first output, elements.
pub struct Plans {
    /// In `compact`.
    pub compact: Plan,
    /// In `balanced`.
    pub balanced: Plan,
    /// Elements of the input.
    pub input: usize,
    /// Elements of the first output.
    pub output: usize,
}

impl Plans {
    /// Of a deployed network.
    ///
    /// # Errors
    /// When its bundles cannot be read.
    pub fn of(site: &Site) -> Result<Self> {
        let dir = twinmask_device::engine::DeviceDir::open(&site.device_dir())?;
        let graph = dir.load(Some("balanced"))?.model.graph;
        let len = |port: &Port| graph.value(port.value).len();
        let (input, output) = (len(&graph.inputs[0]), len(&graph.outputs[0]));
        Ok(Self { compact: site.plan("compact")?, balanced: site.plan("balanced")?, input, output })
    }

    /// Elements (up, down) of one inference, siblings sharing their upload.
    #[must_use]
    pub fn elements(&self) -> (u64, u64) {
        let down = self.balanced.layers().iter().map(|l| l.geometry().out_len() as u64).sum();
        (self.balanced.groups().iter().map(|g| g.in_len() as u64).sum(), down)
    }
}

fn bits(plan: &Plan) -> (f64, f64) {
    let up = plan.groups().iter().map(|g| g.in_len() as f64 * f64::from(g.k())).sum();
    let down = plan.layer_ids().map(|l| plan.answer_part(l)).map(|p| p.len as f64 * f64::from(p.bits)).sum();
    (up, down)
}

/// Samples of one scheme, as they come in.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Samples {
    /// Latencies, ms. Of the device program: the median of each of its turns.
    pub ms: Vec<f64>,
    /// The largest 90th percentile of the device program's turns, ms.
    p90_ms: Option<f64>,
    inferences: usize,
    turns: usize,
    cpu_ms: Vec<f64>,
    rss_mb: Vec<f64>,
    /// Bytes of edge A and edge B (or the servers together): (up, down) each.
    bytes: Option<[(f64, f64); 2]>,
    fallbacks: u64,
    mode: Option<String>,
    queue_drops: u64,
    failure: Option<String>,
}

/// A row of a table and of the JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Network.
    pub network: String,
    /// Link; local rows do not use it.
    pub link: Link,
    /// What ran.
    pub scheme: Scheme,
    /// Name of the scheme.
    pub label: String,
    /// Latency, ms. Of the device program: over the medians of its turns, but the 90th percentile is the largest of
    /// theirs.
    pub ms: Spread,
    /// Inferences measured.
    pub inferences: usize,
    /// Turns that they were made in.
    pub turns: usize,
    /// Whether the latency was computed from bytes, rate and rounds because one inference would take too long.
    pub computed: bool,
    /// UDP payload bytes to and from edge A, and to and from edge B (or the servers together).
    pub bytes: [(f64, f64); 2],
    /// Rounds.
    pub rounds: usize,
    /// CPU time of the device's process, ms.
    pub device_cpu_ms: f64,
    /// Largest resident set of the device's process, MB.
    pub peak_rss_mb: f64,
    /// Estimate for a device of [`PI_SPEED`].
    pub energy: Energy,
    /// Rounds of mode `relay` that both edges had to answer, over all runs.
    pub fallbacks: u64,
    /// Mode that was really used.
    pub mode: Option<String>,
    /// Packets that the queues of the link dropped during its turns.
    pub queue_drops: u64,
    /// Why there is nothing to show.
    pub failure: Option<String>,
}

/// Columns of [`Row::cells`].
pub const COLUMNS: [&str; 13] = [
    "scheme",
    "latency ms",
    "p90 ms",
    "n (turns)",
    "MB up A / B",
    "MB down A / B",
    "rounds",
    "device CPU ms",
    "peak MB",
    "energy J active / board",
    "fallbacks",
    "edge A's bytes",
    "queue drops",
];

impl Row {
    /// All bytes on the device's link.
    #[must_use]
    pub fn total_bytes(&self) -> f64 {
        self.bytes.iter().map(|(up, down)| up + down).sum()
    }

    /// Edge A's part of them.
    #[must_use]
    pub fn edge_a_share(&self) -> f64 {
        (self.bytes[0].0 + self.bytes[0].1) / self.total_bytes().max(1.0)
    }

    /// For a table with [`COLUMNS`].
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        if let Some(failure) = &self.failure {
            let first = failure.lines().next().unwrap_or_default();
            let mut cells = vec![self.label.clone(), format!("failed: {first}")];
            cells.resize(COLUMNS.len(), "-".to_owned());
            return cells;
        }
        let mb = |pick: fn(&(f64, f64)) -> f64| {
            let [a, b] = self.bytes.map(|e| megabytes(pick(&e)));
            match self.scheme {
                Scheme::Twinmask { .. } => format!("{a} / {b}"),
                Scheme::Offload { .. } => b,
                Scheme::Local => "-".to_owned(),
            }
        };
        let private = matches!(self.scheme, Scheme::Twinmask { .. });
        let or_dash = |shown: bool, text: String| if shown { text } else { "-".to_owned() };
        vec![
            self.label.clone(),
            if self.computed { format!("{} (computed)", number(self.ms.median)) } else { number(self.ms.median) },
            or_dash(self.inferences > 2, number(self.ms.p90)),
            or_dash(!self.computed, format!("{} ({})", self.inferences, self.turns)),
            mb(|e| e.0),
            mb(|e| e.1),
            self.rounds.to_string(),
            or_dash(!self.computed, number(self.device_cpu_ms)),
            or_dash(self.peak_rss_mb > 0.0, number(self.peak_rss_mb)),
            or_dash(!self.computed, format!("{} / {}", number(self.energy.active_j), number(self.energy.board_j))),
            match self.mode.as_deref() {
                Some(mode) if self.scheme.relays() && mode != "relay" => format!("ran as {mode}"),
                _ => or_dash(self.scheme.relays(), self.fallbacks.to_string()),
            },
            or_dash(private, format!("{} %", number(self.edge_a_share() * 100.0))),
            or_dash(!self.computed && self.scheme != Scheme::Local, self.queue_drops.to_string()),
        ]
    }
}

impl Samples {
    /// Adds a run of `scheme`: `runs` inferences after `warmup`. A failure is kept for the row.
    pub fn add(&mut self, scheme: &Scheme, place: &mut Bench<'_, '_>, warmup: usize, runs: usize) {
        if self.failure.is_some() {
            return;
        }
        let before = place.running.queue_drops();
        if let Err(e) = self.try_add(scheme, place, warmup, runs) {
            eprintln!("{}: {e:#}", scheme.label());
            self.failure = Some(format!("{e:#}"));
        }
        self.inferences += runs;
        self.turns += 1;
        self.queue_drops += place.running.queue_drops() - before;
    }

    fn try_add(&mut self, scheme: &Scheme, place: &mut Bench<'_, '_>, warmup: usize, runs: usize) -> Result<()> {
        let deadline =
            Duration::from_secs_f64(120.0 + 10.0 * (warmup + runs) as f64 * scheme.least_s(place.plans, &place.link));
        let counts = ["--runs".to_owned(), runs.to_string(), "--warmup".to_owned(), warmup.to_string()];
        match scheme {
            Scheme::Local => {
                let local =
                    place.local.as_mut().ok_or_else(|| anyhow!("onnxruntime is not there: run `make bench-venv`"))?;
                for _ in 0..runs {
                    let answer = local.run()?;
                    self.ms.push(field(&answer, "/ms")?);
                    self.cpu_ms.push(field(&answer, "/cpu_ms")?);
                }
                self.rss_mb.push(process::peak_rss_mb(&local.id().to_string()));
                self.bytes = Some([(0.0, 0.0); 2]);
            }
            Scheme::Offload { whole, width, servers, .. } => {
                let mut command = place.site.client(place.running, *servers, place.link.preset)?;
                command.args(["--width", &width.to_string()]).args(counts);
                if *whole {
                    command.arg("--whole");
                }
                let m: client::Measured = serde_json::from_value(process::json(&mut command, deadline)?)?;
                self.ms.extend(&m.ms);
                self.cpu_ms.push(m.cpu_ms);
                self.rss_mb.push(m.peak_rss_mb);
                self.bytes = Some([(0.0, 0.0), (m.up, m.down)]);
            }
            Scheme::Twinmask { mode, profile, integrity, drop, preset } => {
                let mut command = place.site.device(place.running, "device")?;
                command.args(["--model", profile, "--mode", mode, "--integrity", integrity]);
                command.args(["--drop-bits", if *drop { "auto" } else { "off" }]);
                command.args(["--network", preset.unwrap_or(place.link.preset), "bench", "--json"]).args(counts);
                let v = process::json(&mut command, deadline)?;
                self.ms.push(field(&v, "/ms/median")?);
                let p90 = field(&v, "/ms/p90")?;
                self.p90_ms = Some(self.p90_ms.map_or(p90, |worst| worst.max(p90)));
                self.cpu_ms.push(field(&v, "/device_cpu_ms/median")?);
                self.rss_mb.push(field(&v, "/peak_rss_mb")?);
                let edge = |e: &str| {
                    Ok::<_, anyhow::Error>((
                        field(&v, &format!("/bytes/{e}/up"))?,
                        field(&v, &format!("/bytes/{e}/down"))?,
                    ))
                };
                self.bytes = Some([edge("edge_a")?, edge("edge_b")?]);
                self.fallbacks += field(&v, "/fallbacks")? as u64;
                self.mode = v["mode"].as_str().map(str::to_owned);
            }
        }
        Ok(())
    }

    /// The row of these samples.
    #[must_use]
    pub fn row(self, scheme: Scheme, site: &Site, plans: &Plans, link: Link) -> Row {
        let computed = self.ms.is_empty() && self.failure.is_none();
        let payload = scheme.payload(plans);
        let ms = if computed { Spread::of(&[scheme.least_s(plans, &link) * 1e3]) } else { Spread::of(&self.ms) };
        let ms = Spread { p90: self.p90_ms.unwrap_or(ms.p90), ..ms };
        let bytes = self.bytes.unwrap_or([(0.0, 0.0), payload]);
        let cpu_ms = median(&self.cpu_ms);
        let radio = (scheme != Scheme::Local).then_some((&link, bytes[0].0 + bytes[1].0));
        let latency_s = energy::stretched_s(ms.median / 1e3, cpu_ms / 1e3, PI_SPEED);
        Row {
            network: site.name.clone(),
            label: scheme.label(),
            ms,
            inferences: self.inferences,
            turns: self.turns,
            computed,
            bytes,
            rounds: scheme.rounds(plans),
            device_cpu_ms: cpu_ms,
            peak_rss_mb: median(&self.rss_mb),
            energy: energy::estimate(latency_s, cpu_ms / 1e3, PI_SPEED, radio),
            fallbacks: self.fallbacks,
            mode: self.mode,
            queue_drops: self.queue_drops,
            failure: self.failure,
            scheme,
            link,
        }
    }
}

/// Where schemes run: a network on a link.
pub struct Bench<'a, 't> {
    /// The deployed network.
    pub site: &'a Site,
    /// Its plans.
    pub plans: &'a Plans,
    /// What runs.
    pub running: &'a Running<'t>,
    /// The link.
    pub link: Link,
    /// onnxruntime with the same network, if it is there.
    pub local: &'a mut Option<Runner>,
}

/// Bytes in MB, small ones to the byte.
fn megabytes(bytes: f64) -> String {
    if bytes < 1e5 { format!("{:.6}", bytes / 1e6) } else { number(bytes / 1e6) }
}

fn field(value: &Value, pointer: &str) -> Result<f64> {
    value.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer} in {value}"))
}
