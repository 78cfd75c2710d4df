//! What a program speaks.

use twinmask_wire::{ALPN, VERSION};

/// What `--version` prints behind the program's name: the release, and what has to match on other hosts, `0.1.0 (wire
/// 2, ALPN twinmask/2, bundles 2)`. `bundles` is the version of the bundle format, which is the model's to know.
#[must_use]
pub fn version(bundles: u16) -> String {
    let release = env!("CARGO_PKG_VERSION"); // of the workspace, which all programs share
    format!("{release} (wire {VERSION}, ALPN {ALPN}, bundles {bundles})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_versions_are_named() {
        let text = version(7);
        assert!(text.starts_with(concat!(env!("CARGO_PKG_VERSION"), " (wire 2, ")), "{text}");
        assert!(text.ends_with(", ALPN twinmask/2, bundles 7)"), "{text}");
    }
}
