//! One edge's linear layers of a whole network against local inference of that network by onnxruntime, both on one and
//! the same processor, run by run in turn. `make bench-linear`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;
use twinmask_benches::lines::{Runner, int8, onnxruntime};
use twinmask_benches::networks::network_file;
use twinmask_benches::report::{Report, number};
use twinmask_benches::stats::{Spread, median, paired_ratio};
use twinmask_benches::{kernels, machine};
use twinmask_codec::{GroupId, LayerId};
use twinmask_kernels::Scratch;
use twinmask_model::graph::Graph;
use twinmask_model::plan::{Group, Plan};
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportOptions, import};
use twinmask_owner_keygen::partition::{Offload, Partitioned, partition};
use twinmask_ring::mask;
use twinmask_ring::prf::Key;

/// What the project asks for: network, ring, largest ratio to onnxruntime f32 with kernel `auto`.
const TARGETS: [(&str, &str, f64); 5] = [
    ("alexnet", "compact", 0.50),
    ("alexnet", "balanced", 0.70),
    ("alexnet", "precise", 0.80),
    ("resnet50", "compact", 0.85),
    ("resnet50", "balanced", 1.1),
];

#[derive(Parser)]
struct Cli {
    /// Networks of the zoo.
    #[arg(long, value_delimiter = ',', default_value = "alexnet,resnet50,facenet-irv1")]
    networks: Vec<String>,
    /// Ring profiles.
    #[arg(long, value_delimiter = ',', default_value = "compact,balanced,precise")]
    rings: Vec<String>,
    /// Kernels; all of this build on this CPU if none is named.
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// Measured rounds of one run of everything.
    #[arg(long, default_value_t = 40)]
    runs: usize,
    /// Rounds before, not measured.
    #[arg(long, default_value_t = 5)]
    warmup: usize,
    /// Processor that everything runs on; by default the last.
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Serialize)]
struct LayerRow {
    name: String,
    k: u32,
    w_bits: u32,
    mmac: f64,
    picked: &'static str,
    median_ms: f64,
    gmac_per_s: f64,
}

#[derive(Serialize)]
struct Row {
    network: String,
    ring: String,
    kernel: String,
    ms: Spread,
    onnxruntime_f32_ms: Spread,
    onnxruntime_int8_ms: Spread,
    ratio_f32: f64,
    ratio_int8: f64,
    gmac_per_s: f64,
    layers: Vec<LayerRow>,
}

/// A network's layers, prepared for one kernel, with a share for each.
struct Layers {
    plan: Plan,
    linears: Vec<std::sync::Arc<dyn twinmask_kernels::Linear>>,
    /// By group.
    shares: Vec<Vec<u32>>,
    output: Vec<u32>,
    scratch: Scratch,
}

impl Layers {
    fn new(parts: &Partitioned, kernel_name: &str) -> Result<Self> {
        let (kernel, plan) = (kernels().named(kernel_name)?, parts.plan.clone());
        let layers = plan.layer_ids().zip(&parts.weights);
        let linears: Vec<_> = layers.map(|(l, w)| kernel.prepare(plan.layer(l).geometry(), w, plan.k_of(l))).collect();
        let key = Key::derive("bench", &[b"shares"]);
        let share = |(g, group): (GroupId, &Group)| {
            let mut share = vec![0; group.in_len()];
            key.fill(g.into(), group.k(), &mut share);
            share
        };
        let shares = plan.numbered_groups().map(share).collect();
        let longest = plan.layers().iter().map(|l| l.geometry().out_len()).max().unwrap_or(0);
        Ok(Self { plan, linears, shares, output: vec![0; longest], scratch: Scratch::default() })
    }

    /// Computes layer `l`.
    fn layer(&mut self, l: LayerId) -> &[u32] {
        let layer = self.plan.layer(l);
        let output = &mut self.output[..layer.geometry().out_len()];
        self.linears[l.index()].apply(&self.shares[layer.group().index()], output, &mut self.scratch);
        output
    }

    /// One run of all layers: total and each layer's ms.
    fn run(&mut self) -> (f64, Vec<f64>) {
        let begun = Instant::now();
        let mut times = Vec::with_capacity(self.linears.len());
        for l in self.plan.layer_ids() {
            let start = Instant::now();
            self.layer(l);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        (begun.elapsed().as_secs_f64() * 1e3, times)
    }

    /// A digest of all outputs in their rings, so that a kernel that computes something else is not measured.
    fn digest(&mut self) -> u64 {
        let mut digest = 0xcbf2_9ce4_8422_2325u64;
        for l in self.plan.layer_ids() {
            let keep = mask(self.plan.k_of(l));
            for y in self.layer(l) {
                digest = (digest ^ u64::from(y & keep)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        digest
    }
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let mut report = Report::new("linear", "One edge's linear layers against local inference by onnxruntime");
    let (last, _) = machine::last_and_others()?;
    machine::keep_to(&[cli.core.unwrap_or(last)])?;
    report.text(
        "Each run alternates: all linear layers of the network once on a uniform share, by one kernel and one thread; the \
         whole network in plaintext by onnxruntime f32 with one thread; the same quantized to int8 (QDQ, static, per channel). All \
         on the same processor. `ratio` is the median of the ratios of neighbouring runs. All kernels gave the same integers.",
    );
    let names = kernels().names().into_iter().map(str::to_owned).collect();
    let kernels: Vec<String> = if cli.kernels.is_empty() { names } else { cli.kernels.clone() };
    let mut rows = Vec::new();
    for network in &cli.networks {
        let path = network_file(network)?.with_context(|| format!("the file of {network} is not there"))?;
        let graph = import(&path, &ImportOptions::default())?.graph;
        let small = int8(&path)?;
        for ring in &cli.rings {
            let paths = [&path, &small];
            rows.extend(measure(&cli, network, &graph, ring, &kernels, paths)?);
            report.data("rows", &rows);
        }
        let of_network: Vec<&Row> = rows.iter().filter(|r| r.network == *network).collect();
        report.table(network, &COLUMNS, &of_network.iter().map(|r| cells(r)).collect::<Vec<_>>());
        report.write()?;
    }
    targets(&mut report, &rows);
    report.write()
}

fn measure(
    cli: &Cli,
    network: &str,
    graph: &Graph,
    ring: &str,
    kernels: &[String],
    [f32_file, int8_file]: [&PathBuf; 2],
) -> Result<Vec<Row>> {
    let profile: Profile = ring.parse().map_err(anyhow::Error::msg)?;
    let parts = partition(graph.clone(), profile, &Offload::All)?;
    let (mut reference, mut small) = (onnxruntime(f32_file, 1)?, onnxruntime(int8_file, 1)?);
    let (mut rows, mut digest) = (Vec::new(), None);
    for kernel in kernels {
        eprintln!("{network} {ring} {kernel}");
        let mut layers = Layers::new(&parts, kernel)?;
        let found = layers.digest();
        ensure!(*digest.get_or_insert(found) == found, "{network} {ring}: kernel {kernel} computes something else");
        rows.push(alternate(cli, (network, ring, kernel), &mut layers, [&mut reference, &mut small])?);
    }
    Ok(rows)
}

fn alternate(
    cli: &Cli,
    (network, ring, kernel): (&str, &str, &str),
    layers: &mut Layers,
    [reference, small]: [&mut Runner; 2],
) -> Result<Row> {
    let (mut own, mut f32s, mut int8s) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_layer = vec![Vec::new(); layers.linears.len()];
    for run in 0..cli.warmup + cli.runs {
        let (total, times) = layers.run();
        let (plain, quantized) = (reference.ms()?, small.ms()?);
        if run >= cli.warmup {
            own.push(total);
            f32s.push(plain);
            int8s.push(quantized);
            by_layer.iter_mut().zip(times).for_each(|(all, ms)| all.push(ms));
        }
    }
    let plan = &layers.plan;
    let macs: u64 = plan.layers().iter().map(|l| l.geometry().macs()).sum();
    let layer = |(l, times): (LayerId, &Vec<f64>)| {
        let (layer, ms) = (plan.layer(l), median(times));
        let mmac = layer.geometry().macs() as f64 / 1e6;
        let (name, picked) = (layer.name().to_owned(), layers.linears[l.index()].picked());
        LayerRow { name, k: plan.k_of(l), w_bits: layer.w_bits(), mmac, picked, median_ms: ms, gmac_per_s: mmac / ms }
    };
    Ok(Row {
        network: network.to_owned(),
        ring: ring.to_owned(),
        kernel: kernel.to_owned(),
        ratio_f32: paired_ratio(&own, &f32s),
        ratio_int8: paired_ratio(&own, &int8s),
        gmac_per_s: macs as f64 / 1e6 / median(&own),
        ms: Spread::of(&own),
        onnxruntime_f32_ms: Spread::of(&f32s),
        onnxruntime_int8_ms: Spread::of(&int8s),
        layers: plan.layer_ids().zip(&by_layer).map(layer).collect(),
    })
}

const COLUMNS: [&str; 10] = [
    "ring",
    "kernel",
    "ms",
    "min",
    "p90",
    "onnxruntime f32 ms",
    "ratio to f32",
    "onnxruntime int8 ms",
    "ratio to int8",
    "GMAC/s",
];

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.ring.clone(),
        row.kernel.clone(),
        number(row.ms.median),
        number(row.ms.min),
        number(row.ms.p90),
        number(row.onnxruntime_f32_ms.median),
        format!("{:.2}", row.ratio_f32),
        number(row.onnxruntime_int8_ms.median),
        format!("{:.2}", row.ratio_int8),
        number(row.gmac_per_s),
    ]
}

fn targets(report: &mut Report, rows: &[Row]) {
    let line = |&(network, ring, most): &(&str, &str, f64)| {
        let row = rows.iter().find(|r| r.network == network && r.ring == ring && r.kernel == "auto")?;
        let met = if row.ratio_f32 <= most { "yes" } else { "no" };
        Some(vec![network.into(), ring.into(), format!("{:.2}", row.ratio_f32), format!("{most:.2}"), met.into()])
    };
    let lines: Vec<Vec<String>> = TARGETS.iter().filter_map(line).collect();
    if !lines.is_empty() {
        report.table("Targets (kernel auto)", &["network", "ring", "ratio to f32", "at most", "met"], &lines);
    }
}
