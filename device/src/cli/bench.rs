//! `device bench`: latency, bytes and CPU time on seeded random input.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::load::random_input;
use crate::cli::patient;
use crate::cli::print::{self, say};
use crate::cli::report::{EdgeBytes, UpDown, cpu_time, ms};
use crate::cli::settings::Settings;
use crate::device::Device;
use crate::error::DeviceError;
use crate::inference::Inference;
use crate::input::Input;
use crate::mode::Mode;
use crate::model::Model;
use crate::session::{Session, Usage};

/// Arguments of `device bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Inferences measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Inferences before that, not measured.
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Inferences in flight at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    concurrency: u32,
    /// Seed of the random input.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<std::path::PathBuf>,
}

#[derive(Debug, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    p90: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Median {
    median: f64,
}

#[derive(Debug, Serialize)]
struct Mmac {
    offloaded: f64,
    local: f64,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    round: usize,
    name: String,
    k: u32,
    up: usize,
    down: usize,
    ms: f64,
}

#[derive(Debug, Serialize)]
struct BenchReport {
    model: String,
    mode: String,
    fallbacks: u32,
    kernel: String,
    ring: String,
    integrity: String,
    runs: u32,
    warmup: u32,
    concurrency: u32,
    ms: Spread,
    device_cpu_ms: Median,
    edge_ms: EdgeMs,
    peak_rss_mb: f64,
    bytes: EdgeBytes,
    rounds: usize,
    busy: u32,
    mmac: Mmac,
    layers: Vec<LayerReport>,
}

#[derive(Debug, Serialize)]
struct EdgeMs {
    edge_a: f64,
    edge_b: f64,
}

pub(crate) async fn run(settings: Settings, args: BenchArgs) -> Result<()> {
    let builder = settings.builder_for(false)?;
    let check = builder.checks().to_string();
    let device = builder.open().await?;
    let result = measure(&check, &args, &device).await;
    device.close().await;
    let report = result?;
    if let Some(path) = &args.html {
        std::fs::write(path, page(&report)).map_err(|e| DeviceError::file(path, e))?;
    }
    if args.json {
        print::json(&report);
    } else {
        print_text(&report);
    }
    Ok(())
}

async fn measure(check: &str, args: &BenchArgs, device: &Device) -> Result<BenchReport> {
    let model = device.model();
    let session = device.session().await?;
    let most = session.as_ref().map_or(1, |s| u32::from(s.max_in_flight()));
    let lanes = args.concurrency.min(most).min(args.runs);
    let input = random_input(model, args.seed);
    lane(device.clone(), input.clone(), args.warmup).await?;
    let usage = || session.as_ref().map_or_else(Usage::default, Session::usage);
    let before = usage();
    let cpu = cpu_time();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..lanes {
        let runs = args.runs / lanes + u32::from(i < args.runs % lanes);
        tasks.spawn(lane(device.clone(), input.clone(), runs));
    }
    let mut runs = Vec::new();
    while let Some(done) = tasks.join_next().await {
        runs.extend(done??);
    }
    let cpu_total = cpu_time().saturating_sub(cpu);
    Ok(report(check, args, model, (session.as_ref(), lanes), usage() - before, cpu_total, &runs))
}

fn report(
    check: &str,
    args: &BenchArgs,
    model: &Model,
    (session, lanes): (Option<&Session>, u32),
    usage: Usage,
    cpu_total: Duration,
    runs: &[Run],
) -> BenchReport {
    let n = u64::from(args.runs);
    let per_run = |total: u64| total / n;
    let latencies: Vec<Duration> = runs.iter().map(|r| r.inference.times.total).collect();
    let cpu_ms = if lanes == 1 {
        quantile(&runs.iter().map(|r| r.cpu).collect::<Vec<_>>(), 0.5)
    } else {
        ms(cpu_total) / n as f64
    };
    BenchReport {
        model: model.name().to_owned(),
        mode: session.map_or(Mode::Local, Session::mode).to_string(),
        fallbacks: runs.iter().map(|r| r.inference.fallbacks).sum(),
        kernel: session.map_or_else(String::new, |s| s.kernels().0.to_owned()),
        ring: model.bundle().profile.to_string(),
        integrity: check.to_owned(),
        runs: args.runs,
        warmup: args.warmup,
        concurrency: lanes,
        ms: Spread {
            min: quantile(&latencies, 0.0),
            median: quantile(&latencies, 0.5),
            p90: quantile(&latencies, 0.9),
            p99: quantile(&latencies, 0.99),
        },
        device_cpu_ms: Median { median: cpu_ms },
        edge_ms: EdgeMs { edge_a: ms(usage.a.compute) / n as f64, edge_b: ms(usage.b.compute) / n as f64 },
        peak_rss_mb: peak_rss_mb(),
        bytes: EdgeBytes {
            edge_a: UpDown { up: per_run(usage.a.up), down: per_run(usage.a.down) },
            edge_b: UpDown { up: per_run(usage.b.up), down: per_run(usage.b.down) },
        },
        rounds: model.plan().rounds().len(),
        busy: runs.iter().map(|r| r.busy).sum(),
        mmac: Mmac { offloaded: model.plan().macs() as f64 / 1e6, local: model.local_macs() as f64 / 1e6 },
        layers: layers(model, runs),
    }
}

struct Run {
    inference: Inference,
    /// Times that an edge was busy before.
    busy: u32,
    cpu: Duration,
}

async fn lane(device: Device, input: Input, runs: u32) -> Result<Vec<Run>, DeviceError> {
    let mut out = Vec::with_capacity(runs as usize);
    for _ in 0..runs {
        let (input, cpu) = (input.clone(), cpu_time());
        let (inference, busy) = patient::run(&device, input).await?;
        out.push(Run { inference, busy, cpu: cpu_time().saturating_sub(cpu) });
    }
    Ok(out)
}

fn layers(model: &Model, runs: &[Run]) -> Vec<LayerReport> {
    let plan = model.plan();
    let mut out = Vec::new();
    for (round, groups) in plan.rounds().iter().enumerate() {
        let times: Vec<Duration> = runs.iter().map(|r| r.inference.times.rounds[round]).collect();
        for &g in groups {
            let group = plan.group(g);
            let k = group.k();
            for (i, &l) in group.layers().iter().enumerate() {
                let layer = plan.layer(l);
                let packed = |n: usize| twinmask_ring::pack::packed_len(n, k);
                // Siblings share one upload; it is counted with the first of them.
                let up = if i == 0 { packed(group.in_len()) } else { 0 };
                let down = packed(layer.geometry().out_len());
                out.push(LayerReport { round, name: layer.name().into(), k, up, down, ms: quantile(&times, 0.5) });
            }
        }
    }
    out
}

/// The `q` quantile in milliseconds (nearest rank).
fn quantile(times: &[Duration], q: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).map_or(0.0, |&t| ms(t))
}

/// Largest resident set of this process so far, in MB; 0 where the system does not tell.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")).and_then(|n| n.trim().parse::<f64>().ok());
    (kb.unwrap_or(0.0) / 1024.0 * 10.0).round() / 10.0
}

fn summary(r: &BenchReport) -> Vec<(&'static str, String)> {
    let mb = |b: UpDown| format!("{:.3} MB up, {:.3} MB down", b.up as f64 / 1e6, b.down as f64 / 1e6);
    vec![
        ("model", format!("{} (ring {}, kernel {})", r.model, r.ring, r.kernel)),
        ("mode", format!("{}, integrity {}", r.mode, r.integrity)),
        ("runs", format!("{} after {} for warm-up, {} in flight", r.runs, r.warmup, r.concurrency)),
        (
            "latency",
            format!("{:.2} ms median (min {:.2}, p90 {:.2}, p99 {:.2})", r.ms.median, r.ms.min, r.ms.p90, r.ms.p99),
        ),
        ("device CPU", format!("{:.2} ms per inference", r.device_cpu_ms.median)),
        ("edges compute", format!("{:.2} ms (A), {:.2} ms (B) per inference", r.edge_ms.edge_a, r.edge_ms.edge_b)),
        ("edge A", mb(r.bytes.edge_a)),
        ("edge B", mb(r.bytes.edge_b)),
        ("rounds", r.rounds.to_string()),
        ("busy", format!("{} times, each run anew", r.busy)),
        ("MMAC", format!("{:.1} offloaded, {:.2} on the device", r.mmac.offloaded, r.mmac.local)),
        ("peak memory", format!("{:.1} MB", r.peak_rss_mb)),
    ]
}

const COLUMNS: [&str; 6] = ["round", "layer", "k", "up bytes", "down bytes", "ms (whole round)"];

fn cells(l: &LayerReport) -> [String; 6] {
    [l.round.to_string(), l.name.clone(), l.k.to_string(), l.up.to_string(), l.down.to_string(), format!("{:.2}", l.ms)]
}

fn print_text(report: &BenchReport) {
    for (name, value) in summary(report) {
        say!("{name:14} {value}");
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(COLUMNS);
    table.add_rows(report.layers.iter().map(cells));
    say!("{table}");
}

/// The report as a page without scripts or links.
fn page(report: &BenchReport) -> String {
    let escape = |s: &str| s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head: String = summary(report).into_iter().map(|(n, v)| row(&[n.to_owned(), v], "td")).collect();
    let body: String = report.layers.iter().map(|l| row(&cells(l), "td")).collect();
    let style = "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .7em;text-align:left}";
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>twinmask bench: {model}</title>\n<style>{style}</style>\n<h1>twinmask bench: {model}</h1>\n<table>\n{head}</table>\n<table>\n{columns}{body}</table>\n</html>\n",
        model = escape(&report.model),
        columns = row(&COLUMNS.map(str::to_owned), "th"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let times: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!([0.0, 0.5, 0.9, 0.99].map(|q| quantile(&times, q)), [1.0, 5.0, 9.0, 10.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
