//! The experiment: keys made and used up over QUIC, held against the plain integer network, attacked, cheated, and
//! measured on the link.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinmask_benches::deployment::Deployment;
use twinmask_benches::stats::median;
use twinmask_device::engine::DeviceDir;
use twinmask_device::{Device as Twinmask, Tensor};
use twinmask_model::analysis::Analysis;
use twinmask_transport::{Client, Connection, Role, TransportLimits, memory_pair_for};

use super::measured::{Measured, SAMPLES};
use super::owner::fresh_seed;
use super::{Device, Edge, FailedCheck, KeyError, KeyStore, Owner, RequestKey, edge};
use crate::budget::Budget;
use crate::data;
use crate::measure::digits::Digits;
use crate::measure::link::{MODEL, Runs, Track};
use crate::measure::network::{ALEXNET, LENET, accuracy, best, onnx};
use crate::measure::{Begun, attack};
use crate::results::{Cell, Column, Experiment, Row, Table, Value};

/// The device's name.
const DEVICE: &str = "device";
const PATIENCE: Duration = Duration::from_secs(10);
const PICTURE: &str = "onetime.png";
/// Why a cell was not measured: the scheme says it.
const SCHEME: &str = "the scheme (src/onetime)";

/// What the owner has made in a deployment of one network.
struct Site {
    deployment: Deployment,
    owner: Owner,
}

impl Site {
    fn new(onnx: &Path) -> Result<Self> {
        let deployment = Deployment::new()?;
        deployment.add(MODEL, onnx, MODEL, DEVICE)?;
        let owner = Owner::load(&deployment.path("edge-b"), MODEL)?;
        Ok(Self { deployment, owner })
    }

    fn edge_dir(&self) -> PathBuf {
        self.deployment.path("edge-b")
    }

    fn device_dir(&self) -> PathBuf {
        self.deployment.device(DEVICE)
    }

    /// A new file of keys; its path, size and the seconds that it took.
    fn issue(&self, name: &str, requests: u64) -> Result<(PathBuf, u64, f64)> {
        let (path, begun) = (self.deployment.path(name), Instant::now());
        let bytes = self.owner.issue(&path, requests, &fresh_seed()?)?;
        Ok((path, bytes, begun.elapsed().as_secs_f64()))
    }
}

/// What a run over digits gave.
struct Used {
    answers: Vec<usize>,
    sent: Vec<Vec<u32>>,
    supply: Supply,
}

/// Files of keys, one after the other: when one is used up the owner issues the next.
struct Supply {
    batch: u64,
    /// The open file, and how many there were.
    keys: Option<KeyStore>,
    files: u64,
    /// Size of a file, bytes, and time of making all, s.
    bytes: u64,
    seconds: f64,
    /// What the device said when the last file was used up.
    exhausted: String,
}

impl Supply {
    const fn new(batch: u64) -> Self {
        Self { batch, keys: None, files: 0, bytes: 0, seconds: 0.0, exhausted: String::new() }
    }

    fn take(&mut self, site: &Site, device: &Device) -> Result<RequestKey> {
        if let Some(keys) = &mut self.keys {
            match keys.take(device.plan()) {
                Err(e @ KeyError::Exhausted { .. }) => self.exhausted = text_without_folder(&e),
                taken => return Ok(taken?),
            }
        }
        let (path, bytes, seconds) = site.issue("keys", self.batch)?;
        let keys = self.keys.insert(device.keys(&path)?);
        // It stays open; the next file takes its name.
        std::fs::remove_file(&path)?;
        (self.files, self.bytes, self.seconds) = (self.files + 1, bytes, self.seconds + seconds);
        Ok(keys.take(device.plan())?)
    }
}

/// Runs the experiment; pictures go to `out`.
///
/// # Errors
/// When a program or the data is missing, or a result is not that of the plain integer network.
pub fn run(budget: Budget, out: &Path) -> Result<Experiment> {
    let mut begun = Begun::new("onetime", budget);
    let digits = Digits::test(&data::folder())?.first(budget.of(60, 10_000, 10_000));
    let file = onnx(LENET)?;
    let plain = accuracy(&file, &digits)?;
    let site = Site::new(&file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let used = runtime.block_on(use_up(&site, Supply::new(budget.of(20, 1000, 1000) as u64), &digits))?;
    let caught = runtime.block_on(cheat(&site, budget.of(5, 100, 1000)))?;
    let k = site.owner.plan.groups()[0].k();
    let attacked = attack::run(&used.sent, k, &digits, &out.join(PICTURE))?;

    let row = described(Row::new("one-time keys (LEP-CNN), one edge"))
        .with(Column::AccuracyPlain, Cell::measured(plain))
        .with(
            Column::Accuracy,
            Cell::measured(digits.percent(&used.answers)).from(format!(
                "{} digits over QUIC, each equal bit for bit to the plain integer network",
                digits.len()
            )),
        )
        .with(Column::Integrity, Cell::measured(caught));
    let mut row = attacked.into_row(row, PICTURE);
    let found = begun.found();
    let mut storage = vec![storage_row(
        LENET,
        &site,
        used.supply.bytes,
        used.supply.batch,
        used.supply.seconds / used.supply.files as f64,
    )?];
    let per_1000 = storage[0][3].clone();
    row = row.with(
        Column::DeviceStorageBytes,
        Cell::measured(per_1000).unit("per 1,000 requests").from("size of the key file"),
    );
    let heavy = Site::new(&onnx(ALEXNET)?)?;
    let requests = budget.of(1, 4, 10) as u64;
    let (_, bytes, seconds) = heavy.issue("keys", requests)?;
    storage.push(storage_row(ALEXNET, &heavy, bytes, requests, seconds)?);
    found.tables.insert("One-time keys: storage".into(), storage_table(storage));
    found.tables.insert("One-time keys: when they run out".into(), exhausted_table(&used.supply));
    found.tables.insert("One-time keys: latency".into(), latency(budget, &mut row)?);
    found.pictures.insert("Original digits, what the edge got of them, what was rebuilt".into(), PICTURE.into());
    found.differences = differences();
    found.rows.push(row);
    Ok(begun.done())
}

/// The cells that the scheme itself answers.
fn described(row: Row) -> Row {
    let says = |text: &str| Cell::cited(text, SCHEME);
    row.with(Column::WhoSees, says("the edge: uniform elements, weights, sizes, timing, number of requests"))
        .with(Column::Trust, says("nobody for hiding; the owner, who makes the keys, and the keys' way to the device"))
        .with(Column::Pretrained, says("yes; quantized to integers when it is added"))
        .with(
            Column::SurvivesUpdate,
            says(
                "no: all keys that are left are void, new ones for every request to come have to be made and delivered",
            ),
        )
}

/// One inference per digit over QUIC on loopback, with as many files of keys as it takes; each is held against the
/// plain integer network.
async fn use_up(site: &Site, supply: Supply, digits: &Digits) -> Result<Used> {
    let edge = Arc::new(Edge::load(&site.edge_dir(), MODEL)?);
    let server = edge::bind("127.0.0.1:0", &site.edge_dir(), TransportLimits::lan()).await?;
    let address = server.local_addr()?.to_string();
    let serving = tokio::spawn(edge::accept(server, edge));
    let identity = DeviceDir::open(&site.device_dir())?.identity()?;
    let connection = Client::connect(&address, &Role::EdgeB, &identity, &TransportLimits::lan(), PATIENCE).await?;
    let used = infer_all(site, &connection, supply, digits).await;
    connection.shutdown(0, "done").await;
    serving.abort();
    used
}

async fn infer_all(site: &Site, edge: &Connection, mut supply: Supply, digits: &Digits) -> Result<Used> {
    let mut device = Device::open(&site.device_dir(), MODEL, edge, SAMPLES, &fresh_seed()?).await?;
    let plain = Twinmask::local(site.device_dir())?;
    let shape = plain.inputs().tensors[0].shape.clone();
    let (mut answers, mut sent) = (Vec::new(), Vec::new());
    for i in 0..digits.len() {
        let input = digits.input(i);
        let found = device.infer(supply.take(site, &device)?, &input).await?;
        let expected = plain.run(Tensor::new(shape.clone(), input)?).await?.outputs[0].tensor.to_f32();
        if found != expected {
            bail!("digit {i}: {found:?} is not what the plain integer network gives, {expected:?}");
        }
        answers.push(best(&found));
        sent.push(device.sent_first().to_vec());
    }
    Ok(Used { answers, sent, supply })
}

/// The error's text with the file's name alone: its folder is a temporary one.
fn text_without_folder(error: &KeyError) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(path, rest)| {
        let name = Path::new(path).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        format!("{name}: {rest}")
    })
}

/// Adds 1 to one output in 16.
fn add_one(answers: &mut [Vec<u32>]) {
    answers.iter_mut().flatten().step_by(16).for_each(|z| *z = z.wrapping_add(1));
}

/// How often an edge that adds 1 to one output in 16 of every layer is caught in an inference.
async fn cheat(site: &Site, times: usize) -> Result<String> {
    let (keys, ..) = site.issue("keys-cheated", times as u64)?;
    let edge = Arc::new(Edge::load(&site.edge_dir(), MODEL)?.lying(add_one));
    let mut caught = 0;
    for _ in 0..times {
        let (here, there) = memory_pair_for(Role::device(DEVICE)?, &[MODEL], Role::EdgeB);
        let serving = tokio::spawn(Arc::clone(&edge).session(there));
        let mut device = Device::open(&site.device_dir(), MODEL, &here, SAMPLES, &fresh_seed()?).await?;
        let key = device.keys(&keys)?.take(device.plan())?;
        let input = vec![0.5; device.input_len()];
        match device.infer(key, &input).await {
            Ok(_) => {}
            Err(e) if e.is::<FailedCheck>() => caught += 1,
            Err(e) => return Err(e.context("an edge that lies")),
        }
        serving.abort();
    }
    Ok(format!(
        "{SAMPLES} spot checks per layer: an edge that adds 1 to one output in 16 was caught in {caught} of {times} \
         inferences"
    ))
}

fn storage_row(name: &str, site: &Site, bytes: u64, requests: u64, seconds: f64) -> Result<Vec<Value>> {
    let (n, m) = site.owner.plan.elements();
    let per_request = bytes as f64 / requests as f64;
    let analysis = analysis(site)?;
    let published = analysis.schemes.iter().find(|s| s.name == "one-time").context("a column for one-time keys")?;
    let constant = &analysis.schemes[0].storage;
    let numbers = [
        (n + m) as f64,
        per_request.round(),
        (per_request * 1000.0).round(),
        published.storage_1000_requests as f64,
        (constant.masking + constant.freivalds + constant.rows) as f64,
        seconds * 1e3 / requests as f64,
    ];
    Ok([vec![name.into()], numbers.map(Value::Number).to_vec()].concat())
}

fn analysis(site: &Site) -> Result<Analysis> {
    let model = DeviceDir::open(&site.device_dir())?.load(Some(MODEL))?.model;
    let local = twinmask_model::cost::local_flops(&model.graph);
    Ok(twinmask_model::analysis::analyse(&model.plan, Some(local), twinmask_model::analysis::Checks::default()))
}

fn titles(titles: &[&str]) -> Vec<String> {
    titles.iter().map(ToString::to_string).collect()
}

fn storage_table(rows: Vec<Vec<Value>>) -> Table {
    Table {
        columns: titles(&[
            "network",
            "elements per request",
            "bytes per request, k bits",
            "bytes per 1,000 requests, k bits",
            "the same at the publication's 160 bits",
            "twinmask: all keys, for life",
            "owner: ms per key",
        ]),
        rows,
        note: Some(
            "k bits: sizes of key files that were written, S_in and S_out of every request. 160 bits: the formula of \
             docs/theory.md; the two-edge paper gives 20.49 GB (of 1,000 MiB) for its AlexNet, which that is."
                .into(),
        ),
    }
}

fn exhausted_table(supply: &Supply) -> Table {
    Table {
        columns: titles(&["keys of a file", "files used", "what the device says when a file is used up"]),
        rows: vec![vec![(supply.batch as f64).into(), (supply.files as f64).into(), supply.exhausted.clone().into()]],
        note: Some("It sends nothing until it has another file. twinmask's keys do not run out.".into()),
    }
}

/// Latency, bytes and device FLOPs on the link; those of the network of the comparison go into `row` as well.
fn latency(budget: Budget, row: &mut Row) -> Result<Table> {
    let mut table = Table {
        columns: titles(&[
            "network",
            "latency, ms",
            "taking a key, ms",
            "bytes up",
            "bytes down",
            "device FLOPs",
            "inferences",
        ]),
        rows: Vec::new(),
        note: Some("40 Mbit/s, round trip 5 ms. Taking a key, wiped on disk, may be done ahead of the request.".into()),
    };
    if let Some(obstacle) = Track::obstacle() {
        table.note = Some(obstacle);
        return Ok(table);
    }
    for network in [LENET, ALEXNET] {
        let (track, runs) = (Track::new(network)?, Runs::of(network, budget));
        let measured = on_link(&track, runs)?;
        let ms = median(&measured.ms);
        let flops = track.analysis()?.schemes.iter().find(|s| s.name == "one-time").map_or(0, |s| s.device.total());
        let numbers =
            [ms, measured.take_ms, measured.up.round(), measured.down.round(), flops as f64, measured.ms.len() as f64];
        table.rows.push([vec![network.into()], numbers.map(Value::Number).to_vec()].concat());
        if network == LENET {
            let bytes = (measured.up + measured.down).round();
            *row = row
                .clone()
                .with(Column::LatencyMs, Cell::measured(ms).from("with a key at hand"))
                .with(Column::BytesPerInference, Cell::measured(bytes))
                .with(
                    Column::DeviceFlops,
                    Cell::measured(flops as f64).from("counted by common/model/src/analysis.rs"),
                );
        }
    }
    Ok(table)
}

fn on_link(track: &Track, runs: Runs) -> Result<Measured> {
    let edge_dir = track.site.deployment().path("edge-b");
    let total = (runs.turns * (runs.runs + runs.warmup)) as u64;
    let keys = track.site.deployment().path("keys");
    Owner::load(&edge_dir, MODEL)?.issue(&keys, total, &fresh_seed()?)?;
    let text = |path: &Path| path.display().to_string();
    let _running = track.start()?;
    let _server = track.server(&words(&["onetime-serve", "--dir", &text(&edge_dir), "--model", MODEL]))?;
    let (device, keys) = (text(&track.site.device_dir()), text(&keys));
    let counts = [runs.runs.to_string(), runs.warmup.to_string()];
    let client = ["onetime-client", "--dir", &device, "--model", MODEL, "--keys", &keys];
    let client = words(&[&client[..], &["--runs", &counts[0], "--warmup", &counts[1]]].concat());
    let mut all: Option<Measured> = None;
    for _ in 0..runs.turns {
        let one: Measured = track.client(&client)?;
        all = Some(match all {
            Some(mut sum) => {
                sum.ms.extend(one.ms);
                Measured { left: one.left, ..sum }
            }
            None => one,
        });
    }
    all.context("no turn")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn differences() -> Vec<String> {
    vec![
        "LEP-CNN's elements are 160 bits wide; here they have the ring's k bits (28), enough for exact integers and \
         for uniform masks. Keys and traffic are smaller by that factor, the scheme is the same."
            .into(),
        "The publication gives AlexNet on a Raspberry Pi and an edge beside it; latencies here are of processes on one \
         machine with a shaped link, and mostly the link's."
            .into(),
    ]
}
