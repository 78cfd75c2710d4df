//! Measures a shaped link with plain UDP: round trip of small datagrams, and the rate of a burst in each direction.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::relay::{Socket, bind};
use crate::stats::{Spread, median};

/// Pings.
const PINGS: usize = 60;
/// Bursts in each direction.
const BURSTS: usize = 3;
/// Datagrams of a burst: fewer than fit the link's queue.
const BURST: u32 = 600;
/// UDP payload of a datagram of a burst, bytes.
const PAYLOAD: usize = 1400;
/// What each datagram takes on the wire besides: UDP, IPv4 and Ethernet headers, bytes.
const HEADERS: usize = 8 + 20 + 14;
/// Silence after which a burst is over.
const SILENCE: Duration = Duration::from_millis(700);

/// First byte of a datagram: it is sent back.
const PING: u8 = 0;
/// One of a burst; the last is answered.
const BURST_UP: u8 = 1;
/// Answered with the number of datagrams of the last burst that arrived.
const ASK_COUNT: u8 = 2;
/// Answered with a burst.
const ASK_BURST: u8 = 3;

/// What a link really does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Round trip of 64-byte datagrams, ms: median.
    pub rtt_ms: f64,
    /// The same, 90th percentile.
    pub rtt_p90_ms: f64,
    /// Rate from the device, headers included, Mbit/s; 0 if every burst lost something.
    pub up_mbit: f64,
    /// Rate to the device, headers included, Mbit/s.
    pub down_mbit: f64,
    /// Datagrams of all bursts that were lost.
    pub lost: u32,
}

/// Answers probes at `listen`; prints `listening on ADDR` when ready. Returns only on failure.
///
/// # Errors
/// When the socket fails.
pub fn serve(listen: &str) -> Result<()> {
    let socket = bind(listen.parse().with_context(|| listen.to_owned())?)?;
    let bursts = Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    println!("listening on {}", socket.local_addr()?);
    std::io::stdout().flush()?;
    let mut buffer = [0; 2048];
    let mut count = 0u32;
    while let Ok((n, client)) = socket.recv_from(&mut buffer) {
        match buffer[..n].first() {
            Some(&PING) => drop(socket.send_to(&buffer[..n], client)?),
            Some(&BURST_UP) => {
                count += 1;
                if count == BURST {
                    socket.send_to(&count.to_le_bytes(), client)?;
                }
            }
            Some(&ASK_COUNT) => drop(socket.send_to(&std::mem::take(&mut count).to_le_bytes(), client)?),
            Some(&ASK_BURST) => bursts.burst(&vec![PING; BURST as usize * PAYLOAD], PAYLOAD, client)?,
            _ => {}
        }
    }
    bail!("no probe came for long")
}

/// Measures the way to a server at `address` and back.
///
/// # Errors
/// When it does not answer.
pub fn measure(address: &str) -> Result<Measured> {
    let socket = bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
    socket.set_read_timeout(Some(SILENCE))?;
    let mut buffer = [0; 2048];
    let mut trips = Vec::new();
    for _ in 0..PINGS {
        let begun = Instant::now();
        socket.send_to(&[PING; 64], address)?;
        if socket.recv(&mut buffer).is_ok() {
            trips.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    if trips.is_empty() {
        bail!("nothing came back from {address}");
    }
    let spread = Spread::of(&trips);
    // Bursts leave in few system calls, as those of QUIC do, and on a socket of their own: what such a one receives may
    // be several datagrams in one. The ping makes it known on the way.
    let bursts = Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    bursts.burst(&[PING], 1, address)?;
    if !bursts.hears(SILENCE)? {
        bail!("nothing came back from {address}");
    }
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut lost = 0;
    for _ in 0..BURSTS {
        let begun = Instant::now();
        bursts.burst(&vec![BURST_UP; BURST as usize * PAYLOAD], PAYLOAD, address)?;
        if bursts.hears(SILENCE)? {
            up.push(rate(begun, spread.median));
        }
        socket.send_to(&[ASK_COUNT], address)?;
        let n = socket.recv(&mut buffer).context("the count of a burst")?;
        lost += BURST - u32::from_le_bytes(buffer[..n].try_into().context("the count of a burst")?);
        let begun = Instant::now();
        socket.send_to(&[ASK_BURST], address)?;
        let arrived = (0..BURST).take_while(|_| socket.recv(&mut buffer).is_ok()).count() as u32;
        lost += BURST - arrived;
        if arrived == BURST {
            down.push(rate(begun, spread.median));
        }
    }
    let (rtt_ms, rtt_p90_ms) = (spread.median, spread.p90);
    Ok(Measured { rtt_ms, rtt_p90_ms, up_mbit: median(&up), down_mbit: median(&down), lost })
}

/// Mbit/s of a burst that was begun at `begun`, the end of which has just been seen, a round trip included.
fn rate(begun: Instant, rtt_ms: f64) -> f64 {
    let seconds = (begun.elapsed().as_secs_f64() - rtt_ms / 1e3).max(1e-6);
    f64::from(BURST) * ((PAYLOAD + HEADERS) * 8) as f64 / seconds / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_fast_and_loses_nothing_it_reports() {
        let free =
            std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").to_string();
        let address = free.clone();
        std::thread::spawn(move || serve(&free));
        std::thread::sleep(Duration::from_millis(100));
        let measured = measure(&address).expect("answers");
        assert!(measured.rtt_ms > 0.0 && measured.up_mbit > 0.0 && measured.down_mbit > 0.0, "{measured:?}");
        assert_eq!(measured.lost, 0);
    }
}
