//! The device's store of keys: each is wiped from the file before it is used, and none is used twice.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twinmask_codec::{Part, packed_parts_len};
use twinmask_model::bundle::{Digest, short};
use twinmask_model::plan::Plan;
use twinmask_ring::pack;

const MAGIC: [u8; 8] = *b"ONETIME1";
const HEAD: usize = 56;

/// What a key file begins with.
pub(super) struct Head {
    /// Of the model that the keys are for.
    pub(super) digest: Digest,
    /// Keys that were made.
    pub(super) issued: u64,
    /// Keys that were taken, from the first.
    pub(super) used: u64,
}

impl Head {
    pub(super) fn bytes(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[..8].copy_from_slice(&MAGIC);
        out[8..40].copy_from_slice(&self.digest);
        out[40..48].copy_from_slice(&self.issued.to_le_bytes());
        out[48..].copy_from_slice(&self.used.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let digest = bytes[8..40].try_into().ok()?;
        (bytes[..8] == MAGIC).then_some(Self { digest, issued: number(40)?, used: number(48)? })
    }
}

/// The pair of one request. Neither cloned nor printed; consumed by the inference that uses it.
pub struct RequestKey {
    /// By group, uniform in its ring.
    pub(super) s_in: Vec<Vec<u32>>,
    /// By layer, `W·S_in`.
    pub(super) s_out: Vec<Vec<u32>>,
}

impl Drop for RequestKey {
    fn drop(&mut self) {
        self.s_in.iter_mut().chain(&mut self.s_out).for_each(|part| part.fill(0));
    }
}

impl RequestKey {
    /// Bytes of a request's pair for `plan`.
    #[must_use]
    pub fn packed_len(plan: &Plan) -> usize {
        packed_parts_len(&parts(plan))
    }

    pub(super) fn pack(&self, plan: &Plan, out: &mut Vec<u8>) {
        for (elements, part) in self.s_in.iter().chain(&self.s_out).zip(parts(plan)) {
            pack::pack(elements, part.bits, out);
        }
    }

    fn unpack(plan: &Plan, mut bytes: &[u8]) -> Option<Self> {
        let mut all = Vec::new();
        for part in parts(plan) {
            let (own, rest) = bytes.split_at_checked(part.packed_len())?;
            let mut elements = vec![0; part.len];
            pack::unpack(own, part.bits, &mut elements).ok()?;
            all.push(elements);
            bytes = rest;
        }
        let s_out = all.split_off(plan.groups().len());
        bytes.is_empty().then_some(Self { s_in: all, s_out })
    }
}

/// The groups' inputs, then the layers' outputs.
fn parts(plan: &Plan) -> Vec<Part> {
    let groups = plan.groups().iter().map(|g| Part { len: g.in_len(), bits: g.k() });
    groups.chain(plan.layer_ids().map(|l| plan.answer_part(l))).collect()
}

/// Why there is no key.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// All keys of the file were used.
    Exhausted {
        /// The file.
        path: PathBuf,
        /// Keys that it held.
        issued: u64,
    },
    /// The file's keys belong to another model, or another version of it.
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Its model's digest, shortened.
        found: String,
        /// The one that the device has.
        expected: String,
    },
    /// The file is no key file, or was cut.
    Malformed(PathBuf),
    /// The file cannot be read or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { path, issued } => write!(
                f,
                "{}: all {issued} one-time keys are used; the device can infer nothing until the owner has issued more",
                path.display()
            ),
            Self::OtherModel { path, found, expected } => write!(
                f,
                "{}: keys for the model {found}, the device has {expected}: after an update of the model all keys \
                 that are left are void, ask the owner for new ones",
                path.display()
            ),
            Self::Malformed(path) => write!(f, "{}: no file of one-time keys, or cut short", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// A file of keys, open for consumption by one device at a time.
pub struct KeyStore {
    file: File,
    path: PathBuf,
    head: Head,
    record: usize,
}

impl KeyStore {
    /// Opens the key file at `path` for the model of `plan` and `digest`, locked against a second user.
    ///
    /// # Errors
    /// [`KeyError`] but [`KeyError::Exhausted`].
    pub fn open(path: &Path, plan: &Plan, digest: &Digest) -> Result<Self, KeyError> {
        let io = |e| KeyError::Io(path.to_owned(), e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        file.try_lock().map_err(|e| io(e.into()))?;
        let (len, mut bytes) = (file.metadata().map_err(io)?.len(), [0; HEAD]);
        let malformed = || KeyError::Malformed(path.to_owned());
        if len < HEAD as u64 {
            return Err(malformed());
        }
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let head = Head::parse(&bytes).ok_or_else(malformed)?;
        if head.digest != *digest {
            let (found, expected) = (short(&head.digest), short(digest));
            return Err(KeyError::OtherModel { path: path.to_owned(), found, expected });
        }
        let record = RequestKey::packed_len(plan);
        let expected = (record as u64).checked_mul(head.issued).and_then(|n| n.checked_add(HEAD as u64));
        if expected != Some(len) || head.used > head.issued {
            return Err(malformed());
        }
        Ok(Self { file, path: path.to_owned(), head, record })
    }

    /// Requests that can still be made.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.head.issued - self.head.used
    }

    /// Takes the next key out of the file: on disk it is burnt and overwritten before it is given, so that no crash
    /// makes it be used twice.
    ///
    /// # Errors
    /// [`KeyError::Exhausted`] when none is left, [`KeyError::Io`].
    pub fn take(&mut self, plan: &Plan) -> Result<RequestKey, KeyError> {
        if self.left() == 0 {
            return Err(KeyError::Exhausted { path: self.path.clone(), issued: self.head.issued });
        }
        let at = HEAD as u64 + self.head.used * self.record as u64;
        let mut record = vec![0; self.record];
        self.file.read_exact_at(&mut record, at).map_err(|e| self.io(e))?;
        let key = RequestKey::unpack(plan, &record);
        self.head.used += 1;
        self.file.write_all_at(&self.head.bytes(), 0).map_err(|e| self.io(e))?;
        record.fill(0);
        self.file.write_all_at(&record, at).map_err(|e| self.io(e))?;
        self.file.sync_data().map_err(|e| self.io(e))?;
        key.ok_or_else(|| KeyError::Malformed(self.path.clone()))
    }

    fn io(&self, error: io::Error) -> KeyError {
        KeyError::Io(self.path.clone(), error)
    }
}
