//! End to end on loopback: both edges and the device as processes, against local inference by onnxruntime with one
//! thread, run by run in turn. `make bench-loopback`.

mod rows;
mod targets;
mod throughput;

use anyhow::Result;
use clap::Parser;
use twinmask_benches::deployment::Deployment;
use twinmask_benches::lines::{Runner, int8, onnxruntime};
use twinmask_benches::machine;
use twinmask_benches::networks::network_file;
use twinmask_benches::report::{Report, number};

use rows::{Case, NAME, Row, measure};

#[derive(Parser)]
struct Cli {
    /// Networks; all settings are measured for the first, the main ones for the others.
    #[arg(long, value_delimiter = ',', default_value = "alexnet,facenet-irv1,resnet50,squeezenet")]
    networks: Vec<String>,
    /// Measured runs of each row.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Runs of each row before, not measured.
    #[arg(long, default_value_t = 8)]
    warmup: usize,
    /// Only rows whose description contains this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Rounds of the throughput comparison; 0 leaves it out.
    #[arg(long, default_value_t = 7)]
    throughput_rounds: usize,
    /// Inferences of each device in each of these rounds.
    #[arg(long, default_value_t = 10)]
    throughput_runs: usize,
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let mut report = Report::new("loopback", "End to end on loopback against local onnxruntime");
    report.text(
        "Each run alternates: one private inference (device and both edges are processes of their own, QUIC over loopback); then, when \
         the edges are idle again, the whole network in plaintext by onnxruntime with one thread, f32 and int8 (QDQ). `ratio` is \
         the median of the ratios of neighbouring runs; CPU is that of the device's or onnxruntime's process. `threads` are the \
         compute threads of each edge. If there is a processor for each of these and one more, that one is the device's (and \
         onnxruntime's) alone, as on a host of its own, and the edges share the others; else all processes use all processors.",
    );
    let mut rows: Vec<Row> = Vec::new();
    for (i, network) in cli.networks.iter().enumerate() {
        if network_file(network)?.is_none() {
            report.text(format!("{network}: not measured, because its file is not there (TWINMASK_DATA)."));
            continue;
        }
        let cases = if i == 0 { rows::all() } else { rows::main_ones() };
        let cases: Vec<Case> = cases.into_iter().filter(|c| c.to_string().contains(&cli.only)).collect();
        let measured = network_rows(&cli, network, &cases)?;
        report.table(network, &COLUMNS, &measured.iter().map(cells).collect::<Vec<_>>());
        rows.extend(measured);
        report.data("rows", &rows);
        report.write()?;
    }
    let throughput = match cli.networks.first() {
        Some(network) if cli.throughput_rounds > 0 => {
            throughput::measure(&mut report, network, cli.throughput_rounds, cli.throughput_runs)?
        }
        _ => Vec::new(),
    };
    targets::check(&mut report, &rows, &throughput);
    report.write()
}

/// The rows of one network; a deployment per ring, edges started anew where their settings change.
fn network_rows(cli: &Cli, network: &str, cases: &[Case]) -> Result<Vec<Row>> {
    let Some(onnx) = network_file(network)? else { return Ok(Vec::new()) };
    let (small, all, (last, others)) = (int8(&onnx)?, machine::processors_allowed()?, machine::last_and_others()?);
    let mut rows = Vec::new();
    for of_ring in cases.chunk_by(|a, b| a.ring == b.ring) {
        let deployment = Deployment::new()?;
        deployment.add(NAME, &onnx, of_ring[0].ring, NAME)?;
        for of_edges in of_ring.chunk_by(|a, b| (a.kernel, a.threads) == (b.kernel, b.threads)) {
            let Case { kernel, threads, .. } = of_edges[0];
            let relay = of_edges.iter().any(|c| c.mode == "relay");
            let (own, theirs) = if threads <= others.len() { (&vec![last], &others) } else { (&all, &all) };
            let arguments = ["--kernel", kernel, "--threads", &threads.to_string()];
            let edges = machine::on(theirs, || deployment.edges(relay, &arguments))?;
            let mut local: [Runner; 2] = machine::on(own, || Ok([onnxruntime(&onnx, 1)?, onnxruntime(&small, 1)?]))?;
            for case in of_edges {
                eprintln!("{network}: {case}");
                let device = machine::on(own, || rows::device(NAME, &deployment, &edges, case))?;
                rows.push(measure(network, case, device, &mut local, [cli.warmup, cli.runs])?);
            }
        }
    }
    Ok(rows)
}

const COLUMNS: [&str; 19] = [
    "mode",
    "integrity",
    "ring",
    "other",
    "kernel",
    "threads",
    "ms",
    "p90",
    "ort f32 ms",
    "ratio",
    "ort int8 ms",
    "ratio to int8",
    "device CPU ms",
    "of ort CPU",
    "kB up A",
    "kB down A",
    "kB up B",
    "kB down B",
    "fallbacks",
];

fn cells(row: &Row) -> Vec<String> {
    let kb = |bytes: f64| number(bytes / 1e3);
    let case = &row.case;
    vec![
        row.mode.clone(),
        case.integrity.to_owned(),
        case.ring.to_owned(),
        if case.extra.is_empty() { "-".to_owned() } else { case.extra.join(" ") },
        case.kernel.to_owned(),
        case.threads.to_string(),
        number(row.ms.median),
        number(row.ms.p90),
        number(row.onnxruntime_f32_ms.median),
        format!("{:.2}", row.ratio_f32),
        number(row.onnxruntime_int8_ms.median),
        format!("{:.2}", row.ratio_int8),
        number(row.device_cpu_ms.median),
        format!("{:.2}", row.cpu_ratio),
        kb(row.bytes.edge_a_up),
        kb(row.bytes.edge_a_down),
        kb(row.bytes.edge_b_up),
        kb(row.bytes.edge_b_down),
        row.fallbacks.to_string(),
    ]
}
