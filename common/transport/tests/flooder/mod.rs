//! A hostile sender of QUIC Initials that it never means to follow up.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig};
use twinmask_transport::Role;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Initials that no key fits.
    Garbage,
    /// Good first flights, and nothing after them; Retry is not answered.
    Half,
    /// The same by somebody who really is at his address: Retry is answered.
    ProvenHalf,
}

/// Sends until it is dropped.
pub struct Flood {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Floods `server` from the loopback address `from`, some thousand datagrams a second.
    pub fn start(kind: Kind, from: Ipv4Addr, server: &str, tls: rustls::ClientConfig) -> Flood {
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let server: SocketAddr = server.parse().unwrap();
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut flooder = Flooder {
            socket,
            server,
            config: ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())),
            endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), None, false, Some([7; 32])),
            open: HashMap::new(),
            sent: sent.clone(),
        };
        let over = ends.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    flooder.send_one(kind);
                    flooder.read(kind);
                }
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        Flood { ends, sent, thread: Some(thread) }
    }

    /// Datagrams so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Flooder {
    socket: UdpSocket,
    server: SocketAddr,
    config: ClientConfig,
    endpoint: Endpoint,
    /// Those that may yet be asked to prove their address.
    open: HashMap<ConnectionHandle, Connection>,
    sent: Arc<AtomicUsize>,
}

impl Flooder {
    fn send_one(&mut self, kind: Kind) {
        if kind == Kind::Garbage {
            let number = self.sent.load(Ordering::Relaxed) as u64;
            return self.send(&garbage(number));
        }
        let name = Role::EdgeA.dns_name().unwrap();
        let (handle, mut connection) =
            self.endpoint.connect(Instant::now(), self.config.clone(), self.server, name).unwrap();
        self.flush(&mut connection);
        if kind == Kind::ProvenHalf && self.open.len() < 1000 {
            self.open.insert(handle, connection);
        }
    }

    /// Answers each Retry once.
    fn read(&mut self, kind: Kind) {
        let mut buffer = [0; 2048];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            if kind != Kind::ProvenHalf {
                continue;
            }
            let (now, mut answer) = (Instant::now(), Vec::new());
            let datagram = BytesMut::from(&buffer[..n]);
            let event = self.endpoint.handle(now, self.server, None, None, datagram, &mut answer);
            if let Some(DatagramEvent::ConnectionEvent(handle, event)) = event
                && let Some(mut connection) = self.open.remove(&handle)
            {
                connection.handle_event(event);
                let proving = buffer[0] >> 4 == 0b1111;
                if proving {
                    self.flush(&mut connection);
                }
            }
        }
    }

    fn flush(&mut self, connection: &mut Connection) {
        let mut datagrams = Vec::new();
        while let Some(transmit) = connection.poll_transmit(Instant::now(), 1, &mut datagrams) {
            self.send(&datagrams[..transmit.size]);
            datagrams.clear();
        }
    }

    fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, self.server); // a full buffer is no reason to stop
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// An Initial of version 1 with a connection id of its own, its packet made of anything.
pub fn garbage(number: u64) -> Vec<u8> {
    let mut datagram = vec![0xc3, 0, 0, 0, 1, 8];
    datagram.extend(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    datagram.extend([0, 0]); // no source connection id, no token
    let rest: u16 = 1200 - 18;
    datagram.extend((0x4000 | rest).to_be_bytes());
    datagram.extend((0..rest).map(|i| (u64::from(i).wrapping_mul(number | 1) >> 3) as u8));
    datagram
}
