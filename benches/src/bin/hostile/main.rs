//! What known devices that mean harm, or that are only there, cost an edge: memory, and the others' latency. Edges are
//! processes of their own, QUIC goes over loopback; all devices are in this process. `make bench-hostile`.

mod attack;
mod cli;
mod guests;
mod idle;
mod scene;

use anyhow::Result;
use clap::Parser;
use twinmask_benches::machine;
use twinmask_benches::report::Report;

use crate::cli::Cli;

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(kind) = cli.attack.attack {
        return runtime.block_on(attack::run(&cli.attack, kind));
    }
    let mut report = Report::new("hostile", "Devices that mean harm, or that are only there");
    runtime.block_on(measure(&cli, &mut report))?;
    report.write()
}

async fn measure(cli: &Cli, report: &mut Report) -> Result<()> {
    let wanted = |name: &str| cli.only.is_empty() || cli.only == name;
    let scene = scene::Scene::new(&cli.network)?;
    if wanted("idle") {
        idle::measure(cli, &scene, report).await?;
        report.write()?;
    }
    if wanted("device") {
        guests::device_row(cli, &scene, report).await?;
        report.write()?;
    }
    if wanted("frames") {
        // Each of its sessions at edge A begins to work ahead: with a large network that is another attack.
        guests::frames(cli, &scene::Scene::new("lenet")?, report).await?;
    }
    Ok(())
}
