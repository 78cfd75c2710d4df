//! The owner's revocation list, and the memory of a host for the newest one that it has seen.
//!
//! A list that is older than one that this host has seen, or that has gone, would take back what the owner has revoked.
//! Lists are numbered, and a host refuses a number below the greatest it knows: that of the list in memory while it
//! runs, and across restarts that in the file [`SEEN_FILE`] beside the list.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::certificate::{now_s, trimmed};

/// The greatest number of a revocation list that this host has seen, in an identity folder; written by the host itself.
pub const SEEN_FILE: &str = "crl.seen";

/// Longest number of a list, bytes (RFC 5280, section 5.2.3).
const LONGEST: usize = 20;

/// The number of a revocation list; the owner's numbers grow.
#[derive(Clone, PartialEq, Eq)]
pub struct ListNumber(Vec<u8>);

impl ListNumber {
    fn of(big_endian: &[u8]) -> Option<ListNumber> {
        let number = trimmed(big_endian);
        (number.len() <= LONGEST).then(|| ListNumber(number.to_vec()))
    }
}

impl PartialOrd for ListNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ListNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl fmt::Display for ListNumber {
    /// Decimal, or hexadecimal beyond 64 bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 8 {
            return write!(f, "{}", self.0.iter().fold(0u64, |n, &byte| n << 8 | u64::from(byte)));
        }
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ListNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListNumber({self})")
    }
}

/// What an identity knows of the owner's revocation list.
#[derive(Debug, Clone)]
pub struct RevocationList {
    number: ListNumber,
    next_update_s: Option<i64>,
    revoked: HashSet<Vec<u8>>,
    pub(crate) unremembered: Option<String>,
}

impl RevocationList {
    /// The list in `pem` and its facts. The signature is the verifiers' to check.
    ///
    /// # Errors
    /// A text that completes "FILE: ...".
    pub(crate) fn read(pem: &[u8]) -> Result<(CertificateRevocationListDer<'static>, RevocationList), String> {
        let lists: Vec<CertificateRevocationListDer<'static>> = CertificateRevocationListDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|e| format!("is no revocation list in PEM ({e})"))?;
        let [der] = <[_; 1]>::try_from(lists).map_err(|lists| match lists.len() {
            0 => "holds no revocation list".to_owned(),
            n => format!("holds {n} revocation lists, of which one would count"),
        })?;
        let (_, list) = CertificateRevocationList::from_der(&der)
            .map_err(|e| format!("the revocation list cannot be parsed: {e}"))?;
        let number = list.crl_number().and_then(|n| ListNumber::of(&n.to_bytes_be()));
        let facts = RevocationList {
            number: number.ok_or("the revocation list has no number, so nobody can tell an older one")?,
            next_update_s: list.next_update().map(|time| time.timestamp()),
            revoked: list.iter_revoked_certificates().map(|r| trimmed(r.raw_serial()).to_vec()).collect(),
            unremembered: None,
        };
        Ok((der, facts))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> &ListNumber {
        &self.number
    }

    /// When the owner meant to have issued the next one, seconds since 1970.
    #[must_use]
    pub fn next_update_s(&self) -> Option<i64> {
        self.next_update_s
    }

    /// Whether that time has passed by this machine's clock: the list still counts, and a newer one is missing.
    #[must_use]
    pub fn is_out_of_date(&self) -> bool {
        self.next_update_s.is_some_and(|next| now_s() > next)
    }

    /// Certificates on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// Why [`SEEN_FILE`] could not be written, if it could not: an older list is then noticed only while this process
    /// runs.
    #[must_use]
    pub fn unremembered(&self) -> Option<&str> {
        self.unremembered.as_deref()
    }

    pub(crate) fn names(&self, serial: &[u8]) -> bool {
        self.revoked.contains(serial)
    }
}

/// The greatest number that this host has seen of the lists of a CA, and which CA that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    number: ListNumber,
    ca: [u8; 32],
}

impl Seen {
    pub(crate) fn new(number: ListNumber, ca: &[CertificateDer<'_>]) -> Seen {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        ca.iter().for_each(|certificate| hash.update(certificate));
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        Seen { number, ca: digest }
    }

    /// The number, if it is of that CA: another owner's numbers say nothing.
    pub(crate) fn number_of(self, ca: &[CertificateDer<'_>]) -> Option<ListNumber> {
        (Seen::new(self.number.clone(), ca) == self).then_some(self.number)
    }

    /// What stands in the file `bytes`; `None` if it is something else.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Seen> {
        let mut words = str::from_utf8(bytes).ok()?.split_ascii_whitespace();
        let (number, ca) = (words.next()?, words.next()?);
        let ca = hex_bytes(ca)?.try_into().ok()?;
        let number = ListNumber::of(&hex_bytes(number)?)?;
        words.next().is_none().then_some(Seen { number, ca })
    }

    /// Writes it to the file [`SEEN_FILE`] in `dir`: to a temporary name, synced, renamed.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let number = if self.number.0.is_empty() { "00".to_owned() } else { hex(&self.number.0) };
        let temporary = dir.join(format!(".{SEEN_FILE}.{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let filled = options.open(&temporary).and_then(|mut file| {
            writeln!(file, "{number} {}", hex(&self.ca))?;
            file.sync_all()
        });
        let written = filled.and_then(|()| fs::rename(&temporary, dir.join(SEEN_FILE)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> ListNumber {
        ListNumber::of(bytes).expect("short enough")
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let ascending = [&[][..], &[1], &[0xff], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0]].map(number);
        assert!(ascending.is_sorted());
        assert_eq!(number(&[0, 0, 7]), number(&[7]));
        assert_eq!(
            (number(&[1, 0]).to_string(), number(&[1; 9]).to_string()),
            ("256".into(), "0x".to_owned() + &"01".repeat(9))
        );
        assert!(ListNumber::of(&[1; 21]).is_none());
    }

    #[test]
    fn what_was_seen_comes_back_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (ca, other) = ([CertificateDer::from(vec![1; 40])], [CertificateDer::from(vec![2; 40])]);
        for n in [number(&[]), number(&[9]), number(&[0xab; 20])] {
            let seen = Seen::new(n.clone(), &ca);
            seen.write(dir.path()).expect("writes");
            let bytes = fs::read(dir.path().join(SEEN_FILE)).expect("reads");
            let read = Seen::parse(&bytes).expect("its own");
            assert_eq!(read, seen);
            assert_eq!((read.clone().number_of(&ca), read.number_of(&other)), (Some(n), None));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 1);
        let ca = "00".repeat(32);
        for bad in ["", "7", "7 8", &format!("7 {ca}"), &format!("07 {ca} x"), &format!("zz {ca}"), "\u{fe}"] {
            assert_eq!(Seen::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
