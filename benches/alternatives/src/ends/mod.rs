//! The two ends of the scale: no protection (the input is sent to one server in clear, over the same QUIC), and local
//! execution.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use twinmask_benches::baseline::network::FloatNetwork;
use twinmask_benches::lines::onnxruntime;
use twinmask_benches::net::rows::{LAYERS_F32, Row as Measured, Scheme};
use twinmask_benches::stats::median;

use crate::attack::Quality;
use crate::budget::Budget;
use crate::data;
use crate::measure::Begun;
use crate::measure::digits::Digits;
use crate::measure::link::{Runs, Track};
use crate::measure::network::{ALEXNET, LENET, accuracy, onnx};
use crate::report;
use crate::results::{Cell, Column, Experiment, Row, Table, Value};

const PICTURE: &str = "ends.png";
/// Why a cell was not measured: it is so by definition.
const DEFINITION: &str = "by definition";
/// The input to one server, the result back.
const WHOLE: Scheme =
    Scheme::Offload { label: "whole network uploaded, f32, no privacy", whole: true, width: 4, servers: 1 };

/// Runs the experiment; pictures go to `out`.
///
/// # Errors
/// When a program or the data is missing.
pub fn run(budget: Budget, out: &Path) -> Result<Experiment> {
    let mut begun = Begun::new("ends", budget);
    let digits = Digits::test(&data::folder())?.first(budget.of(60, 10_000, 10_000));
    let plain = accuracy(&onnx(LENET)?, &digits)?;
    let mut open = in_clear(Row::new("no protection: the input to one server"), plain, &digits, out)?;
    let mut local = alone(Row::new("local execution"), plain)?;
    let table = latency(budget, &mut open, &mut local)?;
    let found = begun.found();
    found.tables.insert("The two ends: latency".into(), table);
    found.pictures.insert("What one server gets without protection".into(), PICTURE.into());
    found.rows = vec![open, local];
    Ok(begun.done())
}

fn in_clear(row: Row, plain: f64, digits: &Digits, out: &Path) -> Result<Row> {
    let shown = 0..digits.len().min(8);
    let originals: Vec<f32> = shown.clone().flat_map(|i| digits.picture(i)).collect();
    // As it arrives: the network's input, from which pixels follow exactly.
    let arrived: Vec<f32> = shown.flat_map(|i| digits.input(i)).map(|v| v * 256.0 / 255.0).collect();
    let Quality { psnr_db, ssim } = Quality::of(&arrived, &originals, Digits::SHAPE);
    // Pixels have steps of 1/255: what is nearer than a thousandth of one is the pixel.
    let decibel = if psnr_db >= 100.0 { Value::from("∞ (every pixel)") } else { Value::from(psnr_db) };
    report::grid(&out.join(PICTURE), Digits::SHAPE, &[&originals, &arrived])?;
    let says = |text: &str| Cell::cited(text, DEFINITION);
    Ok(row
        .with(Column::WhoSees, says("the server: input, every activation, result"))
        .with(Column::Trust, says("the server, with everything"))
        .with(Column::AccuracyPlain, Cell::measured(plain))
        .with(Column::Accuracy, Cell::measured(plain).from("the server computes the plain network"))
        .with(Column::AttackPicture, Cell::measured("original, as received").picture(PICTURE))
        .with(Column::AttackPsnrDb, Cell::measured(decibel))
        .with(Column::AttackSsim, Cell::measured((ssim * 1e6).round() / 1e6))
        .with(Column::AttackHow, says("none needed: it is the input"))
        .with(Column::DeviceFlops, says("0").from("the input as it is"))
        .with(Column::DeviceStorageBytes, says("0").from("no part of the network"))
        .with(Column::Pretrained, says("yes"))
        .with(Column::SurvivesUpdate, says("yes: the server's alone"))
        .with(Column::Integrity, says("none: the server's answer is believed")))
}

fn alone(row: Row, plain: f64) -> Result<Row> {
    let says = |text: &str| Cell::cited(text, DEFINITION);
    let bytes = std::fs::metadata(onnx(LENET)?)?.len();
    Ok(row
        .with(Column::WhoSees, says("nobody"))
        .with(Column::Trust, says("nobody"))
        .with(Column::AccuracyPlain, Cell::measured(plain))
        .with(Column::Accuracy, Cell::measured(plain))
        .with(Column::AttackPicture, says("nothing is sent"))
        .with(Column::AttackPsnrDb, says("-"))
        .with(Column::AttackSsim, says("-"))
        .with(Column::AttackHow, says("nothing to attack"))
        .with(Column::DeviceStorageBytes, Cell::measured(bytes as f64).from("the ONNX file"))
        .with(Column::BytesPerInference, says("0"))
        .with(Column::Pretrained, says("yes"))
        .with(Column::SurvivesUpdate, says("yes: the whole network is delivered to every device"))
        .with(Column::Integrity, says("the device's own")))
}

/// Latency and bytes on the link, and of local execution; those of the network of the comparison go into the rows.
fn latency(budget: Budget, open: &mut Row, local: &mut Row) -> Result<Table> {
    let columns = ["network", "scheme", "latency, ms", "bytes up", "bytes down", "device CPU, ms", "inferences"];
    let mut table = Table { columns: columns.map(str::to_owned).to_vec(), rows: Vec::new(), note: Some(NOTE.into()) };
    for network in [LENET, ALEXNET] {
        let runs = Runs::of(network, budget);
        for (engine, ms, n) in alone_ms(network, runs)? {
            let label = format!("local, {engine}");
            let cells = [ms.into(), 0.0.into(), 0.0.into(), ms.into(), (n as f64).into()];
            table.rows.push([vec![network.into(), label.into()], cells.to_vec()].concat());
            if network == LENET {
                *local = local.clone().with(
                    Column::LatencyMs,
                    Cell::measured(ms).from(format!("{engine}, one core of the machine named here, not a weak device")),
                );
            }
        }
        if Track::obstacle().is_some() {
            continue;
        }
        let track = Track::new(network)?;
        for measured in track.measure(&[WHOLE, LAYERS_F32], runs)? {
            table.rows.push(cells(network, &measured)?);
            if network == LENET && measured.scheme == WHOLE {
                *open = open
                    .clone()
                    .with(Column::LatencyMs, Cell::measured(measured.ms.median))
                    .with(Column::BytesPerInference, Cell::measured(measured.total_bytes().round()));
            }
        }
        if network == LENET {
            let flops = track.analysis()?.network_flops.unwrap_or(0) as f64;
            let counted = Cell::measured(flops).from("counted by common/model/src/analysis.rs");
            *local = local.clone().with(Column::DeviceFlops, counted);
        }
    }
    if let Some(obstacle) = Track::obstacle() {
        table.note = Some(format!("{obstacle}. {NOTE}"));
    }
    Ok(table)
}

const NOTE: &str = "40 Mbit/s, round trip 5 ms; every process on this machine. onnxruntime is measured where `make \
                    bench-venv` has installed it.";

/// A row of a table of latencies.
///
/// # Errors
/// When the scheme failed.
pub(crate) fn cells(network: &str, measured: &Measured) -> Result<Vec<Value>> {
    if let Some(failure) = &measured.failure {
        return Err(anyhow!("{}: {failure}", measured.label));
    }
    let (up, down) = measured.bytes.iter().fold((0.0, 0.0), |sum, b| (sum.0 + b.0, sum.1 + b.1));
    let numbers = [measured.ms.median, up.round(), down.round(), measured.device_cpu_ms, measured.inferences as f64];
    Ok([vec![network.into(), measured.label.clone().into()], numbers.map(Value::Number).to_vec()].concat())
}

/// Local inference by each engine that is there: its name, median ms, inferences.
fn alone_ms(network: &str, runs: Runs) -> Result<Vec<(&'static str, f64, usize)>> {
    let (file, n) = (onnx(network)?, runs.turns * runs.runs);
    let mut found = Vec::new();
    let float = FloatNetwork::load(&file)?;
    let (mut values, mut scratch) = (float.rounds.values(), Default::default());
    let input = twinmask_benches::input(float.rounds.input_len());
    let mut ms = Vec::new();
    for run in 0..runs.warmup + n {
        let begun = Instant::now();
        float.infer(&mut values, &input, &mut scratch)?;
        if run >= runs.warmup {
            ms.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    found.push(("OpenBLAS f32, one thread", median(&ms), n));
    if let Ok(mut runner) = onnxruntime(&file, 1) {
        let ms = (0..runs.warmup + n).map(|_| runner.ms()).collect::<Result<Vec<f64>>>()?;
        found.push(("onnxruntime f32, one thread", median(&ms[runs.warmup..]), n));
    }
    Ok(found)
}
