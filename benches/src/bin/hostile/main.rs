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
use crate::scene::Scene;

fn main() -> Result<()> {
    machine::clean_environment()?;
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(kind) = cli.attack.attack {
        return runtime.block_on(attack::run(&cli.attack, kind));
    }
    runtime.block_on(measure(&cli))
}

async fn measure(cli: &Cli) -> Result<()> {
    let wanted = |name: &str| cli.only.is_empty() || cli.only == name;
    if wanted("idle") {
        let mut report = Report::new("hostile-idle", "Devices that are only there");
        idle::measure(cli, &Scene::new(&cli.network)?, &mut report).await?;
        report.write()?;
    }
    if wanted("device") {
        let mut report = Report::new("hostile-device", "A known device that means harm");
        guests::device_row(cli, &Scene::new(&cli.network)?, &mut report).await?;
        report.write()?;
    }
    if wanted("frames") {
        let mut report = Report::new("hostile-frames", "Malformed frames from a known device");
        guests::frames(cli, &Scene::new(&cli.network)?, &mut report).await?;
        report.write()?;
    }
    Ok(())
}
