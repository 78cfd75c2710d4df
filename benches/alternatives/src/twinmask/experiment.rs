//! The experiment.

use std::path::Path;

use anyhow::Result;
use twinmask_benches::deployment::Deployment;
use twinmask_benches::net::rows::{Scheme, twinmask};
use twinmask_device::Mode;

use super::private::{DEVICE, Seeing, infer_all};
use super::update;
use crate::budget::Budget;
use crate::data;
use crate::ends::cells;
use crate::measure::digits::Digits;
use crate::measure::link::{MODEL, Runs, Track};
use crate::measure::network::{ALEXNET, LENET, accuracy, onnx};
use crate::measure::{Begun, attack};
use crate::results::{Cell, Column, Experiment, Row, Table};

/// The modes: name, and what runs on the link.
const MODES: [(&str, Mode); 2] = [("split", Mode::Split), ("relay", Mode::Relay)];

/// Runs the experiment; pictures go to `out`.
///
/// # Errors
/// When a program or the data is missing, or a private result is not the local one.
pub fn run(budget: Budget, out: &Path) -> Result<Experiment> {
    let mut begun = Begun::new("twinmask", budget);
    let digits = Digits::test(&data::folder())?.first(budget.of(60, 10_000, 10_000));
    let file = onnx(LENET)?;
    let plain = accuracy(&file, &digits)?;
    let deployment = Deployment::new()?;
    deployment.add(MODEL, &file, MODEL, DEVICE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rows = Vec::new();
    for (name, mode) in MODES {
        let pair = deployment.edges(mode == Mode::Relay, &[])?;
        let seen = runtime.block_on(infer_all(&deployment, &pair, mode, &digits, Seeing::Shares))?;
        let picture = format!("twinmask-{name}.png");
        let attacked = attack::run(&seen.shares, seen.k, &digits, &out.join(&picture))?;
        let row = described(Row::new(format!("twinmask {name}")), mode)
            .with(Column::AccuracyPlain, Cell::measured(plain))
            .with(
                Column::Accuracy,
                Cell::measured(digits.percent(&seen.answers)).from(format!(
                    "{} digits over QUIC, each equal bit for bit to the plain integer network",
                    digits.len()
                )),
            );
        rows.push(attacked.into_row(row, &picture));
        let title = format!("Original digits, what edge B got of them in mode {name}, what was rebuilt");
        begun.found().pictures.insert(title, picture);
    }
    // As devices are issued that need not infer alone.
    deployment.keygen("add-device", &["--name", "lean", "--model", MODEL])?;
    let stored = std::fs::metadata(deployment.device("lean").join(format!("models/{MODEL}.twm")))?.len();
    drop(deployment);
    let (update, survives) = runtime.block_on(update::run(&file, &digits))?;
    for row in &mut rows {
        *row = row
            .clone()
            .with(Column::DeviceStorageBytes, Cell::measured(stored as f64).from(STORED))
            .with(Column::SurvivesUpdate, survives.clone());
    }
    let found = begun.found();
    found.tables.insert("twinmask: a model update".into(), update);
    let table = latency(budget, &mut rows)?;
    found.tables.insert("twinmask: latency".into(), table);
    found.rows = rows;
    found.differences = vec![
        "The update is a retraining in miniature: the same network with all weights moved by seeded noise. What it \
         costs depends on shapes alone, not on how weights came to be."
            .into(),
        "The attack is on edge B, which gets what depends on the data. Edge A gets a seed to expand its mask from."
            .into(),
    ];
    Ok(begun.done())
}

const STORED: &str = "the device's bundle: all keys for life, rows and projections for the checks, graph";
/// Why a cell was not measured.
const ARGUMENT: &str = "docs/security-argument.md";

fn described(row: Row, mode: Mode) -> Row {
    let sees = match mode {
        Mode::Relay => "edge A: a seed; edge B: uniform elements, masked answers of A. Both: weights, sizes, timing",
        _ => "edge A: a seed; edge B: uniform elements. Both: weights, sizes, timing",
    };
    row.with(Column::WhoSees, Cell::cited(sees, "SECURITY.md, \"Who sees what\""))
        .with(Column::Trust, Cell::cited("the two edges do not collude", "SECURITY.md"))
        .with(Column::Pretrained, Cell::cited("yes; quantized to integers when it is added", "docs/cli.md"))
        .with(
            Column::Integrity,
            Cell::cited(
                "Freivalds' check of every layer and 16 spot checks: a wrong answer passes with probability at most \
                 2/q, q = 2^61 - 1",
                format!("{ARGUMENT}; `make test` runs lying edges"),
            ),
        )
}

/// Latency, bytes and device FLOPs on the link; those of the network of the comparison go into `rows`.
fn latency(budget: Budget, rows: &mut [Row]) -> Result<Table> {
    let columns = ["network", "scheme", "latency, ms", "bytes up", "bytes down", "device CPU, ms", "inferences"];
    let mut table = Table {
        columns: columns.map(str::to_owned).to_vec(),
        rows: Vec::new(),
        note: Some("40 Mbit/s, round trip 5 ms; every process on this machine, one compute thread per edge.".into()),
    };
    if let Some(obstacle) = Track::obstacle() {
        table.note = Some(obstacle);
        return Ok(table);
    }
    let schemes: Vec<Scheme> =
        MODES.iter().map(|(name, _)| twinmask(name, MODEL, "sample:16+freivalds", false)).collect();
    for network in [LENET, ALEXNET] {
        let track = Track::new(network)?;
        let measured = track.measure(&schemes, Runs::of(network, budget))?;
        let analysis = track.analysis()?;
        for ((row, measured), (name, _)) in rows.iter_mut().zip(&measured).zip(MODES) {
            table.rows.push(cells(network, measured)?);
            if network != LENET {
                continue;
            }
            let flops = analysis.schemes.iter().find(|s| s.name == name).map_or(0, |s| s.device.total());
            *row = row
                .clone()
                .with(Column::LatencyMs, Cell::measured(measured.ms.median))
                .with(Column::BytesPerInference, Cell::measured(measured.total_bytes().round()))
                .with(
                    Column::DeviceFlops,
                    Cell::measured(flops as f64).from("counted by common/model/src/analysis.rs"),
                );
        }
    }
    Ok(table)
}
