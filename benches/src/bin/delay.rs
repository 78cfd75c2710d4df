//! `delay --one-way-us N LISTEN=TARGET..`: forwards UDP datagrams and holds each for N µs in either direction.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use twinmask_benches::net::relay;

#[derive(Parser)]
#[command(about = "UDP relay with a fixed delay in each direction, for benchmarks")]
struct Args {
    /// Time that each datagram is held in each direction, µs.
    #[arg(long)]
    one_way_us: u64,
    /// Pairs ADDRESS=ADDRESS: what arrives at the first is sent to the second, and answers back.
    #[arg(required = true, value_parser = pair)]
    pairs: Vec<(SocketAddr, SocketAddr)>,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let parsed = text.split_once('=').and_then(|(l, t)| Some((l.parse().ok()?, t.parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}' is no pair like 10.0.0.1:7401=10.0.1.2:7401"))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let delay = Duration::from_micros(args.one_way_us);
    let threads: Vec<_> =
        args.pairs.into_iter().map(|(l, t)| std::thread::spawn(move || relay::run(l, t, delay))).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a relay has panicked"))??;
    }
    Ok(())
}
