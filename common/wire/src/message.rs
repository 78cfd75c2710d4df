//! Bodies of the frames (PROTOCOL.md, "Wire").

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use twinmask_codec::{Counter, RoundId};
use twinmask_ring::prf::Algorithm;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::payload::CodecChoice;

/// 256 secret bits on their way to one peer; wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// PRFs that R may come from, by the names of PROTOCOL.md, "Keys".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prf {
    /// ChaCha20; every device and edge has it.
    ChaCha20,
    /// AES-128-CTR, where both sides have its instructions.
    Aes128,
}

impl Prf {
    /// PRFs that this host computes well, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let named = |a: Algorithm| match a {
            Algorithm::ChaCha20 => Self::ChaCha20,
            Algorithm::Aes128 => Self::Aes128,
        };
        Algorithm::available().into_iter().map(named).collect()
    }

    /// The first of `offered` that this host computes well.
    #[must_use]
    pub fn pick(offered: &[Self]) -> Option<Self> {
        let own = Self::available();
        offered.iter().copied().find(|p| own.contains(p))
    }

    /// The algorithm itself.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::ChaCha20 => Algorithm::ChaCha20,
            Self::Aes128 => Algorithm::Aes128,
        }
    }
}

impl std::fmt::Display for Prf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ChaCha20 => "chacha20",
            Self::Aes128 => "aes128",
        })
    }
}

/// `OPEN`: the first frame of a session, device to edge, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Random id of the session, the same at both edges.
    pub session: [u8; 16],
    /// Digest of the model.
    pub digest: [u8; 32],
    /// Mask seed; to edge A only, an edge B that gets one refuses the session.
    pub seed: Option<Secret>,
    /// PRFs that the device has, best first.
    pub prfs: Vec<Prf>,
    /// How the device wants answers encoded.
    pub codec: CodecChoice,
    /// Random ticket by which edge B knows edge A's introduction; present when the device wants mode `relay`.
    pub ticket: Option<Secret>,
}

/// `OPENED`: the edge's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// PRF that edge A picked.
    pub prf: Prf,
    /// Inferences that the session may have in flight.
    pub max_in_flight: u16,
    /// Kernel that the edge computes with, for reports.
    pub kernel: String,
    /// Whether the edges are connected for this session (mode `relay`), as far as this edge knows.
    pub relay: bool,
}

/// `CLAIM`, device to edge A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Counter of the inference.
    pub counter: Counter,
}

/// `CLAIMED`, edge A to device: no share of this counter leaves before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Counter that is granted.
    pub counter: Counter,
}

/// `INFER`: the first frame of an inference's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infer {
    /// Counter of the inference.
    pub counter: Counter,
    /// Whether answers carry all k bits (no dropped bits).
    pub exact: bool,
    /// Whether edge B answers for both (mode `relay`).
    pub relay: bool,
}

/// `ROUND`, device to edge B; the payload holds the round's shares, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Number of the round.
    pub round: RoundId,
}

/// `ANSWER`, edge to device; the payload holds the answers of the round's layers, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the round.
    pub round: RoundId,
    /// Time that the edge computed, in microseconds.
    pub compute_us: u32,
    /// Time that the work waited for a compute thread, in microseconds.
    pub queue_us: u32,
}

/// `END`, device to edge: nothing more comes on this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {}

/// `BUSY`, edge to device: the inference was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// When to try again, in milliseconds from now.
    pub retry_after_ms: u32,
}

/// `PREFETCH`, device to edge A: send the answers of this inference before it is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefetch {
    /// Counter of the inference.
    pub counter: Counter,
}

/// `RELAY_OPEN`, edge A to edge B: all four must equal those of B's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayOpen {
    /// Id of the session.
    pub session: [u8; 16],
    /// Device name from edge A's TLS session.
    pub device: String,
    /// Digest of the model.
    pub digest: [u8; 32],
    /// The device's ticket.
    pub ticket: Secret,
}

impl RelayOpen {
    /// Whether this introduces the session that `other` describes; takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let name = self.device.as_bytes().ct_eq(other.device.as_bytes());
        let session = self.session.ct_eq(&other.session);
        let digest = self.digest.ct_eq(&other.digest);
        let ticket = self.ticket.0.ct_eq(&other.ticket.0);
        (name & session & digest & ticket).into()
    }
}

/// `CREDIT`, edge B to edge A: further bytes of packed corrections that B has room for; none says that B has taken back
/// what it granted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Bytes.
    pub bytes: u32,
}

/// `CORR`, edge A to edge B; the payload holds `z_A + T` of the round's layers, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Counter of the inference.
    pub counter: Counter,
    /// Number of the round.
    pub round: RoundId,
}

/// `DROP`, edge A to edge B: this inference needs no corrections any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCorrections {
    /// Counter of the inference.
    pub counter: Counter,
}

/// `REST`, edge A to edge B: the device has begun nothing for a while, so edge B discards the corrections that it holds
/// and takes its credit back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {}

/// `MISS`, edge B to device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// Number of the round.
    pub round: RoundId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_not_printed() {
        let open = Open {
            session: [1; 16],
            digest: [2; 32],
            seed: Some(Secret([0x5e; 32])),
            prfs: vec![Prf::ChaCha20],
            codec: CodecChoice::Auto,
            ticket: Some(Secret([0x5e; 32])),
        };
        let text = format!("{open:?}");
        assert!(text.contains("Secret(..)") && !text.contains("94"), "{text}");
    }

    #[test]
    fn an_introduction_matches_only_as_a_whole() {
        let base = RelayOpen { session: [1; 16], device: "cam".into(), digest: [2; 32], ticket: Secret([3; 32]) };
        assert!(base.matches(&base.clone()));
        let others = [
            RelayOpen { session: [0; 16], ..base.clone() },
            RelayOpen { device: "cam2".into(), ..base.clone() },
            RelayOpen { digest: [0; 32], ..base.clone() },
            RelayOpen { ticket: Secret([0; 32]), ..base.clone() },
        ];
        assert!(others.iter().all(|o| !base.matches(o)));
    }
}
