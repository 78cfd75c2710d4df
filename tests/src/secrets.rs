//! What no log, error or report may show of a device's secrets, and the search for it.

use twinmask_masking::keys::s_in;
use twinmask_model::bundle::DeviceBundle;

/// Bytes of each secret that are looked for: far more than chance repeats.
const ENOUGH: usize = 12;

/// What gives a secret away, each with its name.
#[derive(Default)]
pub struct Secrets {
    /// As text: hexadecimal, base64, lists of numbers.
    texts: Vec<(String, String)>,
    /// As it is.
    bytes: Vec<(String, Vec<u8>)>,
}

impl Secrets {
    /// Of a device's bundle and its key file (PEM).
    ///
    /// # Panics
    /// If the key file is none.
    #[must_use]
    pub fn of(bundle: &DeviceBundle, key_pem: &str) -> Secrets {
        let mut found = Secrets::default();
        found.add("the device key", bundle.key.as_ref());
        let body: Vec<&str> = key_pem.lines().filter(|l| !l.starts_with("-----")).collect();
        assert!(!body.is_empty(), "no PEM");
        for line in body.iter().filter(|l| l.len() >= 16) {
            found.texts.push(("a line of key.pem".into(), (*line).to_owned()));
        }
        for (g, group) in bundle.model.plan.numbered_groups() {
            let mask = s_in(&bundle.key, &bundle.model.digest, g, group.k(), group.in_len());
            let name = format!("S_in of group {g}");
            let bytes: Vec<u8> = mask.iter().flat_map(|e| e.to_le_bytes()).collect();
            found.add(&name, &bytes);
            let list: Vec<String> = mask.iter().take(4).map(u32::to_string).collect();
            found.texts.push((name, list.join(", ")));
        }
        for (l, s_out) in bundle.s_out.iter().enumerate() {
            found.add(&format!("S_out of layer {l}"), s_out);
        }
        found
    }

    /// Looks for `bytes` too, as they are and in hexadecimal, base64 (at each alignment) and as lists of numbers.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.bytes.push((name.to_owned(), bytes[..bytes.len().min(2 * ENOUGH)].to_vec()));
        let head = &bytes[..bytes.len().min(2 * ENOUGH)];
        let hex: String = head.iter().take(ENOUGH).map(|b| format!("{b:02x}")).collect();
        let list: Vec<String> = head.iter().take(ENOUGH).map(u8::to_string).collect();
        let hex_list: Vec<String> = head.iter().take(ENOUGH).map(|b| format!("{b:x}")).collect();
        let mut forms = vec![hex.to_uppercase(), hex, list.join(", "), hex_list.join(", ")];
        forms.extend((0..3).filter_map(|skip| head.get(skip..skip + ENOUGH)).map(base64));
        self.texts.extend(forms.into_iter().map(|form| (name.to_owned(), form)));
    }

    /// The name of a secret that `text` gives away.
    #[must_use]
    pub fn found_in(&self, text: &str) -> Option<&str> {
        self.texts.iter().find(|(_, form)| text.contains(form.as_str())).map(|(name, _)| name.as_str())
    }

    /// The name of a secret that `bytes`, a file or what went over a wire, hold as it is or as text.
    #[must_use]
    pub fn held_by(&self, bytes: &[u8]) -> Option<&str> {
        let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
        let raw = self.bytes.iter().find(|(_, secret)| holds(secret));
        raw.map(|(name, _)| name.as_str()).or_else(|| self.found_in(&String::from_utf8_lossy(bytes)))
    }

    /// Checks that `text` gives nothing away.
    ///
    /// # Panics
    /// If it does; the text is not shown.
    #[track_caller]
    pub fn check(&self, what: &str, text: &str) {
        assert_eq!(self.found_in(text), None, "{what} shows a secret");
    }
}

/// base64 of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |c: &[u8]| {
        let word = u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(word >> shift & 63) as usize]))
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, the canary tests cannot find what they look for.
    #[test]
    fn every_form_is_found() {
        let bytes: Vec<u8> = (200..=255).collect();
        let mut secrets = Secrets::default();
        secrets.add("it", &bytes);
        assert_eq!(base64(b"Man"), "TWFu");
        let padded: Vec<u8> = [&b"x"[..], &bytes, &b"yz"[..]].concat();
        let aligned = &padded[..padded.len() / 3 * 3];
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        for text in [
            format!("{bytes:?}"),
            format!("{bytes:x?}"),
            hex.clone(),
            hex.to_uppercase(),
            base64(&bytes[..54]),
            base64(aligned),
        ] {
            assert_eq!(secrets.found_in(&format!("log: {text}.")), Some("it"), "{text}");
        }
        assert_eq!(secrets.found_in("nothing [1, 2, 3] here"), None);
        assert_eq!(secrets.held_by(&padded), Some("it"));
        assert_eq!(secrets.held_by(hex.as_bytes()), Some("it"));
        assert_eq!(secrets.held_by(&padded[2..20]), None);
    }
}
