//! Windows, timeouts and bounds, with presets for three kinds of network.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

const MIB: u32 = 1024 * 1024;

/// Bounds and tuning of an endpoint; every field can be changed after taking a preset.
///
/// An endpoint never buffers more than `max_connections * (connection_window + send_window)` bytes of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportLimits {
    /// Bytes that a peer may send ahead on one stream.
    pub stream_window: u32,
    /// Bytes that a peer may send ahead on all streams of one connection.
    pub connection_window: u32,
    /// Bytes that we send ahead, unacknowledged, on one connection.
    pub send_window: u32,
    /// Bytes that congestion control puts on the wire before the first acknowledgement.
    pub initial_window: u32,
    /// Bidirectional streams that a peer may have open at a time.
    pub max_streams: u32,
    /// Silence after which a keep-alive is sent, ms.
    pub keep_alive_ms: u32,
    /// Silence after which the peer counts as dead, ms; more than `keep_alive_ms`.
    pub idle_timeout_ms: u32,
    /// Round trip assumed before the first one is measured, ms.
    pub initial_rtt_ms: u32,
    /// Packets that the peer may let come before it acknowledges them; every acknowledgement costs both sides a packet.
    pub unacknowledged: u32,
    /// Largest UDP payload to try, bytes, 1200 to 65527. Above 9000 segmentation offload sets off quinn's
    /// black-hole detection.
    pub max_udp_payload: u16,
    /// Size of the socket's buffers in each direction, bytes; the system may grant less.
    pub socket_buffer: u32,
    /// Servers: connections at a time, handshakes included.
    pub max_connections: usize,
    /// Servers: handshakes at a time of clients not yet authenticated. From half of it on, a client first has to prove
    /// its address (QUIC Retry).
    pub max_handshakes: usize,
    /// Servers: time a client has for its handshake, ms.
    pub handshake_timeout_ms: u32,
}

impl TransportLimits {
    /// A wired local network or loopback: short round trips, jumbo frames where the path carries them.
    pub fn lan() -> TransportLimits {
        TransportLimits {
            stream_window: 16 * MIB,
            connection_window: 32 * MIB,
            send_window: 32 * MIB,
            initial_window: 4 * MIB,
            max_streams: 16,
            keep_alive_ms: 1000,
            idle_timeout_ms: 4000,
            initial_rtt_ms: 10,
            unacknowledged: 160,
            max_udp_payload: 6500,
            socket_buffer: 4 * MIB,
            max_connections: 256,
            max_handshakes: 32,
            handshake_timeout_ms: 5000,
        }
    }

    /// A radio link: longer and varying round trips, Ethernet-sized packets, a smaller first burst.
    pub fn wifi() -> TransportLimits {
        TransportLimits {
            initial_window: MIB,
            initial_rtt_ms: 30,
            unacknowledged: 10,
            max_udp_payload: 1452,
            ..Self::lan()
        }
    }

    /// The open internet.
    pub fn wan() -> TransportLimits {
        TransportLimits { initial_window: MIB / 2, initial_rtt_ms: 100, ..Self::wifi() }
    }

    /// The same network seen from an edge that serves many: windows that hold a round's upload, not a whole
    /// inference's answers.
    pub fn serving(self) -> TransportLimits {
        TransportLimits { stream_window: 4 * MIB, connection_window: 8 * MIB, send_window: 16 * MIB, ..self }
    }

    /// Unidirectional streams and datagrams are no part of the protocol, so they are refused.
    pub(crate) fn quinn(&self) -> Arc<TransportConfig> {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.max_udp_payload);
        let mut congestion = CubicConfig::default();
        congestion.initial_window(self.initial_window.into());
        let mut acknowledging = AckFrequencyConfig::default();
        acknowledging.ack_eliciting_threshold(self.unacknowledged.into());
        let mut config = TransportConfig::default();
        config
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.connection_window.into())
            .send_window(self.send_window.into())
            .max_concurrent_bidi_streams(self.max_streams.into())
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(Duration::from_millis(self.keep_alive_ms.into())))
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(self.idle_timeout_ms))))
            .initial_rtt(Duration::from_millis(self.initial_rtt_ms.max(1).into()))
            .ack_frequency_config(Some(acknowledging))
            .mtu_discovery_config(Some(mtu))
            .congestion_controller_factory(Arc::new(congestion));
        Arc::new(config)
    }
}

impl Default for TransportLimits {
    /// [`TransportLimits::lan`].
    fn default() -> Self {
        Self::lan()
    }
}
