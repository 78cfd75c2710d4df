//! Measures a shaped link with plain UDP: round trip of small datagrams, and the rate of a burst in each direction.

use std::io::Write;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// Pings.
const PINGS: usize = 60;
/// Datagrams of a burst: fewer than fit the link's queue.
const BURST: u32 = 600;
/// UDP payload of a datagram of a burst, bytes.
const PAYLOAD: usize = 1400;
/// What each datagram takes on the wire besides: UDP, IPv4 and Ethernet headers, bytes.
const HEADERS: usize = 8 + 20 + 14;
/// Silence after which a burst is over.
const SILENCE: Duration = Duration::from_millis(700);

/// First byte of a datagram.
const PING: u8 = 0;
const BURST_UP: u8 = 1;
const ASK_REPORT: u8 = 2;
const ASK_BURST: u8 = 3;

/// What a link really does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Round trip of 64-byte datagrams, ms: median.
    pub rtt_ms: f64,
    /// The same, 90th percentile.
    pub rtt_p90_ms: f64,
    /// Rate from the device, headers included, Mbit/s.
    pub up_mbit: f64,
    /// Rate to the device, headers included, Mbit/s.
    pub down_mbit: f64,
    /// Datagrams of both bursts that were lost.
    pub lost: u32,
}

/// Counts one burst.
#[derive(Default)]
struct Counter {
    count: u32,
    times: Option<(Instant, Instant)>,
}

impl Counter {
    fn add(&mut self) {
        let now = Instant::now();
        self.count += 1;
        self.times = Some((self.times.map_or(now, |t| t.0), now));
    }

    fn micros(&self) -> u64 {
        self.times.map_or(0, |(first, last)| (last - first).as_micros() as u64)
    }
}

/// Answers probes at `listen`; prints `listening on ADDR` when ready. Returns only on failure.
///
/// # Errors
/// When the socket fails.
pub fn serve(listen: &str) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| listen.to_owned())?;
    println!("listening on {}", socket.local_addr()?);
    std::io::stdout().flush()?;
    let mut buffer = [0; 2048];
    let mut counter = Counter::default();
    loop {
        let (n, client) = socket.recv_from(&mut buffer)?;
        match buffer[..n].first() {
            Some(&PING) => drop(socket.send_to(&buffer[..n], client)?),
            Some(&BURST_UP) => counter.add(),
            Some(&ASK_REPORT) => {
                let counted = std::mem::take(&mut counter);
                let report = [&counted.count.to_le_bytes()[..], &counted.micros().to_le_bytes()[..]].concat();
                socket.send_to(&report, client)?;
            }
            Some(&ASK_BURST) => (0..BURST).try_for_each(|_| socket.send_to(&[0; PAYLOAD], client).map(drop))?,
            _ => {}
        }
    }
}

/// Measures the way to a server at `address` and back.
///
/// # Errors
/// When it does not answer.
pub fn measure(address: &str) -> Result<Measured> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    let mut buffer = [0; 2048];
    let mut trips = Vec::new();
    for _ in 0..PINGS {
        let begun = Instant::now();
        socket.send(&[PING; 64])?;
        if socket.recv(&mut buffer).is_ok() {
            trips.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    if trips.is_empty() {
        bail!("nothing came back from {address}");
    }
    let burst = [BURST_UP; PAYLOAD];
    (0..BURST).try_for_each(|_| socket.send(&burst).map(drop))?;
    std::thread::sleep(SILENCE);
    socket.send(&[ASK_REPORT])?;
    let n = socket.recv(&mut buffer).context("the report of the burst")?;
    let report: [u8; 12] = buffer[..n].try_into().context("the report of the burst")?;
    let (count, micros) = report.split_at(4);
    let up = (u32::from_le_bytes(count.try_into()?), u64::from_le_bytes(micros.try_into()?));
    socket.send(&[ASK_BURST])?;
    let mut counter = Counter::default();
    while counter.count < BURST && socket.recv(&mut buffer).is_ok() {
        counter.add();
    }
    let spread = Spread::of(&trips);
    Ok(Measured {
        rtt_ms: spread.median,
        rtt_p90_ms: spread.p90,
        up_mbit: rate(up.0, up.1),
        down_mbit: rate(counter.count, counter.micros()),
        lost: 2 * BURST - up.0 - counter.count,
    })
}

/// Mbit/s of `count` datagrams, the first and the last of which arrived `micros` apart.
fn rate(count: u32, micros: u64) -> f64 {
    f64::from(count.saturating_sub(1)) * ((PAYLOAD + HEADERS) * 8) as f64 / micros.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_fast_and_loses_nothing_it_reports() {
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").to_string();
        let address = free.clone();
        std::thread::spawn(move || serve(&free));
        std::thread::sleep(Duration::from_millis(100));
        let measured = measure(&address).expect("answers");
        assert!(measured.rtt_ms > 0.0 && measured.up_mbit > 0.0 && measured.down_mbit > 0.0, "{measured:?}");
        assert_eq!(rate(3, 1442 * 8), 2.0);
    }
}
