//! Inference over shaped links in network namespaces: twinmask in both modes beside unprotected offloading, one-time
//! keys, the paper's encoding and local execution. Needs root and iproute2; says that it skipped where they are
//! missing.

use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use twinmask_benches::baseline::PAPER_WIDTH;
use twinmask_benches::baseline::role::{Client, Serve};
use twinmask_benches::folders::results_dir;
use twinmask_benches::lines::{Runner, onnxruntime};
use twinmask_benches::net::budget::{Budget, Turns};
use twinmask_benches::net::deploy::{Site, probe};
use twinmask_benches::net::netns::Topology;
use twinmask_benches::net::rows::{self, Bench, COLUMNS, Plans, Row, Samples, Scheme};
use twinmask_benches::net::{LINKS, Link, energy, targets};
use twinmask_benches::networks::network_file;
use twinmask_benches::report::{Report, number};
use twinmask_benches::{machine, mnist, plot};

/// Networks measured on every link; the MNIST networks follow on the first.
const NETWORKS: [&str; 6] = ["alexnet227", "facenet-nn1", "alexnet", "facenet-irv1", "resnet50", "squeezenet"];

#[derive(Parser)]
#[command(about = "Benchmarks over shaped links", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    plan: Measure,
}

#[derive(Args)]
struct Measure {
    /// Networks, separated by commas.
    #[arg(long, value_delimiter = ',')]
    networks: Vec<String>,
    /// Links, separated by commas: 40m, 100m, 1g.
    #[arg(long, value_delimiter = ',')]
    links: Vec<String>,
    /// Only schemes whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Most turns that each scheme gets, one after the other.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Most inferences of one turn.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Time for all inferences, min: turns and inferences are as many as fit; every row gets at least one.
    #[arg(long, default_value_t = 28.0)]
    minutes: f64,
    /// Inferences of a reference scheme that the link alone would keep for longer than this, s, are computed, not run.
    #[arg(long, default_value_t = 10.0)]
    longest_s: f64,
    /// The same for twinmask and local execution, s.
    #[arg(long, default_value_t = 30.0)]
    longest_private_s: f64,
    /// Compute threads of each edge; sgemm always has one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What this program does inside a namespace.
#[derive(Subcommand)]
enum Role {
    /// Serve a network in f32.
    #[command(hide = true)]
    Serve(Serve),
    /// Run inferences against servers of `serve`.
    #[command(hide = true)]
    Client(Client),
    /// Answer probes of the link.
    #[command(hide = true)]
    ProbeServe { listen: String },
    /// Probe the link.
    #[command(hide = true)]
    Probe { address: String },
}

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match cli.role {
        None => bench(&cli.plan),
        Some(Role::Serve(serve)) => runtime()?.block_on(serve.play()),
        Some(Role::Client(client)) => runtime()?.block_on(client.play()),
        Some(Role::ProbeServe { listen }) => twinmask_benches::net::probe::serve(&listen),
        Some(Role::Probe { address }) => {
            println!("{}", serde_json::to_string(&twinmask_benches::net::probe::measure(&address)?)?);
            Ok(())
        }
    }
}

fn bench(plan: &Measure) -> Result<()> {
    let mut report = Report::new("links", "Shaped links: device, edge A and edge B in network namespaces");
    if let Some(obstacle) = Topology::obstacle() {
        report.text(obstacle);
        return report.write();
    }
    let links: Vec<Link> =
        LINKS.into_iter().filter(|l| plan.links.is_empty() || plan.links.iter().any(|n| n == l.name)).collect();
    let topology = Topology::new()?;
    describe(&mut report, &topology, &links)?;
    report.write()?;
    let sites = sites(plan, &mut report)?;
    let least: Vec<f64> =
        sites.iter().flat_map(|(site, plans)| on(site, &links).flat_map(|l| plan.least(site, plans, l))).collect();
    let mut budget = Budget::new(Duration::from_secs_f64(60.0 * plan.minutes), &least);
    let mut rows = Vec::new();
    for (site, plans) in &sites {
        let name = &site.name;
        storage(&mut report, name, plans);
        let mut local = onnxruntime(&site.onnx, 1).map_err(|e| eprintln!("{e:#}")).ok();
        for link in on(site, &links) {
            let own = measure(plan, &topology, site, plans, link, &mut local, &mut budget)?;
            let cells: Vec<_> = own.iter().map(Row::cells).collect();
            report.table(&format!("{name}, {}", link.title()), &COLUMNS, &cells);
            rows.extend(own);
            report.data("rows", &rows);
            report.write()?;
        }
    }
    published(&mut report, &rows);
    let paper = sites.iter().find(|(site, _)| site.name == "alexnet227").map(|(_, plans)| plans);
    let judged = targets::judge(&rows, paper);
    let cells: Vec<_> = judged.iter().map(targets::Target::cells).collect();
    report.table("Targets", &["target", "measured", "at most", "verdict"], &cells);
    report.data("targets", &judged);
    plots(&mut report, &rows, &links)?;
    report.write()
}

impl Measure {
    fn schemes(&self, site: &Site, link: &Link) -> Vec<Scheme> {
        let mut schemes = rows::all();
        if site.name == "alexnet227" {
            schemes.extend(["lan", "wifi", "wan"].into_iter().filter(|p| *p != link.preset).map(preset));
        }
        schemes.retain(|s| s.label().contains(&self.only));
        schemes
    }

    /// Whether `scheme` is run, not computed.
    fn runs(&self, scheme: &Scheme, plans: &Plans, link: &Link) -> bool {
        let reference = matches!(scheme, Scheme::Offload { .. });
        scheme.least_s(plans, link) <= if reference { self.longest_s } else { self.longest_private_s }
    }

    /// Least time of each row that is run, s.
    fn least(&self, site: &Site, plans: &Plans, link: Link) -> Vec<f64> {
        let schemes = self.schemes(site, &link);
        schemes.iter().filter(|s| self.runs(s, plans, &link)).map(|s| s.least_s(plans, &link)).collect()
    }
}

/// All networks, deployed; the budget needs to know them beforehand.
fn sites(plan: &Measure, report: &mut Report) -> Result<Vec<(Site, Plans)>> {
    let mut sites = Vec::new();
    for name in networks(plan) {
        let Some(onnx) = network_file(&name)? else {
            report.text(format!("skipped: {name}: TWINMASK_DATA is not there"));
            continue;
        };
        eprintln!("{name}: deployment");
        let site = Site::new(&name, &onnx)?;
        let plans = Plans::of(&site)?;
        sites.push((site, plans));
    }
    Ok(sites)
}

/// The links that a network is measured on.
fn on<'l>(site: &Site, links: &'l [Link]) -> impl Iterator<Item = Link> + use<'l> {
    let mnist = is_mnist(&site.name);
    links.iter().copied().filter(move |l| !mnist || l.name == LINKS[0].name)
}

/// What others have published about small MNIST networks, beside the same network and a larger one here.
fn published(report: &mut Report, rows: &[Row]) {
    let shown = [("relay", "compact"), ("relay", "balanced"), ("split", "balanced")];
    let shown = shown.map(|(mode, profile)| rows::twinmask(mode, profile, "freivalds", false));
    let ours = rows.iter().filter(|r| is_mnist(&r.network) && r.failure.is_none() && shown.contains(&r.scheme));
    let ours: Vec<_> =
        ours.map(|r| mnist::own_row(&r.label, &r.network, &r.link.title(), r.ms.median, r.total_bytes())).collect();
    if ours.is_empty() {
        return;
    }
    report.text(mnist::CAVEAT);
    report.table(
        "Published systems on small MNIST networks, and twinmask here",
        &mnist::CITED_COLUMNS,
        &[mnist::cited_rows(), ours].concat(),
    );
}

fn networks(plan: &Measure) -> Vec<String> {
    if plan.networks.is_empty() {
        let mnist = mnist::NETWORKS.iter().map(|n| n.name);
        return NETWORKS.into_iter().chain(mnist).map(str::to_owned).collect();
    }
    plan.networks.clone()
}

fn is_mnist(name: &str) -> bool {
    mnist::NETWORKS.iter().any(|n| n.name == name)
}

/// How the links are made, and what they really do.
fn describe(report: &mut Report, topology: &Topology, links: &[Link]) -> Result<()> {
    report.text(
        "Device, edge A and edge B each have a network namespace. Both ends of the device's one interface are shaped by \
         `tc tbf` (bursts of two packets, a queue of 1000 packets, MTU 1500); a UDP relay between it and each edge holds \
         every datagram for half the round trip; the edges are joined by a link that is not shaped. All run on the machine \
         named above, sgemm and each edge with one compute thread unless said otherwise. Bytes are UDP payload by the QUIC \
         stack's own counters. Latencies are medians of n inferences in so many turns; the device program gives one median \
         per turn, and of those it is the median; p90 is the largest of its turns. Inferences of 2 s and more are not warmed up.",
    );
    report.text(energy::statement());
    report.text(format!(
        "The energy column is for a device {} times slower than one core of this machine, its CPU time wholly on the \
         critical path (an assumption; `weak` varies it).",
        number(1.0 / energy::PI_SPEED)
    ));
    let mut measured = Vec::new();
    for link in links {
        measured.push(probe(topology, link)?);
    }
    let row = |(l, m): (&Link, &twinmask_benches::net::probe::Measured)| {
        let rtt = format!("{} (p90 {})", number(m.rtt_ms), number(m.rtt_p90_ms));
        vec![l.title(), l.preset.to_owned(), rtt, number(m.up_mbit), number(m.down_mbit), m.lost.to_string()]
    };
    let rows: Vec<_> = links.iter().zip(&measured).map(row).collect();
    let columns = ["link", "preset", "round trip ms", "up Mbit/s", "down Mbit/s", "lost"];
    report.table("The links as measured (plain UDP, headers included in the rates)", &columns, &rows);
    report.data(
        "links",
        &links.iter().zip(&measured).map(|(l, m)| json!({"link": l, "measured": m})).collect::<Vec<_>>(),
    );
    Ok(())
}

fn storage(report: &mut Report, name: &str, plans: &Plans) {
    let (up, down) = plans.elements();
    let gb = |elements: u64| number(elements as f64 * PAPER_WIDTH as f64 * 1000.0 / 1e9);
    report.text(format!(
        "{name}: {up} elements up, {down} down, {} rounds. One-time keys need {} GB of storage on the device per 1,000 \
         requests (masks and their products, 160 bits each), {} GB if the masks are expanded from a seed; twinmask's keys \
         do not grow with the number of requests.",
        plans.balanced.rounds().len(),
        gb(up + down),
        gb(down)
    ));
}

/// All schemes on one link, in turns.
fn measure(
    plan: &Measure,
    topology: &Topology,
    site: &Site,
    plans: &Plans,
    link: Link,
    local: &mut Option<Runner>,
    budget: &mut Budget,
) -> Result<Vec<Row>> {
    let schemes = plan.schemes(site, &link);
    let most = Turns { turns: plan.repeats, warmup: 2, runs: plan.runs };
    let mut seconds = budget.take(&plan.least(site, plans, link)).into_iter();
    let turns: Vec<Option<Turns>> = schemes
        .iter()
        .map(|s| {
            let row_s = plan.runs(s, plans, &link).then(|| seconds.next()).flatten()?;
            Some(Turns::fitting(s.least_s(plans, &link), row_s, most))
        })
        .collect();
    let mut samples = vec![Samples::default(); schemes.len()];
    eprintln!("{}: {}", site.name, link.title());
    let running = site.start(topology, &link, plan.threads, true)?;
    let mut bench = Bench { site, plans, running: &running, link, local };
    for turn in 0..plan.repeats {
        for ((scheme, turns), samples) in schemes.iter().zip(&turns).zip(&mut samples) {
            if let Some(t) = turns.filter(|t| turn < t.turns) {
                samples.add(scheme, &mut bench, t.warmup, t.runs);
            }
        }
    }
    Ok(schemes.into_iter().zip(samples).map(|(scheme, s)| s.row(scheme, site, plans, link)).collect())
}

/// One private setting under another transport preset than the link's own.
fn preset(name: &'static str) -> Scheme {
    Scheme::Twinmask { mode: "relay", profile: "balanced", integrity: "freivalds", drop: false, preset: Some(name) }
}

/// One plot of latencies per link.
fn plots(report: &mut Report, rows: &[Row], links: &[Link]) -> Result<()> {
    let shown = [
        Scheme::Local,
        rows::LAYERS_F32,
        rows::ONE_TIME,
        rows::PAPER,
        rows::PAPER_COMPRESSED,
        rows::twinmask("split", "balanced", "freivalds", false),
        rows::twinmask("relay", "balanced", "freivalds", false),
        rows::twinmask("relay", "compact", "sample:16", true),
    ];
    let names: Vec<String> = shown.iter().map(Scheme::label).collect();
    for link in links {
        let on_link: Vec<&Row> = rows.iter().filter(|r| r.link == *link && r.failure.is_none()).collect();
        let mut networks: Vec<&str> = on_link.iter().map(|r| r.network.as_str()).collect();
        networks.dedup();
        let value =
            |n: &str, s: &Scheme| on_link.iter().find(|r| r.network == n && r.scheme == *s).map(|r| r.ms.median);
        let groups: Vec<_> =
            networks.iter().map(|n| ((*n).to_owned(), shown.iter().map(|s| value(n, s)).collect::<Vec<_>>())).collect();
        if groups.iter().all(|g| g.1.iter().all(Option::is_none)) {
            continue;
        }
        let file = format!("links-{}.svg", link.name);
        plot::bars(&results_dir().join(&file), &link.title(), "latency, ms", &names, &groups)
            .map_err(|e| anyhow!("{file}: {e}"))?;
        report.text(format!("![Latency at {}]({file})", link.title()));
    }
    Ok(())
}
