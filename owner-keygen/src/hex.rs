//! Bytes as hexadecimal digits.

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

/// A key as the one line of `owner.pub`.
#[must_use]
pub(crate) fn hex_line(key: &[u8; 32]) -> String {
    hex(key) + "\n"
}
