//! `device demo`: the owner's tool and both edges as child processes, a device in this one, all on loopback.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde::Serialize;

use crate::cli::print::{self, say};
use crate::cli::report::{InferReport, ms};
use crate::cli::settings::Settings;
use crate::device::Device;
use crate::error::{CheckError, DeviceError};
use crate::inference::Inference;
use crate::input::Image;
use crate::model::Model;
use crate::session::Glimpse;

/// A lake with a boat, drawn by `examples/draw_demo.rs`.
const PICTURE: &[u8] = include_bytes!("../../assets/demo.png");
/// Integers shown of each exchange.
const SHOWN: usize = 4;
/// Inferences after the first one.
const RUNS: usize = 5;

/// Arguments of `device demo`; `--model` names the network of `owner-keygen zoo` [default: alexnet].
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DemoReport<'a> {
    #[serde(flatten)]
    inference: InferReport,
    median_ms: f64,
    equal_to_local: bool,
    exchanges: &'a [ExchangeReport],
}

#[derive(Serialize)]
struct ExchangeReport {
    layer: String,
    k: u32,
    activation: Vec<i32>,
    edge_a_share: Vec<u32>,
    edge_b_share: Vec<u32>,
}

impl From<&Glimpse> for ExchangeReport {
    fn from(g: &Glimpse) -> Self {
        Self {
            layer: g.layer.clone(),
            k: g.k,
            activation: g.x.clone(),
            edge_a_share: g.share_a.clone(),
            edge_b_share: g.share_b.clone(),
        }
    }
}

pub(crate) async fn run(settings: Settings, args: DemoArgs) -> Result<()> {
    let arch = settings.model.clone().unwrap_or_else(|| "alexnet".into());
    let temp =
        tempfile::Builder::new().prefix("twinmask-demo-").tempdir().map_err(|e| failed("a temporary folder", e))?;
    let say = |text: &str| {
        if !args.json {
            say!("{text}");
        }
    };
    say(&format!("owner    imports {arch} (seeded random weights), issues two edges and one device"));
    let root = temp.path();
    issue(root, &arch)?;
    let edge_a = Edge::start("edge-a", root)?;
    let edge_b = Edge::start("edge-b", root)?;
    say(&format!("edge-a   listens on {} (process {})", edge_a.address, edge_a.child.id()));
    say(&format!("edge-b   listens on {} (process {})", edge_b.address, edge_b.child.id()));

    let folder = root.join("devices/demo");
    let builder = Settings { model: None, ..settings }.builder_in(&folder)?;
    let builder = builder.edges(&edge_a.address, &edge_b.address).watch(SHOWN);
    let check = builder.checks().to_string();
    let device = builder.build()?;
    let picture = Image::encoded(PICTURE).map_err(DeviceError::from)?;
    let result = inferences(&device, &picture).await;
    device.close().await;
    let (first, median) = result?;
    let local = Device::local(&folder)?.run(picture).await?;
    let equal = first.outputs == local.outputs;

    let report = InferReport::new("demo.png".into(), device.model(), &check, (&first, 0), 3);
    if args.json {
        let exchanges: Vec<ExchangeReport> = first.glimpses.iter().map(ExchangeReport::from).collect();
        print::json(&DemoReport {
            inference: report,
            median_ms: ms(median),
            equal_to_local: equal,
            exchanges: &exchanges,
        });
    } else {
        show(device.model(), &first, median, &report);
        say!(
            "result   {} to --local, the same network computed on the device alone",
            if equal { "equal bit for bit" } else { "NOT EQUAL" }
        );
    }
    if !equal {
        return Err(DeviceError::Integrity(CheckError::NotEqual).into());
    }
    Ok(())
}

fn failed(what: &str, e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("demo: {what}: {e}")
}

/// One inference, then some more for the median latency.
async fn inferences(device: &Device, picture: &Image) -> Result<(Inference, Duration)> {
    let first = device.run(picture.clone()).await?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        times.push(device.run(picture.clone()).await?.times.total);
    }
    times.sort_unstable();
    Ok((first, times[RUNS / 2]))
}

/// The program `name` beside this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| failed("own path", e))?;
    let path = own.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{}: is missing: demo needs owner-keygen, edge-a and edge-b beside device (`make build` puts them there)",
        path.display()
    )
}

fn issue(root: &Path, arch: &str) -> Result<()> {
    let keygen = sibling("owner-keygen")?;
    let dir = root.as_os_str();
    let steps: [&[&str]; 3] = [
        &["init"],
        &["add-model", "--name", "demo", "--zoo", arch],
        &["add-device", "--name", "demo", "--model", "demo", "--weights"],
    ];
    for step in steps {
        let out = Command::new(&keygen).arg(step[0]).arg(dir).args(&step[1..]).output();
        let out = out.map_err(|e| failed("owner-keygen", e))?;
        if !out.status.success() {
            return Err(failed("owner-keygen", String::from_utf8_lossy(&out.stderr).trim()));
        }
    }
    Ok(())
}

/// An edge as a child process; ended when dropped.
struct Edge {
    child: Child,
    address: String,
}

impl Edge {
    fn start(name: &str, root: &Path) -> Result<Self> {
        let mut child = Command::new(sibling(name)?)
            .arg("--dir")
            .arg(root.join(name))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed(name, e))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|e| failed(name, e))?;
        }
        let mut edge = Self { child, address: String::new() };
        let address = line.trim().strip_prefix("listening on ").ok_or_else(|| failed(name, "it did not start"))?;
        address.clone_into(&mut edge.address);
        Ok(edge)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn show(model: &Model, first: &Inference, median: Duration, report: &InferReport) {
    say!("\nwhat the device knows (first integers of each round's tensor), and what each edge got instead:");
    say!(
        "round layer            k  activation                edge-a (from its seed)                       edge-b (uploaded)"
    );
    for (r, g) in first.glimpses.iter().enumerate() {
        let list = |v: &[u32]| v.iter().map(|e| format!("{e:>10}")).collect::<Vec<_>>().join(" ");
        let x = g.x.iter().map(|e| format!("{e:>5}")).collect::<Vec<_>>().join(" ");
        say!("{r:>5} {:<14} {:>3} {x}   {}  {}", g.layer, g.k, list(&g.share_a), list(&g.share_b));
    }
    let mb = |b: u64| b as f64 / 1e6;
    let (b, plan) = (&report.bytes, model.plan());
    say!(
        "\nrounds   {} ({:.0} million multiply-accumulates outsourced, {:.2} kept)",
        report.rounds,
        plan.macs() as f64 / 1e6,
        model.local_macs() as f64 / 1e6
    );
    say!(
        "bytes    edge-a {:.3} MB up, {:.3} MB down; edge-b {:.3} MB up, {:.3} MB down",
        mb(b.edge_a.up),
        mb(b.edge_a.down),
        mb(b.edge_b.up),
        mb(b.edge_b.down)
    );
    say!("latency  {:.1} ms (median of {RUNS} further inferences)", ms(median));
    say!("check    {}: {} layers, no edge lied", report.integrity.check, report.integrity.layers);
    let top: Vec<String> = report.top.iter().map(|t| format!("class {} ({:.1} %)", t.label, t.score * 100.0)).collect();
    say!("top      {}", top.join(", "));
}
