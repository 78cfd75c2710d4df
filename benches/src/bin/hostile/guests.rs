//! What an attack costs the edges in memory, and other devices in time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tokio::time::sleep;
use twinmask_benches::deployment::Pair;
use twinmask_benches::report::Report;
use twinmask_benches::stats::median;

use crate::attack::Kind;
use crate::cli::Cli;
use crate::scene::{IDENTITIES, Scene, device, resident};

/// The honest device.
const HONEST: usize = IDENTITIES - 1;
/// A picture of its camera, where malformed frames are counted: back to back it would leave the attacker, who only gets
/// what nobody else wants, no time.
const PICTURE: Duration = Duration::from_millis(100);

/// Latencies of an honest device's inferences one after the other, in ms, and what the edges took meanwhile.
struct Watch {
    ms: Vec<f64>,
    peak: [usize; 2],
    failed: usize,
}

impl Watch {
    fn p99(&self) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len() * 99).div_ceil(100).max(1) - 1).copied().unwrap_or(f64::NAN)
    }
}

async fn watch(scene: &Scene, pair: &Pair, every: Duration, until: impl Fn() -> Result<bool>) -> Result<Watch> {
    let session = Arc::new(scene.session(pair, HONEST).await?);
    let mut watch = Watch { ms: Vec::new(), peak: [0; 2], failed: 0 };
    while until()? {
        let begun = Instant::now();
        match scene.infer(&session).await {
            Ok(_) => watch.ms.push(begun.elapsed().as_secs_f64() * 1e3),
            Err(_) => watch.failed += 1,
        }
        for (peak, edge) in watch.peak.iter_mut().zip([&pair.a, &pair.b]) {
            *peak = (*peak).max(resident(edge.id())?);
        }
        sleep(every.saturating_sub(begun.elapsed())).await;
    }
    session.close().await;
    Ok(watch)
}

async fn for_s(scene: &Scene, pair: &Pair, every: Duration, seconds: u64) -> Result<Watch> {
    let end = Instant::now() + Duration::from_secs(seconds);
    watch(scene, pair, every, || Ok(Instant::now() < end)).await
}

fn attack(scene: &Scene, pair: &Pair, kind: Kind, count: Option<u64>) -> Result<Child> {
    let mut command = Command::new("chrt");
    command.args(["--idle", "0"]).arg(std::env::current_exe()?);
    let name = kind.to_possible_value().context("all kinds have names")?;
    command.args(["--attack", name.get_name(), "--device"]).arg(scene.folder(&device(0)));
    command.args(["--edges", &pair.a.address, &pair.b.address]);
    command.args(count.iter().flat_map(|n| ["--count".to_owned(), n.to_string()]));
    command.stdin(Stdio::null()).spawn().context("the attacker")
}

/// Ends `child`, which is ours.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn panics(log: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(log)?.lines().filter(|l| l.contains("panicked")).count())
}

/// 100,000 malformed frames to each edge.
pub(crate) async fn frames(cli: &Cli, scene: &Scene, report: &mut Report) -> Result<()> {
    let pair = scene.edges(&[])?;
    for_s(scene, &pair, PICTURE, 10).await?;
    // Also what the very first connections of that kind make an edge take once.
    let mut first = attack(scene, &pair, Kind::Frames, Some(cli.frames / 100))?;
    first.wait()?;
    let calm = for_s(scene, &pair, PICTURE, cli.seconds).await?;
    sleep(Duration::from_secs(cli.pause)).await;
    let before = both(&pair)?;
    let mut child = attack(scene, &pair, Kind::Frames, Some(cli.frames))?;
    let begun = Instant::now();
    let under = {
        let child = std::cell::RefCell::new(&mut child);
        watch(scene, &pair, PICTURE, || Ok(child.borrow_mut().try_wait()?.is_none())).await?
    };
    let took = begun.elapsed();
    sleep(Duration::from_secs(cli.pause)).await;
    let after = both(&pair)?;
    let panics = panics(&scene.log("edge-a"))? + panics(&scene.log("edge-b"))?;
    let columns =
        ["frames to each", "s", "panics", "MB more at A", "at B", "honest inferences", "failed", "p99 calm, ms", "p99"];
    let more = |e: usize| format!("{:.1}", (after[e] as f64 - before[e] as f64) / 1e6);
    let row = vec![
        cli.frames.to_string(),
        format!("{:.0}", took.as_secs_f64()),
        panics.to_string(),
        more(0),
        more(1),
        under.ms.len().to_string(),
        under.failed.to_string(),
        format!("{:.1}", calm.p99()),
        format!("{:.1}", under.p99()),
    ];
    report.table("malformed frames", &columns, &[row]);
    Ok(())
}

fn both(pair: &Pair) -> Result<[usize; 2]> {
    Ok([resident(pair.a.id())?, resident(pair.b.id())?])
}

/// One hostile known device after the other.
pub(crate) async fn device_row(cli: &Cli, scene: &Scene, report: &mut Report) -> Result<()> {
    let mut rows = Vec::new();
    for kind in [Kind::Hold, Kind::Deaf, Kind::Counters, Kind::Sessions] {
        let pair = scene.edges(&[])?;
        for_s(scene, &pair, Duration::ZERO, 10).await?;
        let calm = for_s(scene, &pair, Duration::ZERO, cli.seconds).await?;
        let mut child = attack(scene, &pair, kind, None)?;
        let under = for_s(scene, &pair, Duration::ZERO, cli.seconds).await;
        let ended = child.try_wait()?;
        end(&mut child);
        if let Some(status) = ended {
            bail!("the attacker {kind:?} has ended by itself: {status}");
        }
        let under = under?;
        let more = |e: usize| format!("{:.1}", (under.peak[e] as f64 - calm.peak[e] as f64) / 1e6);
        let name = kind.to_possible_value().context("all kinds have names")?;
        rows.push(vec![
            name.get_name().to_owned(),
            more(0),
            more(1),
            format!("{:.1} / {:.1}", median(&calm.ms), calm.p99()),
            format!("{:.1} / {:.1}", median(&under.ms), under.p99()),
            under.failed.to_string(),
        ]);
    }
    let columns = ["attack", "MB more at A", "at B", "median / p99 calm, ms", "attacked", "failed"];
    report.table("one hostile known device", &columns, &rows);
    Ok(())
}
