//! Windows, timeouts and bounds, with presets for three kinds of network.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use serde::{Deserialize, Serialize};

use crate::handshakes::HandshakeLimits;
use crate::range::OutOfRange;

const MIB: u32 = 1024 * 1024;

/// Bounds and tuning of an endpoint; every field can be changed after taking a preset.
///
/// An endpoint never buffers more than `max_connections * (connection_window + send_window)` bytes of streams, unless
/// [`Connection::set_windows`](crate::Connection::set_windows) says otherwise.
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
    /// Silence after which the peer counts as dead, ms; more than `keep_alive_ms`. The first keep-alive that is not
    /// answered begins it anew.
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
    /// Servers: connections at a time of clients that are who they may be.
    pub max_connections: usize,
    /// Servers: what clients get before that.
    pub handshakes: HandshakeLimits,
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
            idle_timeout_ms: 3500,
            initial_rtt_ms: 10,
            unacknowledged: 160,
            max_udp_payload: 6500,
            socket_buffer: 4 * MIB,
            max_connections: 256,
            handshakes: HandshakeLimits::DEFAULT,
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

    /// The same network seen from an edge that serves many: windows that keep the network busy, not such as hold a
    /// whole inference.
    pub fn serving(self) -> TransportLimits {
        TransportLimits { stream_window: 3 * MIB, connection_window: 3 * MIB, send_window: 6 * MIB, ..self }
    }

    /// Windows no larger than a device needs whose inferences bring `answers` bytes from one edge, `ahead` of them at a
    /// time before they begin: what an edge may make it hold is bounded by its own network, not by the largest.
    #[must_use]
    pub fn for_answers(self, answers: usize, ahead: usize) -> TransportLimits {
        let one = u32::try_from(answers + answers / 8).unwrap_or(u32::MAX).max(MIB).min(self.stream_window);
        let all = one.saturating_mul(u32::try_from(ahead + 2).unwrap_or(u32::MAX));
        TransportLimits { stream_window: one, connection_window: all.min(self.connection_window), ..self }
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

/// Fields of a preset that a person sets otherwise: the table `[transport]` of a configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportOverrides {
    stream_window: Option<u32>,
    connection_window: Option<u32>,
    send_window: Option<u32>,
    initial_window: Option<u32>,
    initial_rtt_ms: Option<u32>,
    unacknowledged: Option<u32>,
    max_udp_payload: Option<u16>,
    socket_buffer: Option<u32>,
}

impl TransportOverrides {
    /// `limits` with these fields.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn apply(&self, mut limits: TransportLimits) -> Result<TransportLimits, OutOfRange> {
        const WINDOW: (u32, u32) = (64 * 1024, 1024 * MIB);
        let mut udp_payload = u32::from(limits.max_udp_payload);
        let fields = [
            ("stream_window", self.stream_window, &mut limits.stream_window, WINDOW),
            ("connection_window", self.connection_window, &mut limits.connection_window, WINDOW),
            ("send_window", self.send_window, &mut limits.send_window, WINDOW),
            ("initial_window", self.initial_window, &mut limits.initial_window, (2400, 1024 * MIB)),
            ("initial_rtt_ms", self.initial_rtt_ms, &mut limits.initial_rtt_ms, (1, 10_000)),
            ("unacknowledged", self.unacknowledged, &mut limits.unacknowledged, (1, 10_000)),
            ("socket_buffer", self.socket_buffer, &mut limits.socket_buffer, WINDOW),
            ("max_udp_payload", self.max_udp_payload.map(u32::from), &mut udp_payload, (1200, 65_527)),
        ];
        for (field, value, target, (least, most)) in fields {
            let Some(value) = value else { continue };
            *target = OutOfRange::check("transport", field, value, least, most)?;
        }
        limits.max_udp_payload = u16::try_from(udp_payload).expect("the range of max_udp_payload is that of a u16");
        Ok(limits)
    }
}

impl Default for TransportLimits {
    /// [`TransportLimits::lan`].
    fn default() -> Self {
        Self::lan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_applied_and_held_to_their_ranges() {
        let overrides =
            TransportOverrides { initial_rtt_ms: Some(40), max_udp_payload: Some(1300), ..Default::default() };
        let limits = overrides.apply(TransportLimits::lan()).expect("in range");
        assert_eq!(limits, TransportLimits { initial_rtt_ms: 40, max_udp_payload: 1300, ..TransportLimits::lan() });
        for (wrong, name) in [
            (TransportOverrides { stream_window: Some(1), ..Default::default() }, "stream_window is 1"),
            (TransportOverrides { unacknowledged: Some(0), ..Default::default() }, "unacknowledged is 0"),
            (TransportOverrides { max_udp_payload: Some(1199), ..Default::default() }, "max_udp_payload is 1199"),
        ] {
            let error = wrong.apply(TransportLimits::wan()).expect_err("out of range");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    /// If this fails, a device takes longer than five seconds to tell that an edge died, or one lost packet ends a
    /// session.
    #[test]
    fn a_dead_peer_is_noticed_within_five_seconds() {
        for limits in [TransportLimits::lan(), TransportLimits::wifi(), TransportLimits::wan()] {
            let (keep_alive, idle) = (limits.keep_alive_ms, limits.idle_timeout_ms);
            assert!(keep_alive + idle <= 4500 && idle >= 3 * keep_alive, "{limits:?}");
        }
    }

    #[test]
    fn windows_follow_the_network_within_the_preset() {
        let lan = TransportLimits::lan;
        let windows = |answers, ahead| {
            let limits = lan().for_answers(answers, ahead);
            (limits.stream_window, limits.connection_window)
        };
        assert_eq!(windows(1000, 0), (MIB, 2 * MIB));
        assert_eq!(windows(8 << 20, 0), (9 * MIB, 18 * MIB));
        assert_eq!(windows(8 << 20, 5), (9 * MIB, lan().connection_window));
        assert_eq!(windows(1 << 30, 0), (lan().stream_window, lan().connection_window));
        let small = TransportLimits { stream_window: MIB / 2, connection_window: MIB / 4, ..lan() };
        assert_eq!(small.clone().for_answers(1 << 20, 0), small, "what a person has set is not exceeded");
    }
}
