//! CPU time of both edges per inference, with eight devices at a time against one.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde::Serialize;
use twinmask_benches::deployment::{Deployment, Pair};
use twinmask_benches::lines::Runner;
use twinmask_benches::networks::network_file;
use twinmask_benches::report::{Report, number};
use twinmask_benches::stats::{Spread, paired_ratio};

use crate::rows::{self, Case, NAME};

/// Devices at a time.
const DEVICES: usize = 8;
/// What the edges get to finish what they compute ahead of time before their CPU time is read.
const SETTLE: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) network: String,
    pub(crate) mode: &'static str,
    pub(crate) devices: usize,
    /// CPU ms of edges A and B together per inference.
    pub(crate) one_ms: Spread,
    pub(crate) many_ms: Spread,
    /// Median of `many / one` of neighbouring rounds.
    pub(crate) ratio: f64,
    pub(crate) one_per_s: Spread,
    pub(crate) many_per_s: Spread,
}

/// One device, then all of them at once, in turn `rounds` times; each does `runs` inferences.
pub(crate) fn measure(report: &mut Report, network: &str, rounds: usize, runs: usize) -> Result<Vec<Row>> {
    let Some(onnx) = network_file(network)? else { return Ok(Vec::new()) };
    let deployment = Deployment::new()?;
    let names: Vec<String> = (0..DEVICES).map(|i| format!("bench-{i}")).collect();
    deployment.add(NAME, &onnx, "balanced", NAME)?;
    for name in &names {
        deployment.issue(NAME, name)?;
    }
    let mut rows = Vec::new();
    for case in rows::main_ones().into_iter().filter(|c| c.integrity == "freivalds" && c.threads == 2) {
        eprintln!("{network}: {DEVICES} devices, {case}");
        rows.push(compare(network, &case, &deployment, &names, [rounds, runs])?);
    }
    let cells = |r: &Row| {
        let mut cells =
            vec![r.mode.to_owned(), number(r.one_ms.median), number(r.many_ms.median), format!("{:.2}", r.ratio)];
        cells.extend([r.one_per_s, r.many_per_s].map(|s| number(s.median)));
        cells
    };
    report.table(
        &format!("{network}: {DEVICES} devices against one, CPU of both edges"),
        &["mode", "CPU ms per inference, one", "eight", "ratio", "inferences per s, one", "eight"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    );
    report.text(
        "CPU time of both edge processes (all threads, network included) over the inferences done, ring balanced, two compute threads \
         per edge, devices on the same machine; one device and eight alternate on the same edges.",
    );
    report.data("throughput", &rows);
    Ok(rows)
}

fn compare(
    network: &str,
    case: &Case,
    deployment: &Deployment,
    names: &[String],
    [rounds, runs]: [usize; 2],
) -> Result<Row> {
    let edges = deployment.edges(case.mode == "relay", &["--threads", &case.threads.to_string()])?;
    let mut devices: Vec<Runner> =
        names.iter().map(|name| rows::device(name, deployment, &edges, case)).collect::<Result<_>>()?;
    let (mut one, mut many) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..=rounds {
        for (at_a_time, to) in [(1, &mut one), (names.len(), &mut many)] {
            let (cpu, rate) = phase(&edges, &mut devices[..at_a_time], runs)?;
            // The first round warms up.
            if round > 0 {
                to.0.push(cpu);
                to.1.push(rate);
            }
        }
    }
    Ok(Row {
        network: network.to_owned(),
        mode: case.mode,
        devices: names.len(),
        ratio: paired_ratio(&many.0, &one.0),
        one_ms: Spread::of(&one.0),
        many_ms: Spread::of(&many.0),
        one_per_s: Spread::of(&one.1),
        many_per_s: Spread::of(&many.1),
    })
}

/// Every device does `runs` inferences, all devices at once: CPU ms of the edges per inference, and inferences per
/// second.
fn phase(edges: &Pair, devices: &mut [Runner], runs: usize) -> Result<(f64, f64)> {
    std::thread::sleep(SETTLE);
    let (cpu, begun) = (edges.cpu_ms()?, Instant::now());
    let total = (devices.len() * runs) as f64;
    std::thread::scope(|scope| -> Result<()> {
        let run = |device: &'_ mut Runner| (0..runs).try_for_each(|_| device.run().map(drop));
        let threads: Vec<_> = devices.iter_mut().map(|device| scope.spawn(move || run(device))).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("a device's thread panicked"))?)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    Ok(((edges.cpu_ms()? - cpu) / total, total / seconds))
}
