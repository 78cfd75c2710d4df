//! Bodies of the frames (PROTOCOL.md, "Wire").

use serde::{Deserialize, Serialize};
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
}

/// `CLAIM`, device to edge A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Counter of the inference.
    pub counter: u64,
}

/// `CLAIMED`, edge A to device: no share of this counter leaves before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Counter that is granted.
    pub counter: u64,
}

/// `INFER`: the first frame of an inference's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infer {
    /// Counter of the inference.
    pub counter: u64,
    /// Whether answers carry all k bits (no dropped bits).
    pub exact: bool,
}

/// `ROUND`, device to edge B; the payload holds the round's shares, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Number of the round.
    pub round: u32,
}

/// `ANSWER`, edge to device; the payload holds the answers of the round's layers, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the round.
    pub round: u32,
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
        };
        let text = format!("{open:?}");
        assert!(text.contains("Secret(..)") && !text.contains("94"), "{text}");
    }
}
