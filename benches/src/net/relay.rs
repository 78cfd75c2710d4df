//! A UDP relay that holds every datagram for a fixed time in each direction: the round trip of a link where the kernel
//! has no `netem`.
//!
//! Senders' batches (GSO) arrive here split into datagrams, and are sent on one by one. Every client address gets a socket
//! of its own towards the edge. One thread reads, another waits and sends, so that reading is never late.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::net::sockopt;

/// Largest datagram, bytes.
const DATAGRAM: usize = 65_535;
/// Socket buffers, bytes; what the kernel books for a datagram is more than its length.
const SOCKET_BUFFER: usize = 16 << 20;
/// A client that is silent for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(30);

/// Forwards between `listen` and `target`, each direction delayed by `one_way`. Returns only on failure.
///
/// # Errors
/// When a socket cannot be made or the listening one fails.
pub fn run(listen: SocketAddr, target: SocketAddr, one_way: Duration) -> Result<()> {
    let front = Arc::new(bind(listen).with_context(|| format!("listening on {listen}"))?);
    let (up, down) = (line(), line());
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Some((bytes, client)) = receive(&front, &mut buffer)? else { continue };
        let due = Instant::now() + one_way;
        // The thread of a client that was silent for long has ended, and holds its socket no more.
        let known = clients.get(&client).filter(|s| Arc::strong_count(s) > 1).cloned();
        let through = match known {
            Some(back) => back,
            None => {
                let back = Arc::new(bind((Ipv4Addr::UNSPECIFIED, 0).into())?);
                clients.retain(|_, s| Arc::strong_count(s) > 1);
                clients.insert(client, Arc::clone(&back));
                let (front, own, down) = (Arc::clone(&front), Arc::clone(&back), down.clone());
                thread::spawn(move || answers(&own, &front, client, one_way, &down));
                back
            }
        };
        up.send(Held { due, bytes, through, to: target }).map_err(|_| anyhow!("the sending thread has ended"))?;
    }
}

/// Reads what the edge sends to one client, until it has been silent for [`SILENCE`].
fn answers(back: &UdpSocket, front: &Arc<UdpSocket>, client: SocketAddr, one_way: Duration, down: &Sender<Held>) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Some((bytes, _))) = receive(back, &mut buffer) {
        let due = Instant::now() + one_way;
        if down.send(Held { due, bytes, through: Arc::clone(front), to: client }).is_err() {
            return;
        }
    }
}

/// A datagram on its way.
struct Held {
    due: Instant,
    bytes: Vec<u8>,
    through: Arc<UdpSocket>,
    to: SocketAddr,
}

/// One direction: what is put in is sent when it is due, in order.
fn line() -> Sender<Held> {
    let (sender, receiver) = channel();
    thread::spawn(move || forward(&receiver));
    sender
}

fn forward(receiver: &Receiver<Held>) {
    // Sleeps then end within microseconds of what was asked for; the usual slack is 50 µs.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    for Held { due, bytes, through, to } in receiver {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // A datagram that cannot be sent is lost, as on any network.
        let _ = through.send_to(&bytes, to);
    }
}

/// A socket with large buffers, on which reading gives up after [`SILENCE`].
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    // An edge is not shaped: its whole window may arrive at once. Forced past the system's limit where that is allowed.
    if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
    }
    sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER)?;
    socket.set_read_timeout(Some(SILENCE))?;
    Ok(socket)
}

/// The next datagram and its sender; `None` after [`SILENCE`] without any.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
    loop {
        match socket.recv_from(buffer) {
            Ok((n, from)) => return Ok(Some((buffer[..n].to_vec(), from))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // The edge's port is not open yet, or not any more: its clients find out by themselves.
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive_whole_in_order_and_late() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let target = server.local_addr().expect("bound");
        let listen = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port");
        let one_way = Duration::from_millis(20);
        thread::spawn(move || run(listen, target, one_way));
        thread::sleep(Duration::from_millis(100));
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for s in [&client, &server] {
            s.set_read_timeout(Some(Duration::from_secs(10))).expect("a positive time");
        }
        let begun = Instant::now();
        let sent: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; if i % 2 == 0 { 1200 } else { 700 }]).collect();
        for datagram in &sent {
            client.send_to(datagram, listen).expect("sends");
        }
        let mut buffer = [0; 2000];
        let mut from = listen;
        for (i, datagram) in sent.iter().enumerate() {
            let (n, peer) = server.recv_from(&mut buffer).expect("arrives");
            assert_eq!(&buffer[..n], &datagram[..], "datagram {i}");
            assert!(begun.elapsed() >= one_way, "datagram {i} came too early");
            from = peer;
        }
        server.send_to(b"back", from).expect("sends");
        let (n, peer) = client.recv_from(&mut buffer).expect("arrives");
        assert_eq!((&buffer[..n], peer), (&b"back"[..], listen));
        assert!(begun.elapsed() >= 2 * one_way);
    }
}
