//! The bundle container: a signed table of contents in front of zstd-compressed sections.
//!
//! ```text
//! "TWMB" | version u16 | kind u8 | 0 u8 | table length u32 | table (bincode) | ed25519 signature (64) | sections
//! ```
//! The digest is BLAKE3 over everything before the signature; the table holds length and BLAKE3 of each section as
//! stored, so the signature over the digest covers the whole file. A reader checks, in this order: magic and
//! version, signature, lengths, section hashes; only then is anything decompressed, within the signed length.

use std::cmp::Ordering;

use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use twinmask_codec as codec;

const MAGIC: &[u8; 4] = b"TWMB";
/// Format of the bundles that this program writes and reads.
pub const VERSION: u16 = 2;
const FIXED: usize = 12;
const SIGNATURE: usize = 64;
const MAX_TABLE: usize = 1 << 20;
/// Most bytes that a section may decompress to.
const MAX_SECTION: u64 = 4 << 30;
const CONTEXT: &[u8] = b"twinmask/1 bundle";

/// What a bundle is for; a bundle of another kind is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Plan and integer weights, for the edges.
    Edge = 1,
    /// Device graph without keys, kept by the owner.
    Model = 2,
    /// Device graph with one device's keys.
    Device = 3,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self {
            Self::Edge => "for an edge",
            Self::Model => "kept by the owner",
            Self::Device => "for a device",
        };
        write!(f, "{}, {what}", *self as u8)
    }
}

/// How a section is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// As it is: masks and keys do not compress.
    Plain,
    /// zstd.
    Zstd,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    storage: Storage,
    stored: u64,
    length: u64,
    hash: [u8; 32],
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Not a bundle at all.
    #[error("is no twinmask bundle")]
    Magic,
    /// A bundle of a newer format.
    #[error("is a bundle of format {0}; this program reads format {VERSION}: install the matching release")]
    Newer(u16),
    /// A bundle of an older format.
    #[error(
        "is a bundle of format {0}; this program reads format {VERSION}: \
         issue it anew with this version's owner-keygen add-model / add-device"
    )]
    Older(u16),
    /// A bundle of another kind.
    #[error("is not a bundle for this purpose (kind {found}, expected {expected}): was it copied to the wrong place?")]
    Kind {
        /// Kind byte found.
        found: u8,
        /// Kind that was asked for.
        expected: Kind,
    },
    /// The signature does not verify.
    #[error("is not signed by this owner, or was changed: copy it again from the owner's folder")]
    Signature,
    /// Truncated, or lengths and hashes do not fit.
    #[error("is damaged ({0}): copy it again from the owner's folder")]
    Damaged(&'static str),
    /// A section that the format demands is missing or malformed.
    #[error("section '{section}' is missing or malformed: {reason}")]
    Section {
        /// Section name.
        section: String,
        /// What is wrong.
        reason: String,
    },
}

/// Builds a bundle. Sections may be secret: they are copied once, into what [`finish`](Self::finish) gives, and wiped.
pub struct Writer {
    kind: Kind,
    entries: Vec<Entry>,
    sections: Vec<Zeroizing<Vec<u8>>>,
}

impl Writer {
    /// An empty bundle.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, entries: Vec::new(), sections: Vec::new() }
    }

    /// Appends a section.
    ///
    /// # Panics
    /// If zstd runs out of memory.
    pub fn section(&mut self, name: impl Into<String>, storage: Storage, bytes: &[u8]) {
        let stored = Zeroizing::new(match storage {
            Storage::Plain => bytes.to_vec(),
            Storage::Zstd => zstd::bulk::compress(bytes, 3).expect("zstd compresses into memory"),
        });
        self.entries.push(Entry {
            name: name.into(),
            storage,
            stored: stored.len() as u64,
            length: bytes.len() as u64,
            hash: *blake3::hash(&stored).as_bytes(),
        });
        self.sections.push(stored);
    }

    /// The signed bundle and its digest.
    #[must_use]
    pub fn finish(self, owner: &Ed25519KeyPair) -> (Vec<u8>, [u8; 32]) {
        let table = codec::encode(&self.entries);
        let body: usize = self.sections.iter().map(|s| s.len()).sum();
        // As large as it gets: growing would leave copies behind.
        let mut out = Vec::with_capacity(FIXED + table.len() + SIGNATURE + body);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&(table.len() as u32).to_le_bytes());
        out.extend_from_slice(&table);
        let digest = *blake3::hash(&out).as_bytes();
        out.extend_from_slice(owner.sign(&[CONTEXT, &digest].concat()).as_ref());
        self.sections.iter().for_each(|section| out.extend_from_slice(section));
        (out, digest)
    }
}

/// A verified bundle.
pub struct Reader<'a> {
    digest: [u8; 32],
    entries: Vec<Entry>,
    body: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Verifies `bytes` as a bundle of `kind` signed by `owner` (ed25519 public key).
    ///
    /// # Errors
    /// [`ContainerError`]; nothing of the content is looked at before the signature holds.
    pub fn open(bytes: &'a [u8], kind: Kind, owner: &[u8; 32]) -> Result<Self, ContainerError> {
        let fixed = bytes.get(..FIXED).ok_or(ContainerError::Magic)?;
        if &fixed[..4] != MAGIC {
            return Err(ContainerError::Magic);
        }
        let version = u16::from_le_bytes([fixed[4], fixed[5]]);
        match version.cmp(&VERSION) {
            Ordering::Less => return Err(ContainerError::Older(version)),
            Ordering::Equal => {}
            Ordering::Greater => return Err(ContainerError::Newer(version)),
        }
        let table_len = u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]) as usize;
        if table_len > MAX_TABLE {
            return Err(ContainerError::Damaged("oversized table of contents"));
        }
        let signed = bytes.get(..FIXED + table_len).ok_or(ContainerError::Damaged("truncated"))?;
        let signature = bytes[signed.len()..].get(..SIGNATURE).ok_or(ContainerError::Damaged("truncated"))?;
        let digest = *blake3::hash(signed).as_bytes();
        UnparsedPublicKey::new(&ED25519, owner)
            .verify(&[CONTEXT, &digest].concat(), signature)
            .map_err(|_| ContainerError::Signature)?;
        if fixed[6] != kind as u8 {
            return Err(ContainerError::Kind { found: fixed[6], expected: kind });
        }
        let entries: Vec<Entry> = codec::decode::<_, { 4 * MAX_TABLE }>(&signed[FIXED..])
            .map_err(|_| ContainerError::Damaged("unreadable table of contents"))?;
        let body = &bytes[signed.len() + SIGNATURE..];
        check_sections(&entries, body)?;
        Ok(Self { digest, entries, body })
    }

    /// BLAKE3 digest that identifies the bundle.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Names of all sections, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|e| e.name.as_str())
    }

    /// Content of the section `name`, which may be secret.
    ///
    /// # Errors
    /// When it is missing or does not decompress to its signed length.
    pub fn section(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
        let fail = |reason: &str| ContainerError::Section { section: name.into(), reason: reason.into() };
        let mut at = 0usize;
        for entry in &self.entries {
            let stored = &self.body[at..at + entry.stored as usize];
            at += stored.len();
            if entry.name != name {
                continue;
            }
            let bytes = Zeroizing::new(match entry.storage {
                Storage::Plain => stored.to_vec(),
                Storage::Zstd => {
                    zstd::bulk::decompress(stored, entry.length as usize).map_err(|_| fail("does not decompress"))?
                }
            });
            return if bytes.len() as u64 == entry.length { Ok(bytes) } else { Err(fail("has the wrong length")) };
        }
        Err(fail("is not there"))
    }

    /// The section `name`, decoded within `LIMIT` bytes of memory.
    ///
    /// # Errors
    /// When it is missing or no encoding of a `T`.
    pub fn decode<T: serde::de::DeserializeOwned, const LIMIT: usize>(&self, name: &str) -> Result<T, ContainerError> {
        codec::decode::<T, LIMIT>(&self.section(name)?)
            .map_err(|e| ContainerError::Section { section: name.into(), reason: e.to_string() })
    }
}

fn check_sections(entries: &[Entry], body: &[u8]) -> Result<(), ContainerError> {
    let mut rest = body;
    for entry in entries {
        if entry.stored > rest.len() as u64 {
            return Err(ContainerError::Damaged("truncated"));
        }
        let (stored, behind) = rest.split_at(entry.stored as usize);
        if *blake3::hash(stored).as_bytes() != entry.hash {
            return Err(ContainerError::Damaged("content does not match its hash"));
        }
        if entry.length > MAX_SECTION {
            return Err(ContainerError::Damaged("oversized section"));
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(ContainerError::Damaged("bytes behind the last section")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::KeyPair;

    fn owner(seed: u8) -> (Ed25519KeyPair, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("seed of 32 bytes");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, public)
    }

    fn sample() -> Vec<u8> {
        let mut w = Writer::new(Kind::Edge);
        w.section("a", Storage::Zstd, &[7; 1000]);
        w.section("b", Storage::Plain, b"plain");
        w.finish(&owner(1).0).0
    }

    #[test]
    fn round_trip() {
        let bytes = sample();
        let reader = Reader::open(&bytes, Kind::Edge, &owner(1).1).expect("own bundle");
        assert_eq!(*reader.section("a").expect("there"), [7; 1000]);
        assert_eq!(*reader.section("b").expect("there"), b"plain");
        assert!(reader.section("c").is_err());
        assert!(bytes.len() < 600, "compressed");
        assert_eq!(sample(), bytes, "deterministic");
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused() {
        let bytes = sample();
        let key = owner(1).1;
        for n in 0..bytes.len() {
            assert!(Reader::open(&bytes[..n], Kind::Edge, &key).is_err(), "truncated to {n}");
            let mut flipped = bytes.clone();
            flipped[n] ^= 0x40;
            assert!(Reader::open(&flipped, Kind::Edge, &key).is_err(), "byte {n} flipped");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Reader::open(&longer, Kind::Edge, &key), Err(ContainerError::Damaged(_))));
    }

    #[test]
    fn another_owner_or_kind_is_refused() {
        let bytes = sample();
        assert!(matches!(Reader::open(&bytes, Kind::Edge, &owner(2).1), Err(ContainerError::Signature)));
        let error = Reader::open(&bytes, Kind::Device, &owner(1).1).map(drop).expect_err("a bundle for an edge");
        assert!(matches!(error, ContainerError::Kind { found: 1, .. }));
        assert!(error.to_string().contains("(kind 1, expected 3, for a device)"), "{error}");
    }
}
