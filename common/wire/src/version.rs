//! What this program speaks (PROTOCOL.md, "Wire"). Both ends speak the same version of each, or nothing.

/// Frame version: the byte behind the magic of every frame.
pub const VERSION: u8 = 2;

/// The TLS application protocol: the only version negotiation there is.
pub const ALPN: &str = "twinmask/2";
