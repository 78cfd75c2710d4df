//! What the link costs a method that sends once and hears once: a payload of as many bytes as its row says, up, and ten
//! f32 down, over the same QUIC on the same link. Device's and server's own computing is not in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinmask_benches::stats::median;
use twinmask_device::engine::DeviceDir;
use twinmask_transport::{Client, Connection, Identity, Role, Server, TransportLimits};

use crate::budget::Budget;
use crate::measure::Begun;
use crate::measure::link::{Runs, Track};
use crate::measure::network::LENET;
use crate::results::{Cell, Column, Experiment, Row, Value};

/// Name of the experiment.
pub const NAME: &str = "payload";
/// Experiments whose rows send once and hear once.
pub const OF: [&str; 3] = ["obfuscator", "drift", "partition"];
/// Bytes of the answer: ten logits.
const ANSWER: usize = 40;
/// Most bytes of a payload.
const MOST: u32 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The name under which the row `method` of `experiment` stands in this experiment's results.
#[must_use]
pub fn key(experiment: &str, method: &str) -> String {
    format!("{experiment}: {method}")
}

/// Measures every row of [`OF`] in the results in `out` that says how many bytes it sends, but not how long that takes.
///
/// # Errors
/// When results cannot be read, or the link not be measured.
pub fn run(budget: Budget, out: &Path) -> Result<Experiment> {
    let mut begun = Begun::new(NAME, budget);
    let mut wanted = Vec::new();
    for experiment in OF {
        let rows = Experiment::read(out, experiment)?.map_or_else(Vec::new, |e| e.rows);
        wanted.extend(rows.iter().filter_map(|row| Some((key(experiment, &row.method), bytes_of(row)?))));
    }
    if let Some(obstacle) = Track::obstacle() {
        begun.found().differences.push(obstacle);
        return Ok(begun.done());
    }
    let mut known: BTreeMap<u32, f64> = wanted.iter().map(|&(_, bytes)| (bytes, 0.0)).collect();
    if !known.is_empty() {
        let track = Track::new(LENET)?;
        let text = |path: &Path| path.display().to_string();
        let identity = text(&track.site.deployment().path("edge-b").join("identity"));
        let _running = track.start()?;
        let _server = track.server(&["payload-serve".to_owned(), "--identity".to_owned(), identity])?;
        for (bytes, ms) in &mut known {
            let runs = Runs::of(LENET, budget);
            let numbers = [bytes.to_string(), (runs.turns * runs.runs).to_string()];
            let dir = text(&track.site.device_dir());
            let words = ["payload-client", "--dir", &dir, "--bytes", &numbers[0], "--runs", &numbers[1]];
            *ms = median(&track.client::<Vec<f64>>(&words.map(str::to_owned))?);
        }
    }
    for (name, bytes) in wanted {
        let how = format!("one round trip of {bytes} bytes over QUIC; computing not included");
        begun.found().rows.push(Row::new(name).with(Column::LatencyMs, Cell::measured(known[&bytes]).from(how)));
    }
    Ok(begun.done())
}

/// The bytes that a row sends, if it says so and has no latency.
fn bytes_of(row: &Row) -> Option<u32> {
    match row.columns.get(&Column::BytesPerInference)?.value {
        Value::Number(n) if (1.0..=f64::from(MOST)).contains(&n) => {
            (!row.columns.contains_key(&Column::LatencyMs)).then_some(n as u32)
        }
        _ => None,
    }
}

/// Takes payloads at `listen` with the edge's identity from the folder `identity`; prints `listening on ADDR` when
/// ready. Returns only on failure.
///
/// # Errors
/// When identity or address cannot be used.
pub async fn serve(listen: &str, identity: &Path, limits: TransportLimits) -> Result<()> {
    let mut server = Server::bind(listen, Identity::load(identity)?, limits.serving()).await?;
    println!("listening on {}", server.local_addr()?);
    std::io::stdout().flush()?;
    while let Some(client) = server.accept().await {
        match client {
            Ok(connection) => drop(tokio::spawn(session(connection))),
            Err(e) => eprintln!("payload: {e}"),
        }
    }
    bail!("the server is closed")
}

/// Answers payloads until the peer goes or announces one that is too long.
async fn session(connection: Connection) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        while let Ok(bytes) = recv.read_u32().await {
            if bytes > MOST {
                return connection.close(1, "too long");
            }
            let mut payload = vec![0; bytes as usize];
            if recv.read_exact(&mut payload).await.is_err() || send.write_all(&[0; ANSWER]).await.is_err() {
                break;
            }
        }
    }
}

/// What a client is asked for.
pub struct Job {
    /// The device's folder, for its identity.
    pub dir: PathBuf,
    /// Bytes of a payload.
    pub bytes: u32,
    /// Payloads that count, after three that do not.
    pub runs: usize,
    /// The server's address.
    pub server: String,
    /// Transport settings.
    pub network: TransportLimits,
}

/// Sends payloads; how long each took until its answer was there, ms.
///
/// # Errors
/// When folder or server cannot be used.
pub async fn measure(job: &Job) -> Result<Vec<f64>> {
    let identity = DeviceDir::open(&job.dir)?.identity()?;
    let connection = Client::connect(&job.server, &Role::EdgeB, &identity, &job.network, PATIENCE).await?;
    let ms = send_all(&connection, job.bytes, job.runs).await?;
    connection.shutdown(0, "done").await;
    Ok(ms)
}

async fn send_all(connection: &Connection, bytes: u32, runs: usize) -> Result<Vec<f64>> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let payload = [bytes.to_be_bytes().to_vec(), vec![0xa5; bytes as usize]].concat();
    let mut ms = Vec::with_capacity(runs);
    for run in 0..runs + 3 {
        let begun = Instant::now();
        send.write_all(&payload).await.context("sending a payload")?;
        recv.read_exact(&mut [0; ANSWER]).await.context("an answer")?;
        if run >= 3 {
            ms.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_transport::memory_pair;

    #[tokio::test(flavor = "multi_thread")]
    async fn payloads_are_answered_one_by_one_and_long_ones_are_not() {
        let (here, there) = memory_pair(Role::device("d").expect("a name"), Role::EdgeB);
        let serving = tokio::spawn(session(there));
        assert_eq!(send_all(&here, 5000, 4).await.expect("answers").len(), 4);
        let (mut send, mut recv) = here.open_bi().await.expect("a stream");
        send.write_u32(MOST + 1).await.expect("written");
        assert!(recv.read_exact(&mut [0; ANSWER]).await.is_err());
        serving.await.expect("it has ended");
    }

    #[test]
    fn rows_that_say_what_they_send_are_measured() {
        let row = |bytes: f64| Row::new("m").with(Column::BytesPerInference, Cell::measured(bytes));
        assert_eq!(bytes_of(&row(3176.0)), Some(3176));
        let known = row(3176.0).with(Column::LatencyMs, Cell::measured(7.0));
        assert_eq!([row(0.0), row(1e12), known, Row::new("m")].map(|r| bytes_of(&r)), [None; 4]);
    }
}
