//! Bytes as hexadecimal digits.

use zeroize::Zeroizing;

/// `bytes` in lower case.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The bytes that `digits` stand for, if they do.
#[must_use]
pub(crate) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// As [`hex_line`], of a key that is secret.
#[must_use]
pub(crate) fn secret_line(key: &[u8; 32]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(2 * key.len() + 1)); // never grown, which would leave a copy
    line.extend(key.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|d| char::from_digit(d.into(), 16)));
    line.push('\n');
    line
}

/// A key as the one line of `owner.pub`.
#[must_use]
pub(crate) fn hex_line(key: &[u8; 32]) -> String {
    hex(key) + "\n"
}
