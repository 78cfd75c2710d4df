//! A UDP relay that holds every datagram for a fixed time in each direction: the round trip of a link where the kernel
//! has no `netem`.
//!
//! What arrives together is forwarded together: the kernel hands over batches (GRO, recvmmsg), and datagrams of one
//! size leave in one system call (GSO), from which the shaped interface takes them one by one. Datagram by datagram it
//! would be the bottleneck of a link of 1 Gbit/s. Every client address gets a socket of its own towards the edge. One
//! thread reads, another waits and sends, so that reading is never late.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

/// Most bytes that the kernel hands over as one.
const MERGED: usize = 65_535;
/// Most bytes that are sent as one: what an IPv4 packet holds besides its headers.
const SENT: usize = 65_507;
/// Socket buffers, bytes; what the kernel books for a datagram is more than its length.
const SOCKET_BUFFER: usize = 16 << 20;
/// A client that is silent for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(30);

/// Forwards between `listen` and `target`, each direction delayed by `one_way`. Returns only on failure.
///
/// # Errors
/// When a socket cannot be made or the listening one fails.
pub fn run(listen: SocketAddr, target: SocketAddr, one_way: Duration) -> Result<()> {
    let front = Arc::new(Socket::bind(listen).with_context(|| format!("listening on {listen}"))?);
    let (up, down) = (line(), line());
    let mut clients: HashMap<SocketAddr, Arc<Socket>> = HashMap::new();
    let mut reader = Reader::new();
    loop {
        for batch in reader.read(&front)?.unwrap_or_default() {
            let due = batch.at + one_way;
            // The thread of a client that was silent for long has ended, and holds its socket no more.
            let known = clients.get(&batch.from).filter(|s| Arc::strong_count(s) > 1).cloned();
            let through = match known {
                Some(back) => back,
                None => {
                    let back = Arc::new(Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into())?);
                    clients.retain(|_, s| Arc::strong_count(s) > 1);
                    clients.insert(batch.from, Arc::clone(&back));
                    let (front, own, down, client) = (Arc::clone(&front), Arc::clone(&back), down.clone(), batch.from);
                    thread::spawn(move || answers(&own, &front, client, one_way, &down));
                    back
                }
            };
            up.send(Held { due, batch, through, to: target }).map_err(|_| anyhow!("the sending thread has ended"))?;
        }
    }
}

/// Reads what the edge sends to one client, until it has been silent for [`SILENCE`].
fn answers(back: &Socket, front: &Arc<Socket>, client: SocketAddr, one_way: Duration, down: &Sender<Held>) {
    let mut reader = Reader::new();
    while let Ok(Some(batches)) = reader.read(back) {
        for batch in batches {
            let due = batch.at + one_way;
            if down.send(Held { due, batch, through: Arc::clone(front), to: client }).is_err() {
                return;
            }
        }
    }
}

/// Datagrams on their way.
struct Held {
    due: Instant,
    batch: Batch,
    through: Arc<Socket>,
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
    for Held { due, batch, through, to } in receiver {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // A datagram that cannot be sent is lost, as on any network.
        let _ = through.send(&batch, to);
    }
}

/// Datagrams of one sender that came together: all of the length `segment`, but the last may be shorter.
struct Batch {
    at: Instant,
    from: SocketAddr,
    bytes: Vec<u8>,
    segment: usize,
    ecn: Option<EcnCodepoint>,
}

impl Batch {
    /// Appends what the kernel handed over next, if it continues this batch.
    fn append(&mut self, meta: &RecvMeta, bytes: &[u8]) -> bool {
        let whole = self.bytes.len().is_multiple_of(self.segment);
        let same = meta.stride == self.segment || (meta.stride == meta.len && meta.len < self.segment);
        let fits = whole && same && self.from == meta.addr && self.ecn == meta.ecn;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

/// Room for what one system call hands over.
struct Reader {
    buffer: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Reader {
    fn new() -> Self {
        Self { buffer: vec![0; BATCH_SIZE * MERGED], metas: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// What has arrived, in order; `None` after [`SILENCE`] without anything.
    fn read(&mut self, socket: &Socket) -> io::Result<Option<Vec<Batch>>> {
        let n = loop {
            let mut slices: Vec<IoSliceMut<'_>> = self.buffer.chunks_exact_mut(MERGED).map(IoSliceMut::new).collect();
            match socket.state.recv((&socket.socket).into(), &mut slices, &mut self.metas) {
                Ok(n) => break n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !socket.wait(PollFlags::IN, SILENCE)? {
                        return Ok(None);
                    }
                }
                // The edge's port is not open yet, or not any more: its clients find out by themselves.
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused) => {}
                Err(e) => return Err(e),
            }
        };
        let at = Instant::now();
        let mut batches: Vec<Batch> = Vec::new();
        for (meta, buffer) in self.metas[..n].iter().zip(self.buffer.chunks_exact(MERGED)).filter(|(m, _)| m.len > 0) {
            let bytes = &buffer[..meta.len];
            if !batches.last_mut().is_some_and(|last| last.append(meta, bytes)) {
                let RecvMeta { addr, stride, ecn, .. } = *meta;
                batches.push(Batch { at, from: addr, bytes: bytes.to_vec(), segment: stride, ecn });
            }
        }
        Ok(Some(batches))
    }
}

/// A socket that sends and receives several datagrams in one system call.
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// One with large buffers.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = bind(address)?;
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, state })
    }

    /// Waits until it can be read or written; `false` after `longest`.
    fn wait(&self, what: PollFlags, longest: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(longest).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&timeout)) {
            Ok(n) => Ok(n > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    fn send(&self, batch: &Batch, to: SocketAddr) -> io::Result<()> {
        self.send_segments(&batch.bytes, batch.segment, batch.ecn, to)
    }

    /// Sends `bytes` as datagrams of `segment` bytes.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn burst(&self, bytes: &[u8], segment: usize, to: SocketAddr) -> io::Result<()> {
        self.send_segments(bytes, segment, None, to)
    }

    /// Whether something comes within `longest`; it is thrown away.
    ///
    /// # Errors
    /// When the socket fails.
    pub(super) fn hears(&self, longest: Duration) -> io::Result<bool> {
        Ok(self.wait(PollFlags::IN, longest)? && self.socket.recv(&mut [0; 64]).is_ok())
    }

    fn send_segments(&self, bytes: &[u8], segment: usize, ecn: Option<EcnCodepoint>, to: SocketAddr) -> io::Result<()> {
        let most = self.state.max_gso_segments().min(SENT / segment).max(1) * segment;
        for part in bytes.chunks(most) {
            let segment_size = (part.len() > segment).then_some(segment);
            let transmit = Transmit { destination: to, ecn, contents: part, segment_size, src_ip: None };
            while let Err(e) = self.state.try_send((&self.socket).into(), &transmit) {
                if e.kind() != io::ErrorKind::WouldBlock || !self.wait(PollFlags::OUT, SILENCE)? {
                    return Err(e);
                }
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay of `one_way` between a client and a server, all on loopback: both sockets and the relay's address.
    fn relayed(one_way: Duration) -> (UdpSocket, UdpSocket, SocketAddr) {
        let server = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let target = server.local_addr().expect("bound");
        let listen = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port");
        thread::spawn(move || run(listen, target, one_way));
        thread::sleep(Duration::from_millis(100));
        let client = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        for s in [&client, &server] {
            s.set_read_timeout(Some(Duration::from_secs(10))).expect("a positive time");
        }
        (client, server, listen)
    }

    #[test]
    fn datagrams_arrive_whole_in_order_and_late() {
        let one_way = Duration::from_millis(20);
        let (client, server, listen) = relayed(one_way);
        let begun = Instant::now();
        // Runs of one length as from a sender's batches, their short ends, and lengths that change every time.
        let length = |i: u8| [1200, 1200, 1200, 700, 1, 1201, 1200, 1200][usize::from(i % 8)];
        let sent: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; length(i)]).collect();
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

    #[test]
    fn a_batch_of_the_sender_arrives_as_its_datagrams() {
        let (client, server, listen) = relayed(Duration::from_millis(1));
        let state = UdpSocketState::new((&client).into()).expect("a socket");
        client.set_nonblocking(false).expect("a socket");
        let contents: Vec<u8> = (0..40_000u32).map(|i| (i / 1000) as u8).collect();
        let segment_size = (state.max_gso_segments() >= 40).then_some(1000);
        for contents in contents.chunks(if segment_size.is_some() { contents.len() } else { 1000 }) {
            let transmit = Transmit { destination: listen, ecn: None, contents, segment_size, src_ip: None };
            state.try_send((&client).into(), &transmit).expect("sends");
        }
        let mut buffer = [0; 65_535];
        for datagram in contents.chunks(1000) {
            let (n, _) = server.recv_from(&mut buffer).expect("arrives");
            assert_eq!(&buffer[..n], datagram);
        }
    }

    #[test]
    fn only_what_continues_a_batch_is_appended() {
        let meta = |len: usize, stride: usize| RecvMeta { len, stride, ..RecvMeta::default() };
        let from = RecvMeta::default().addr;
        let mut batch = Batch { at: Instant::now(), from, bytes: vec![0; 30], segment: 10, ecn: None };
        assert!(!batch.append(&meta(11, 11), &[0; 11]), "longer");
        assert!(!batch.append(&meta(14, 7), &[0; 14]), "two shorter ones");
        assert!(batch.append(&meta(25, 10), &[0; 25]), "two whole ones and an end");
        assert!(!batch.append(&meta(10, 10), &[0; 10]), "behind an end");
        assert_eq!(batch.bytes.len(), 55);
    }
}
