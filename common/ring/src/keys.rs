//! What the keys of a session's masks come from (PROTOCOL.md, "Keys"): a key that the owner gave device and edge A, so
//! that a broken TLS alone shows nothing, the device's seed, and edge A's nonce.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::prf::{Algorithm, Key};

/// The version in the context of every key of a session; a new one gives keys that have nothing to do with the old.
const VERSION: u32 = 2;

/// 256 secret bits that the owner hands out: the master key of edge A, or what comes of it for one certificate of one
/// device. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MaskKey([u8; 32]);

impl MaskKey {
    /// Of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of the certificate `serial` (big-endian, without leading zeros) of the device `name`, from edge A's
    /// master key. The serial number is the key's generation: a name that is issued anew gets another key.
    #[must_use]
    pub fn of_device(&self, name: &str, serial: &[u8]) -> Self {
        let length = name.len() as u64;
        Self(digest("K_A", &[&self.0, &length.to_le_bytes(), name.as_bytes(), serial]))
    }

    /// The bytes, for the file that they are kept in and for nothing else.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

/// What all keys of one session come from: known to the device and edge A. Wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys([u8; 96]);

impl SessionKeys {
    /// From the key that the two share, the device's seed and edge A's nonce.
    #[must_use]
    pub fn new(key: &MaskKey, seed: &[u8; 32], nonce: &[u8; 32]) -> Self {
        let mut ikm = [0; 96];
        for (to, from) in ikm.chunks_exact_mut(32).zip([&key.0, seed, nonce]) {
            to.copy_from_slice(from);
        }
        Self(ikm)
    }

    /// Key of the masks `R` of inference `counter`; the stream id is the group.
    #[must_use]
    pub fn masks(&self, algorithm: Algorithm, counter: u64) -> Key {
        self.derive("R", algorithm, counter)
    }

    /// Key of the masks `T` of what edge A computes; the stream id is the layer.
    #[must_use]
    pub fn answers(&self, algorithm: Algorithm, counter: u64) -> Key {
        self.derive("T", algorithm, counter)
    }

    /// What edge A shows the device to prove that it has the same keys; tells nothing else about them.
    #[must_use]
    pub fn proof(&self) -> [u8; 32] {
        digest("proof", &[&self.0])
    }

    fn derive(&self, label: &str, algorithm: Algorithm, counter: u64) -> Key {
        let label = format!("{label} {}", algorithm.label());
        Key::new(algorithm, digest(&label, &[&self.0, &counter.to_le_bytes()]))
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// `BLAKE3.derive_key("twinmask/2 " + label, parts[0] ‖ parts[1] ‖ ...)`.
fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("twinmask/{VERSION} {label}"));
    for part in parts {
        hasher.update(part);
    }
    let digest = *hasher.finalize().as_bytes();
    hasher.zeroize();
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// `vectors/check.py` computes the same with other people's code.
    #[test]
    fn vectors() {
        let key = MaskKey::new([1; 32]).of_device("cam-1", &[0x40, 5]);
        let keys = SessionKeys::new(&key, &[7; 32], &[9; 32]);
        let mut found = format!("{}\n{}\n", hex(key.expose()), hex(&keys.proof()));
        for algorithm in [Algorithm::ChaCha20, Algorithm::Aes128] {
            for key in [keys.masks(algorithm, 5), keys.answers(algorithm, 5)] {
                let words = key.elements(3, 32, 4);
                found.extend(words.iter().map(|w| format!("{w:08x}")));
                found.push('\n');
            }
        }
        assert_eq!(found, include_str!("../vectors/session.txt"));
    }

    /// Whatever a key is made of makes another one.
    #[test]
    fn every_part_goes_into_every_key() {
        let device = |master: u8, name: &str, serial: &[u8]| MaskKey::new([master; 32]).of_device(name, serial);
        let base = device(1, "cam", &[1, 2]);
        let others = [
            device(2, "cam", &[1, 2]),
            device(1, "can", &[1, 2]),
            device(1, "cam", &[1, 3]),
            device(1, "ca", &[b'm', 1, 2]),
            device(1, "cam\u{1}", &[2]),
        ];
        assert!(others.iter().all(|other| other.expose() != base.expose()));
        let first = |keys: &SessionKeys| {
            let of = |key: Key| key.elements(0, 32, 4);
            let (chacha, aes) = (Algorithm::ChaCha20, Algorithm::Aes128);
            let proof: Vec<u32> =
                keys.proof()[..16].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            [
                of(keys.masks(chacha, 0)),
                of(keys.masks(aes, 0)),
                of(keys.masks(chacha, 1)),
                of(keys.answers(chacha, 0)),
                of(keys.answers(aes, 0)),
                of(keys.answers(chacha, 1)),
                proof,
            ]
        };
        let session = |key: &MaskKey, seed, nonce| first(&SessionKeys::new(key, &[seed; 32], &[nonce; 32]));
        let all = [session(&base, 3, 4), session(&others[0], 3, 4), session(&base, 5, 4), session(&base, 3, 5)];
        let all: Vec<_> = all.into_iter().flatten().collect();
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(session(&base, 3, 4), all[..7]);
    }

    #[test]
    fn nothing_is_printed() {
        let key = MaskKey::new([0x5e; 32]);
        assert_eq!(format!("{key:?} {:?}", SessionKeys::new(&key, &[1; 32], &[2; 32])), "MaskKey(..) SessionKeys(..)");
    }
}
