//! A UDP relay that holds every datagram for a fixed time in each direction: the round trip of a link where the kernel
//! has no `netem`.
//!
//! A batch that the kernel hands over as one (GRO) is forwarded as one (GSO) with the same segment size, so the relay costs
//! little even at 1 Gbit/s. Every client address gets a socket of its own towards the edge.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

/// Largest batch that the kernel merges, bytes.
const BATCH: usize = 65_535;
/// Socket buffers asked for: what 30 ms carry at 1 Gbit/s.
const SOCKET_BUFFER: usize = 4 << 20;
/// A client that is silent for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(30);

/// Forwards between `listen` and `target`, each direction delayed by `one_way`. Returns only on failure.
///
/// # Errors
/// When a socket cannot be made or the listening one fails.
pub fn run(listen: SocketAddr, target: SocketAddr, one_way: Duration) -> Result<()> {
    let front = Arc::new(Socket::bind(listen).with_context(|| format!("listening on {listen}"))?);
    let up = line(one_way);
    let down = line(one_way);
    let mut clients: HashMap<SocketAddr, Arc<Socket>> = HashMap::new();
    let mut buffer = vec![0; BATCH];
    loop {
        let Some(batch) = front.receive(&mut buffer)? else { continue };
        let client = batch.from;
        // A client's thread that has ended holds its socket no more.
        let known = clients.get(&client).filter(|s| Arc::strong_count(s) > 1).cloned();
        let back = match known {
            Some(back) => back,
            None => {
                let back = Arc::new(Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into())?);
                clients.retain(|_, s| Arc::strong_count(s) > 1);
                clients.insert(client, Arc::clone(&back));
                answer(Arc::clone(&back), Arc::clone(&front), client, down.clone());
                back
            }
        };
        let held = Held { due: batch.at + one_way, batch, through: back, to: target };
        up.send(held).map_err(|_| anyhow::anyhow!("the sending thread has ended"))?;
    }
}

/// Reads what the edge sends to one client until it has been silent for [`SILENCE`].
fn answer(back: Arc<Socket>, front: Arc<Socket>, client: SocketAddr, down: Line) {
    thread::spawn(move || {
        let mut buffer = vec![0; BATCH];
        while let Ok(Some(batch)) = back.receive(&mut buffer) {
            let due = batch.at + down.one_way;
            if down.send(Held { due, batch, through: Arc::clone(&front), to: client }).is_err() {
                return;
            }
        }
    });
}

/// One direction: what goes in comes out after `one_way`, in order.
#[derive(Clone)]
struct Line {
    sender: Sender<Held>,
    one_way: Duration,
}

impl Line {
    fn send(&self, held: Held) -> Result<(), std::sync::mpsc::SendError<Held>> {
        self.sender.send(held)
    }
}

struct Held {
    due: Instant,
    batch: Batch,
    through: Arc<Socket>,
    to: SocketAddr,
}

fn line(one_way: Duration) -> Line {
    let (sender, receiver) = channel();
    thread::spawn(move || forward(&receiver));
    Line { sender, one_way }
}

fn forward(receiver: &Receiver<Held>) {
    // Sleeps end within microseconds of what was asked for; the default slack is 50 µs.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    for Held { due, batch, through, to } in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A datagram that cannot be sent is lost, as on any network.
        let _ = through.send(&batch, to);
    }
}

/// Datagrams of equal size (the last may be shorter) that arrived together.
struct Batch {
    at: Instant,
    from: SocketAddr,
    bytes: Vec<u8>,
    segment: usize,
    ecn: Option<EcnCodepoint>,
}

struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let state = UdpSocketState::new((&socket).into())?;
        // The system may grant less.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(SILENCE))?;
        Ok(Self { socket, state })
    }

    /// The next batch; `None` after [`SILENCE`] without any.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Batch>> {
        let mut meta = [RecvMeta::default()];
        loop {
            match self.state.recv((&self.socket).into(), &mut [io::IoSliceMut::new(buffer)], &mut meta) {
                Ok(_) => {
                    let RecvMeta { addr, len, stride, ecn, .. } = meta[0];
                    let bytes = buffer[..len].to_vec();
                    return Ok(Some(Batch { at: Instant::now(), from: addr, bytes, segment: stride, ecn }));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // The edge's port is not open (yet, or any more): its clients find out by themselves.
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn send(&self, batch: &Batch, to: SocketAddr) -> io::Result<()> {
        // One send carries at most so many segments; a batch merged by the receiving side may hold more.
        let most = self.state.max_gso_segments().max(1) * batch.segment.max(1);
        for part in batch.bytes.chunks(most) {
            let segment_size = (part.len() > batch.segment).then_some(batch.segment);
            let transmit = Transmit { destination: to, ecn: batch.ecn, contents: part, segment_size, src_ip: None };
            self.state.try_send((&self.socket).into(), &transmit)?;
        }
        Ok(())
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
        sent.iter().for_each(|d| drop(client.send_to(d, listen).expect("sends")));
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
