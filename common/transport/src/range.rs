//! Numbers that people set.

/// A field of [`TransportOverrides`](crate::TransportOverrides) or [`HandshakeOverrides`](crate::HandshakeOverrides)
/// that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("[{table}] {field} is {value}: it must be from {least} to {most}")]
pub struct OutOfRange {
    table: &'static str,
    field: &'static str,
    value: u32,
    least: u32,
    most: u32,
}

impl OutOfRange {
    /// `value`, if it is in its range.
    pub(crate) fn check(
        table: &'static str,
        field: &'static str,
        value: u32,
        least: u32,
        most: u32,
    ) -> Result<u32, OutOfRange> {
        if (least..=most).contains(&value) { Ok(value) } else { Err(OutOfRange { table, field, value, least, most }) }
    }
}
