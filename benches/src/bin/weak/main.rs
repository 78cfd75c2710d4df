//! How slow a device must be for outsourcing to win: the device and local onnxruntime under the same CPU quota, per
//! link.

mod autos;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use autos::{Autos, DECISION_COLUMNS};
use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use twinmask_benches::folders::results_dir;
use twinmask_benches::lines::{Runner, onnxruntime};
use twinmask_benches::machine;
use twinmask_benches::net::deploy::{Running, Site};
use twinmask_benches::net::energy::{self, Energy};
use twinmask_benches::net::netns::Topology;
use twinmask_benches::net::quota::{Limited, Limiter};
use twinmask_benches::net::{LINKS, Link, crossing};
use twinmask_benches::networks::network_file;
use twinmask_benches::plot::{self, Axes, Series};
use twinmask_benches::report::{Report, number};
use twinmask_benches::stats::median;

/// What is compared: (name, mode, profile, check, dropped bits).
const SETTINGS: [(&str, &str, &str, &str, &str); 3] = [
    ("relay, compact, dropped bits", "relay", "compact", "sample:16", "auto"),
    ("relay, balanced, Freivalds", "relay", "balanced", "freivalds", "off"),
    ("split, balanced, Freivalds", "split", "balanced", "freivalds", "off"),
];
/// Up to this share of a processor what a quota saves up is nothing beside an inference.
const NOTICEABLE_PERCENT: f64 = 10.0;
/// Name of local execution.
const LOCAL: &str = "local, onnxruntime f32";
/// Name of the device's own local execution.
const NONE: &str = "none leaves the device";
/// Name of the plan that `--offload auto` makes for device, speed and link, run as the last but one of [`SETTINGS`].
const AUTO: &str = "auto";
/// The paper's figures for AlexNet: times faster, and percent of energy saved.
const PAPER: (f64, f64) = (40.6, 96.2);
/// The setting of [`SETTINGS`] whose plan `auto` varies.
const ALL: usize = 1;

#[derive(Parser)]
#[command(about = "The device speed below which outsourcing wins")]
struct Args {
    /// Networks, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "alexnet227,alexnet,facenet-irv1,resnet50,mobilenet-v2")]
    networks: Vec<String>,
    /// Links, separated by commas: 40m, 100m, 1g.
    #[arg(long, value_delimiter = ',', default_value = "40m,100m,1g")]
    links: Vec<String>,
    /// Percent of one processor that the device has, separated by commas, falling.
    #[arg(long, value_delimiter = ',', default_value = "100,30,10,3,1")]
    speeds: Vec<f64>,
    /// Most inferences at each speed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Time for all inferences, min: as many as fit; at least one at each speed.
    #[arg(long, default_value_t = 7.0)]
    minutes: f64,
    /// Compute threads of each edge.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What is read from a point.
type Quantity = fn(&Point) -> f64;

/// One network on one link at one speed.
#[derive(Debug, Clone, Serialize)]
struct Point {
    network: String,
    link: &'static str,
    /// Local, or a setting of twinmask.
    scheme: String,
    /// Fraction of one processor of this machine.
    speed: f64,
    /// Inferences.
    n: usize,
    /// Their median latency.
    ms: f64,
    /// CPU time of the device's process, of this machine's core.
    cpu_ms: f64,
    energy: Energy,
}

/// Where outsourcing begins to win.
#[derive(Debug, Clone, Serialize)]
struct Verdict {
    network: String,
    link: &'static str,
    scheme: String,
    /// Speeds below which it wins: latency, CPU and radio energy, energy of the whole board.
    below: [crossing::Crossing; 3],
    /// At the slowest speed measured: times faster than local, percent of CPU and radio energy saved, of the board's.
    slowest: (f64, f64, f64),
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let args = Args::parse();
    let mut report = Report::new("weak", "Weak devices: the speed below which outsourcing wins");
    if let Some(obstacle) = Topology::obstacle() {
        report.text(obstacle);
        return report.write();
    }
    let limiter = Limiter::find();
    report.text(format!(
        "Device and local onnxruntime (f32, one thread) each have the same share of one processor, by {}; the edges have all of \
         theirs. Speed 1 is one core of this machine. Medians of n inferences, taken in turns. `auto` is `--offload auto` in \
         the setting of `relay, balanced, Freivalds`: for the profile that `device doctor --calibrate` wrote at speed 1 on \
         the fastest link, with rates divided by the speed, and for the link. Where it decides as `all` or `none` would, its \
         row is that one's; held against the better of local, none and all of the same setting.",
        limiter.describe(),
    ));
    report.text(energy::statement());
    let topology = Topology::new()?;
    let links: Vec<&Link> = LINKS.iter().filter(|l| args.links.iter().any(|n| n == l.name)).collect();
    let cells = args.networks.len() * links.len() * args.speeds.len();
    let mut time = Time { end: Instant::now() + Duration::from_secs_f64(60.0 * args.minutes), cells };
    let (mut points, mut verdicts) = (Vec::new(), Vec::new());
    for name in &args.networks {
        let Some(onnx) = network_file(name)? else {
            report.text(format!("skipped: {name}: TWINMASK_DATA is not there"));
            continue;
        };
        let site = Site::new(name, &onnx)?;
        site.add("none", &["--offload", "none"])?;
        let autos = Autos::new(&site, &topology, &links, &args.speeds, args.threads)?;
        report.table(&format!("{name}: what `auto` decides, and predicts"), &DECISION_COLUMNS, &autos.cells());
        let mut of_network = Vec::new();
        for link in links.iter().copied() {
            eprintln!("{name}: {}", link.title());
            let running = site.start(&topology, link, args.threads, false)?;
            let own = measure(&args, &limiter, &site, &running, (link, &autos), &mut time)?;
            verdicts.extend(SETTINGS.iter().map(|s| judge(&own, name, link, s.0)));
            report.table(&format!("{name}, {}", link.title()), &COLUMNS, &rows(&own));
            of_network.extend(own);
            report.data("points", &[&points[..], &of_network[..]].concat());
            report.write()?;
        }
        draw(&mut report, name, &of_network)?;
        points.extend(of_network);
    }
    let rows: Vec<_> = verdicts.iter().map(Verdict::cells).collect();
    report.table(
        "Speed of the device (1: one core of this machine) below which outsourcing wins",
        &VERDICT_COLUMNS,
        &rows,
    );
    report.text(format!(
        "The paper reports {}x less latency and {} % less energy for AlexNet at 40 Mbit/s, against its own plain \
         implementation on a Raspberry Pi; local execution here is onnxruntime's.",
        PAPER.0, PAPER.1
    ));
    report.data("verdicts", &verdicts);
    report.write()
}

/// What is left of the time.
struct Time {
    end: Instant,
    /// Speeds still to be measured, on all links.
    cells: usize,
}

impl Time {
    /// When the next speed's time is over.
    fn next(&mut self) -> Instant {
        let now = Instant::now();
        let share = self.end.saturating_duration_since(now) / self.cells.max(1) as u32;
        self.cells = self.cells.saturating_sub(1);
        now + share
    }
}

/// All settings and local execution at all speeds, in turns.
fn measure(
    args: &Args,
    limiter: &Limiter,
    site: &Site,
    running: &Running<'_>,
    (link, autos): (&Link, &Autos),
    time: &mut Time,
) -> Result<Vec<Point>> {
    let start = |(name, mode, model, integrity, drop): (&str, &str, &str, &str, &str)| {
        let mut command = site.device(running, "device-serve")?;
        command.args(["--model", model, "--mode", mode, "--integrity", integrity, "--drop-bits", drop]);
        command.args(["--network", link.preset, "--timeout-s", "600", "--warmup", "2"]);
        Runner::start(&mut command).with_context(|| name.to_owned())
    };
    let (_, mode, _, integrity, dropped) = SETTINGS[ALL];
    let mut runners = vec![(LOCAL, onnxruntime(&site.onnx, 1)?)];
    for setting in SETTINGS {
        runners.push((setting.0, start(setting)?));
    }
    runners.push((NONE, start((NONE, mode, "none", integrity, dropped))?));
    let mut points = Vec::new();
    for &percent in &args.speeds {
        let decided = autos.at(link, percent);
        runners.truncate(SETTINGS.len() + 2);
        if decided.is_mixed() {
            runners.push((AUTO, start((AUTO, mode, &decided.model, integrity, dropped))?));
        }
        let held = runners.iter().map(|(_, r)| limiter.apply(r.id(), percent)).collect::<Result<Vec<Limited>>>()?;
        let mut answers: Vec<Vec<Value>> = vec![Vec::new(); runners.len()];
        let end = time.next();
        // The first turn begins with a quota that was saved up; to a slow device that makes no difference.
        let discarded = usize::from(percent > NOTICEABLE_PERCENT);
        for turn in 0..args.runs + discarded {
            let begun = Instant::now();
            for ((name, runner), answers) in runners.iter_mut().zip(&mut answers) {
                let answer = runner.run().with_context(|| format!("{name} at {percent} %"))?;
                if turn >= discarded {
                    answers.push(answer);
                }
            }
            if turn >= discarded && Instant::now() + begun.elapsed() > end {
                break;
            }
        }
        drop(held);
        for ((name, _), answers) in runners.iter().zip(&answers) {
            points.push(point(site, link, name, percent / 100.0, answers));
        }
        if !decided.is_mixed() {
            let same = if decided.model == "none" { NONE } else { SETTINGS[ALL].0 };
            let same = points.iter().rev().find(|p| p.scheme == same).cloned();
            points.extend(same.map(|p| Point { scheme: AUTO.to_owned(), ..p }));
        }
    }
    Ok(points)
}

fn point(site: &Site, link: &Link, scheme: &str, speed: f64, answers: &[Value]) -> Point {
    let of = |pointer: &str| {
        median(&answers.iter().filter_map(|a| a.pointer(pointer).and_then(Value::as_f64)).collect::<Vec<_>>())
    };
    let (ms, cpu_ms) = (of("/ms"), of("/cpu_ms"));
    let up = of("/bytes/edge_a/up") + of("/bytes/edge_b/up");
    let radio = (up > 0.0).then_some((link, up));
    let energy = energy::estimate(ms / 1e3, cpu_ms / 1e3, speed, radio);
    let n = answers.len();
    Point { network: site.name.clone(), link: link.name, scheme: scheme.to_owned(), speed, n, ms, cpu_ms, energy }
}

const COLUMNS: [&str; 9] = [
    "speed",
    "scheme",
    "n",
    "latency ms",
    "CPU ms (full speed)",
    "energy J active",
    "energy J board",
    "local latency / this",
    "auto / better of local, none and all",
];

fn rows(points: &[Point]) -> Vec<Vec<String>> {
    let ms = |speed: f64, scheme: &str| points.iter().find(|p| p.scheme == scheme && p.speed == speed).map(|p| p.ms);
    let local = |speed: f64| ms(speed, LOCAL).unwrap_or(0.0);
    let best = |speed: f64| {
        [LOCAL, NONE, SETTINGS[ALL].0].into_iter().filter_map(|s| ms(speed, s)).fold(f64::INFINITY, f64::min)
    };
    let row = |p: &Point| {
        let energy = [p.energy.active_j, p.energy.board_j].map(number);
        let [active, board] = energy;
        vec![
            number(p.speed),
            p.scheme.clone(),
            p.n.to_string(),
            number(p.ms),
            number(p.cpu_ms),
            active,
            board,
            number(local(p.speed) / p.ms),
            if p.scheme == AUTO { number(p.ms / best(p.speed)) } else { "-".to_owned() },
        ]
    };
    points.iter().map(row).collect()
}

fn judge(points: &[Point], network: &str, link: &Link, scheme: &str) -> Verdict {
    let of = |name: &str| points.iter().filter(|p| p.scheme == name).cloned().collect::<Vec<_>>();
    let (ours, local) = (of(scheme), of(LOCAL));
    let crossing = |value: Quantity| {
        let ratios: Vec<_> = ours.iter().zip(&local).map(|(o, l)| (o.speed, value(o) / value(l))).collect();
        crossing::below(&ratios)
    };
    let (active, board): (Quantity, Quantity) = (|p| p.energy.active_j, |p| p.energy.board_j);
    let saved =
        |value: Quantity| ours.last().zip(local.last()).map_or(0.0, |(o, l)| 100.0 * (1.0 - value(o) / value(l)));
    let faster = ours.last().zip(local.last()).map_or(0.0, |(o, l)| l.ms / o.ms);
    Verdict {
        network: network.to_owned(),
        link: link.name,
        scheme: scheme.to_owned(),
        below: [crossing(|p| p.ms), crossing(active), crossing(board)],
        slowest: (faster, saved(active), saved(board)),
    }
}

const VERDICT_COLUMNS: [&str; 9] = [
    "network",
    "link",
    "setting",
    "latency",
    "energy active",
    "energy board",
    "times faster at the slowest speed (paper: 40.6)",
    "% energy saved there, active (paper: 96.2)",
    "% saved, board",
];

impl Verdict {
    fn cells(&self) -> Vec<String> {
        let [latency, active, board] = self.below.map(|c| c.text());
        let (faster, saved, saved_board) = self.slowest;
        let names = [self.network.clone(), self.link.to_owned(), self.scheme.clone()];
        let rest = [latency, active, board, number(faster), number(saved), number(saved_board)];
        names.into_iter().chain(rest).collect()
    }
}

/// Latency and energy over speed, all links of a network in one plot each.
fn draw(report: &mut Report, network: &str, points: &[Point]) -> Result<()> {
    let quantities: [(&str, &str, Quantity); 2] =
        [("latency", "latency, ms", |p| p.ms), ("energy", "estimated energy of the board, J", |p| p.energy.board_j)];
    for (name, label, value) in quantities {
        let mut series: Vec<Series> = Vec::new();
        for p in points {
            // Local execution is the same on every link; one curve of it is enough.
            let title = if [LOCAL, NONE].contains(&p.scheme.as_str()) {
                p.scheme.clone()
            } else {
                format!("{}, {}", p.link, p.scheme)
            };
            let curve = match series.iter().position(|s| s.name == title) {
                Some(at) => &mut series[at],
                None => {
                    series.push(Series { name: title, points: Vec::new() });
                    series.last_mut().context("pushed above")?
                }
            };
            if !curve.points.iter().any(|(speed, _)| *speed == p.speed) {
                curve.points.push((p.speed, value(p)));
            }
        }
        let file = format!("weak-{network}-{name}.svg");
        let title = format!("{network}: {name} over the device's speed");
        plot::curves(
            &results_dir().join(&file),
            &title,
            ("speed of the device, 1: one core of this machine", label),
            Axes::Logarithmic,
            &series,
        )?;
        report.text(format!("![{title}]({file})"));
    }
    Ok(())
}
