//! The configuration of an edge, and what it bounds. The defaults are stated here and nowhere else.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use twinmask_settings::Preset;
use twinmask_transport::TransportLimits;

use crate::role::Role;

const MIB: usize = 1 << 20;
/// Bytes that one device may make an edge hold.
pub(super) const DEVICE_MEMORY: usize = 64_000_000;
/// Bytes that each connection may buffer in either direction before it is known whose it is, and always.
pub(crate) const FIRST_WINDOW: u32 = 64 * 1024;

/// What an edge bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of all devices.
    pub max_sessions: usize,
    /// Sessions of one device.
    pub max_sessions_per_device: usize,
    /// Inferences of one session.
    pub max_in_flight: u16,
    /// Rounds that wait for a compute thread.
    pub queue: usize,
    /// Time for the next frame of an inference in either direction, on top of what its bytes take on a slow network.
    pub stall: Duration,
    /// Time from the connection to its `OPEN`.
    pub handshake: Duration,
    /// Time that edge A lets an `INFER` wait for its `CLAIM`, which comes on another stream.
    pub claim: Duration,
    /// Time for what runs when the edge goes down.
    pub drain: Duration,
    /// Edge B: bytes of corrections that edge A may have here for one session (PROTOCOL.md, mode `relay`).
    pub relay_session: usize,
    /// Edge B: the same for all sessions of one device.
    pub relay_device: usize,
    /// Edge B: the same for all sessions.
    pub relay_total: usize,
    /// Edge B: time that an answer waits for its correction before it goes out without.
    pub relay_grace: Duration,
    /// Edge A: bytes that all sessions of one device may have computed ahead of time.
    pub ahead_device: usize,
    /// Edge A: the same for all sessions.
    pub ahead_total: usize,
    /// Time without any inference after which a session gives back what edge A has computed ahead for it.
    pub rest: Duration,
    /// Bytes of uploads and answers that all inferences of one device may hold; a single one may hold more if it must.
    pub flight_device: usize,
    /// The same for all devices.
    pub flight_total: usize,
    /// Bytes that all connections of one device may buffer, beside a little that each has.
    pub buffers_device: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 64,
            max_sessions_per_device: 8,
            max_in_flight: 8,
            queue: 256,
            stall: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            claim: Duration::from_secs(2),
            // With the 2 s that closing may take, below the 10 s that an edge has to go down.
            drain: Duration::from_secs(7),
            relay_session: 0,
            relay_device: 0,
            relay_total: 256 * MIB,
            relay_grace: Duration::from_millis(250),
            ahead_device: 0,
            ahead_total: 256 * MIB,
            rest: Duration::from_secs(30),
            flight_device: 0,
            flight_total: 512 * MIB,
            buffers_device: 0,
        }
        .for_each_device(DEVICE_MEMORY)
    }
}

impl Limits {
    /// Divides the `bytes` that one device may make an edge hold: half of them for corrections or work ahead of time,
    /// the rest for inferences that run and for connections; some are left for the sessions themselves.
    #[must_use]
    pub fn for_each_device(self, bytes: usize) -> Limits {
        let (ahead, flight, buffers) = (bytes / 2, bytes / 16 * 5, bytes / 64 * 9);
        Limits {
            relay_session: ahead / 4 * 3, // what is left lets a second session begin
            relay_device: ahead,
            ahead_device: ahead,
            flight_device: flight,
            buffers_device: buffers,
            ..self
        }
    }

    /// Streams of one session at a time: its inferences, as many that are being refused or are over but for the
    /// device's `END`, and the control stream.
    pub(crate) fn streams(&self) -> usize {
        2 * usize::from(self.max_in_flight) + 1
    }
}

/// The configuration of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The edge's folder.
    pub dir: PathBuf,
    /// Address for devices, HOST:PORT.
    pub listen: String,
    /// Address for administration, HOST:PORT.
    pub admin: String,
    /// Edge A: address of the edge B that it introduces sessions to, HOST:PORT.
    pub peer: Option<String>,
    /// Compute threads.
    pub threads: usize,
    /// How QUIC is tuned.
    pub transport: TransportLimits,
    /// What is bounded.
    pub limits: Limits,
}

impl Config {
    /// The defaults of the edge `role` with the folder `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, role: Role) -> Config {
        let port = match role {
            Role::A => 7401,
            Role::B => 7402,
        };
        Config {
            dir: dir.into(),
            listen: format!("0.0.0.0:{port}"),
            admin: format!("127.0.0.1:{}", port + 10),
            peer: None,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            transport: Preset::default().limits().serving(),
            limits: Limits::default(),
        }
    }

    /// The same on free ports of the loopback interface, for tests and demonstrations.
    #[must_use]
    pub fn on_loopback(self) -> Config {
        Config { listen: "127.0.0.1:0".to_owned(), admin: "127.0.0.1:0".to_owned(), ..self }
    }

    /// Of the endpoint. What connections may buffer and open beyond that depends on who they are from:
    /// `Edge::widen`, `Edge::trust`.
    pub(crate) fn transport(&self) -> TransportLimits {
        TransportLimits {
            connection_window: FIRST_WINDOW,
            send_window: FIRST_WINDOW,
            max_streams: self.limits.streams() as u32,
            // A few more than there may be sessions: those are refused with a text that says why.
            max_connections: self.limits.max_sessions.saturating_add(16),
            ..self.transport.clone()
        }
    }
}
