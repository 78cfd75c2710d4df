//! Bounds on clients that are not yet authenticated.

use serde::{Deserialize, Serialize};

use crate::range::OutOfRange;

/// What a server gives to clients before they have shown a certificate of the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Handshakes at a time. A quarter of them are for clients that have not proven their address; further ones first
    /// have to (QUIC Retry).
    pub at_a_time: usize,
    /// Handshakes at a time of one block of addresses.
    pub per_block: usize,
    /// Handshakes of one block that may fail per second; those that succeed are free.
    pub failures_per_s: u32,
    /// The same, at once.
    pub failures_burst: u32,
    /// Bits of an IPv4 address that say which block it is in, at most 32.
    pub ipv4_prefix: u8,
    /// The same of an IPv6 address, at most 128.
    pub ipv6_prefix: u8,
    /// Time a client has for its handshake, ms.
    pub timeout_ms: u32,
}

impl HandshakeLimits {
    /// What holds where nobody says anything.
    pub const DEFAULT: HandshakeLimits = HandshakeLimits {
        at_a_time: 32,
        per_block: 8,
        failures_per_s: 4,
        failures_burst: 16,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        timeout_ms: 5000,
    };
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Those that a person sets: the table `[handshakes]` of an edge's configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeOverrides {
    at_a_time: Option<u32>,
    per_block: Option<u32>,
    failures_per_s: Option<u32>,
    failures_burst: Option<u32>,
    ipv4_prefix: Option<u32>,
    ipv6_prefix: Option<u32>,
    timeout_ms: Option<u32>,
}

impl HandshakeOverrides {
    /// `limits` with these fields.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn apply(&self, limits: HandshakeLimits) -> Result<HandshakeLimits, OutOfRange> {
        let field = |name: &'static str, value: Option<u32>, default: u32, least: u32, most: u32| {
            OutOfRange::check("handshakes", name, value.unwrap_or(default), least, most)
        };
        let (total, block) = (limits.at_a_time as u32, limits.per_block as u32);
        let prefix = |name, value, default: u8, most: u8| {
            field(name, value, default.into(), 0, most.into()).map(|bits| bits.min(most.into()) as u8)
        };
        Ok(HandshakeLimits {
            at_a_time: field("at_a_time", self.at_a_time, total, 4, 65_536)? as usize,
            per_block: field("per_block", self.per_block, block, 1, 65_536)? as usize,
            failures_per_s: field("failures_per_s", self.failures_per_s, limits.failures_per_s, 1, 1_000_000)?,
            failures_burst: field("failures_burst", self.failures_burst, limits.failures_burst, 1, 1_000_000)?,
            ipv4_prefix: prefix("ipv4_prefix", self.ipv4_prefix, limits.ipv4_prefix, 32)?,
            ipv6_prefix: prefix("ipv6_prefix", self.ipv6_prefix, limits.ipv6_prefix, 128)?,
            timeout_ms: field("timeout_ms", self.timeout_ms, limits.timeout_ms, 100, 60_000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_applied_and_held_to_their_ranges() {
        let default = HandshakeLimits::DEFAULT;
        assert_eq!(HandshakeOverrides::default().apply(default), Ok(default));
        let nat = HandshakeOverrides { per_block: Some(20), ipv4_prefix: Some(24), ..Default::default() };
        assert_eq!(nat.apply(default), Ok(HandshakeLimits { per_block: 20, ipv4_prefix: 24, ..default }));
        for (wrong, name) in [
            (HandshakeOverrides { ipv4_prefix: Some(33), ..Default::default() }, "ipv4_prefix is 33"),
            (HandshakeOverrides { at_a_time: Some(0), ..Default::default() }, "at_a_time is 0"),
            (HandshakeOverrides { failures_per_s: Some(0), ..Default::default() }, "[handshakes] failures_per_s is 0"),
        ] {
            let error = wrong.apply(default).expect_err("out of range").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
