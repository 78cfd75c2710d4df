//! Who somebody is: the role that the owner's CA writes into a certificate.

use std::fmt;
use std::str::FromStr;

/// Longest device name, in bytes.
pub const MAX_DEVICE_NAME: usize = 64;

const SCHEME: &str = "twinmask://";

/// The role of one party (PROTOCOL.md, "Parties" and "Wire"), carried in its certificate as a SAN URI:
/// `twinmask://edge-a`, `twinmask://edge-b` or `twinmask://device/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// A device with the name that the owner gave it. Make one with [`Role::device`], which checks the name.
    Device(String),
    /// The mask edge.
    EdgeA,
    /// The data edge.
    EdgeB,
}

/// A role name or role URI that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRole {
    /// The device name breaks the rules.
    #[error(
        "device name \"{name}\" is not allowed: use 1 to {MAX_DEVICE_NAME} letters, digits, '-', '_' or '.', \
         beginning with a letter or digit", name = .0.escape_debug()
    )]
    DeviceName(String),
    /// The text is not a role.
    #[error("\"{}\" is no twinmask role: expected edge-a, edge-b or device/NAME", .0.escape_debug())]
    Unknown(String),
}

impl Role {
    /// The role of the device called `name`.
    ///
    /// # Errors
    /// A name that is empty, longer than [`MAX_DEVICE_NAME`] bytes, or has characters other than ASCII letters, digits,
    /// `-`, `_` and `.`, or does not begin with a letter or digit: names are also folder names.
    pub fn device(name: &str) -> Result<Role, InvalidRole> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let begins_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins_well && name.len() <= MAX_DEVICE_NAME && name.bytes().all(allowed) {
            Ok(Role::Device(name.to_owned()))
        } else {
            Err(InvalidRole::DeviceName(shortened(name)))
        }
    }

    /// The SAN URI of this role, for example `twinmask://device/cam-1`.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{self}")
    }

    /// The role that a SAN URI names; `None` for URIs of other schemes.
    ///
    /// # Errors
    /// A twinmask URI that names no valid role.
    pub fn from_uri(uri: &str) -> Option<Result<Role, InvalidRole>> {
        uri.strip_prefix(SCHEME).map(str::parse)
    }

    /// The DNS SAN that a server with this role carries for the stock TLS verifier; `None` for devices, which never
    /// serve.
    pub fn dns_name(&self) -> Option<&'static str> {
        match self {
            Role::Device(_) => None,
            Role::EdgeA => Some("edge-a.twinmask.internal"),
            Role::EdgeB => Some("edge-b.twinmask.internal"),
        }
    }

    /// Whether a party with this role may open a connection to `server`: devices to both edges, and edge A to edge B
    /// for `relay` (PROTOCOL.md, "One inference, mode `relay`"). Nobody else has any business with anybody.
    pub fn may_dial(&self, server: &Role) -> bool {
        matches!((self, server), (Role::Device(_), Role::EdgeA | Role::EdgeB) | (Role::EdgeA, Role::EdgeB))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Device(name) => write!(f, "device/{name}"),
            Role::EdgeA => f.write_str("edge-a"),
            Role::EdgeB => f.write_str("edge-b"),
        }
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Role, InvalidRole> {
        match text {
            "edge-a" => Ok(Role::EdgeA),
            "edge-b" => Ok(Role::EdgeB),
            _ => match text.strip_prefix("device/") {
                Some(name) => Role::device(name),
                None => Err(InvalidRole::Unknown(shortened(text))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn uris_go_there_and_back() {
        for role in [Role::EdgeA, Role::EdgeB, Role::device("cam-1.v_2").unwrap()] {
            assert_eq!(Role::from_uri(&role.uri()).unwrap().unwrap(), role);
        }
        assert_eq!(Role::device("cam").unwrap().uri(), "twinmask://device/cam");
        assert_eq!(Role::from_uri("https://edge-a"), None);
    }

    #[test]
    fn names_that_are_no_roles_are_refused() {
        for bad in ["", "..", ".hidden", "a/b", "a b", "-x", "ü", "a\0", &"x".repeat(65)] {
            assert!(Role::device(bad).is_err(), "{bad:?} accepted");
        }
        assert!(Role::device(&"x".repeat(64)).is_ok());
        for bad in ["twinmask://", "twinmask://edge-c", "twinmask://device/", "twinmask://device/a/b"] {
            assert!(Role::from_uri(bad).unwrap().is_err(), "{bad:?} accepted");
        }
    }

    #[test]
    fn only_devices_dial_and_edge_a_dials_edge_b() {
        let device = Role::device("d").unwrap();
        let all = [&device, &Role::EdgeA, &Role::EdgeB];
        let allowed: Vec<_> = all.iter().flat_map(|&c| all.map(|s| (c, s))).filter(|(c, s)| c.may_dial(s)).collect();
        assert_eq!(allowed, [(&device, &Role::EdgeA), (&device, &Role::EdgeB), (&Role::EdgeA, &Role::EdgeB)]);
    }

    #[test]
    fn a_bad_name_is_quoted_without_its_control_characters() {
        let name = Role::device("a\x1b\"b").unwrap_err().to_string();
        assert!(name.starts_with(r#"device name "a\u{1b}\"b" is not allowed: use 1 to 64 letters"#), "{name}");
        let role = "edge-\tc".parse::<Role>().unwrap_err().to_string();
        assert!(role.starts_with(r#""edge-\tc" is no twinmask role: "#), "{role}");
    }
}
