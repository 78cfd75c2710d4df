//! The client: the same device's graph, without any protection.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use twinmask_codec::RoundId;
use twinmask_device::engine::DeviceDir;
use twinmask_device::exec::Values;
use twinmask_transport::{Client, Connection, RecvHalf, Role, SendHalf, TransportLimits};

use super::network::Rounds;
use super::protocol::{Kind, read_elements, read_head, write};
use crate::stats::median;

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// The whole input at once, or each round.
    pub whole: bool,
    /// Bytes per element.
    pub width: usize,
}

/// What [`measure`] is asked for.
pub struct Request<'a> {
    /// The device's folder: its bundle holds graph and plan, its identity is the client's.
    pub dir: &'a Path,
    /// Model in the folder.
    pub model: &'a str,
    /// Addresses: the server at edge B, and for schemes with two servers the one at edge A.
    pub servers: &'a [String],
    /// What is sent.
    pub scheme: Scheme,
    /// Transport settings.
    pub limits: TransportLimits,
    /// Inferences before those measured.
    pub warmup: usize,
    /// Inferences measured.
    pub runs: usize,
}

/// Medians over the runs of one client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Latency of each run, ms.
    pub ms: Vec<f64>,
    /// CPU time of the client per inference, median, ms.
    pub cpu_ms: f64,
    /// UDP payload bytes sent per inference.
    pub up: f64,
    /// UDP payload bytes received per inference.
    pub down: f64,
    /// Rounds.
    pub rounds: usize,
    /// Largest resident set, MB.
    pub peak_rss_mb: f64,
}

struct Open {
    connection: Connection,
    stream: (SendHalf, RecvHalf),
}

/// Runs inferences and measures them.
///
/// # Errors
/// When the folder cannot be used or a server does not answer as it should.
pub async fn measure(request: &Request<'_>) -> Result<Measured> {
    let dir = DeviceDir::open(request.dir)?;
    let identity = dir.identity()?;
    let model = dir.load(Some(request.model))?.model;
    let rounds = Rounds::new(model.plan, model.graph)?;
    let mut servers = Vec::new();
    for (address, role) in request.servers.iter().zip([Role::EdgeB, Role::EdgeA]) {
        let connection = Client::connect(address, &role, &identity, &request.limits, PATIENCE).await?;
        let stream = connection.open_bi().await?;
        servers.push(Open { connection, stream });
    }
    if servers.is_empty() {
        bail!("no server named");
    }
    let input = crate::input(rounds.input_len());
    let mut values = rounds.values();
    let (mut ms, mut cpu) = (Vec::new(), Vec::new());
    let mut before = (0, 0);
    for run in 0..request.warmup + request.runs {
        if run == request.warmup {
            before = bytes(&servers);
        }
        let (begun, cpu_begun) = (Instant::now(), cpu_time());
        infer(&rounds, &mut values, &input, &mut servers, request.scheme).await?;
        if run >= request.warmup {
            ms.push(begun.elapsed().as_secs_f64() * 1e3);
            cpu.push((cpu_time() - cpu_begun).as_secs_f64() * 1e3);
        }
    }
    let after = bytes(&servers);
    for server in &servers {
        server.connection.shutdown(0, "done").await;
    }
    let per_run = |total: u64| total as f64 / request.runs.max(1) as f64;
    Ok(Measured {
        ms,
        cpu_ms: median(&cpu),
        up: per_run(after.0 - before.0),
        down: per_run(after.1 - before.1),
        rounds: if request.scheme.whole { 1 } else { rounds.plan().rounds().len() },
        peak_rss_mb: crate::net::process::peak_rss_mb("self"),
    })
}

fn bytes(servers: &[Open]) -> (u64, u64) {
    let each = servers.iter().map(|s| s.connection.udp_bytes());
    each.fold((0, 0), |sum, b| (sum.0 + b.0, sum.1 + b.1))
}

async fn infer(
    rounds: &Rounds,
    values: &mut Values,
    input: &[f32],
    servers: &mut [Open],
    scheme: Scheme,
) -> Result<Vec<f32>> {
    if scheme.whole {
        return ask(servers, Kind::Whole, scheme.width, RoundId::new(0), &[input], rounds.output_len()).await;
    }
    values.start(&[input])?;
    for r in rounds.plan().round_ids() {
        let inputs = rounds.advance(values, r)?;
        let answer = ask(servers, Kind::Round, scheme.width, r, &inputs, rounds.lens(r).1).await?;
        rounds.set(values, r, &answer)?;
    }
    Ok(rounds.finish(values)?.to_vec())
}

/// Sends the same elements to all servers, and returns the first one's answer when all have answered.
async fn ask(
    servers: &mut [Open],
    kind: Kind,
    width: usize,
    round: RoundId,
    x: &[&[f32]],
    expected: usize,
) -> Result<Vec<f32>> {
    match servers {
        [one] => ask_one(one, kind, width, round, x, expected).await,
        [one, two] => {
            let both = tokio::try_join!(
                ask_one(one, kind, width, round, x, expected),
                ask_one(two, kind, width, round, x, expected)
            );
            both.map(|(first, _)| first)
        }
        _ => bail!("one or two servers"),
    }
}

async fn ask_one(
    server: &mut Open,
    kind: Kind,
    width: usize,
    round: RoundId,
    x: &[&[f32]],
    expected: usize,
) -> Result<Vec<f32>> {
    let (send, recv) = &mut server.stream;
    write(send, kind, width, round, x).await?;
    let head = read_head(recv).await?.ok_or_else(|| anyhow!("the server has ended the stream"))?;
    if (head.kind, head.width, head.round) != (kind, width, round) {
        bail!("the server answered {head:?} to {kind:?} {round}");
    }
    read_elements(recv, &head, expected).await.context("the server's answer")
}

fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}
