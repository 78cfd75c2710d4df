//! From quinn's errors to ours.

use quinn::{ConnectionError, TransportErrorCode};
use twinmask_wire::printable;

use crate::error::{CloseReason, TransportError};

/// Why there is no connection to (client) or from (server) `address`.
pub(crate) fn handshake_error(address: &str, error: ConnectionError, unanswered: TransportError) -> TransportError {
    let address = address.to_owned();
    let code = match &error {
        ConnectionError::TimedOut => return unanswered,
        ConnectionError::VersionMismatch => return TransportError::Version { address },
        ConnectionError::ConnectionClosed(frame) => Some(frame.error_code),
        ConnectionError::TransportError(error) => Some(error.code),
        _ => None,
    };
    if code.and_then(alert).is_some_and(|alert| ALERTS_OF_OTHER_VERSIONS.contains(&alert)) {
        return TransportError::Version { address };
    }
    if let (ConnectionError::ConnectionClosed(_), Some(TransportErrorCode::CONNECTION_REFUSED)) = (&error, code) {
        return TransportError::Busy { address };
    }
    match close_reason(error) {
        CloseReason::RefusedUs(reason) => TransportError::RefusedUs { address, reason },
        reason => TransportError::Closed { address, reason },
    }
}

/// How an established connection ended.
pub(crate) fn close_reason(error: ConnectionError) -> CloseReason {
    match error {
        ConnectionError::ApplicationClosed(frame) => CloseReason::Peer {
            code: code_u32(frame.error_code),
            text: printable(&String::from_utf8_lossy(&frame.reason)),
        },
        ConnectionError::LocallyClosed => CloseReason::Local,
        ConnectionError::TimedOut => CloseReason::TimedOut,
        ConnectionError::Reset => CloseReason::Restarted,
        ConnectionError::ConnectionClosed(frame) => match alert(frame.error_code).and_then(refusal) {
            Some(reason) => CloseReason::RefusedUs(reason),
            None => CloseReason::Failed(printable(&frame.to_string())),
        },
        other => CloseReason::Failed(printable(&other.to_string())),
    }
}

/// Application codes are u32 in this project; a larger one of a foreign peer is shown as the largest.
pub(crate) fn code_u32(code: quinn::VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

/// No application protocol in common, or no key exchange (handshake_failure): wire version 1 had another one.
const ALERTS_OF_OTHER_VERSIONS: [u8; 2] = [120, 40];

/// The TLS alert inside a QUIC error code (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

/// What the peer's TLS alert says about our certificate (RFC 8446, section 6.2); `None` for alerts about other things.
fn refusal(alert: u8) -> Option<&'static str> {
    Some(match alert {
        42 | 43 | 46 => "it is malformed or not meant for this use",
        44 => "it was revoked by the owner",
        45 => "it has expired or is not valid yet by the peer's clock",
        48 | 51 => "it was not issued by the owner of the peer: the two belong to different deployments",
        49 => "its role has no business there, or both ends hold the same key",
        116 => "none was sent",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_found_in_quic_codes_only_where_they_are() {
        assert_eq!(alert(TransportErrorCode::crypto(48)), Some(48));
        assert_eq!(alert(TransportErrorCode::CONNECTION_REFUSED), None);
        assert!(refusal(48).is_some() && refusal(40).is_none());
    }
}
