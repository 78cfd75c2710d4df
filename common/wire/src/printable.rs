//! What a peer says, fit to be shown: to a terminal, a log, a report.

use serde::{Deserialize, Deserializer};

/// Longest text of a peer that is shown, bytes.
const LONGEST: usize = 512;

/// `text` as far as it is plain ASCII, everything else as `\u{..}`: control characters move a terminal's cursor and
/// colour its words, directional and zero-width ones make a line read as another, and letters of other scripts look
/// like ours. Cut off at 512 bytes. What has been through here once stays as it is.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars() {
        let before = shown.len();
        if c == ' ' || c.is_ascii_graphic() {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
        if shown.len() > LONGEST {
            shown.truncate(before);
            break;
        }
    }
    shown
}

/// A text in a message, shown wherever it goes.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(printable(&String::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, HEADER_LEN};
    use crate::message::{RelayOpen, Secret};
    use crate::{Codec, FrameType};

    #[test]
    fn terminals_are_not_told_what_to_do() {
        for (said, shown) in [
            ("no model here; try again \\ 100 %", "no model here; try again \\ 100 %"),
            ("\x1b[2J\x1b]0;owned\x07", r"\u{1b}[2J\u{1b}]0;owned\u{7}"),
            ("a\r\nerror: b\t\u{8}\0", r"a\u{d}\u{a}error: b\u{9}\u{8}\u{0}"),
            ("\u{9b}31mred", r"\u{9b}31mred"),
            ("cam\u{202e}gnp.exe\u{2066}", r"cam\u{202e}gnp.exe\u{2066}"),
            ("ed\u{200b}ge\u{2060}-\u{feff}a\u{ad}", r"ed\u{200b}ge\u{2060}-\u{feff}a\u{ad}"),
            ("\u{435}dge-\u{430} e\u{301} \u{5d0}\u{2028}", r"\u{435}dge-\u{430} e\u{301} \u{5d0}\u{2028}"),
            ("\u{e0041}\u{fffd}\u{7f}", r"\u{e0041}\u{fffd}\u{7f}"),
        ] {
            assert_eq!(printable(said), shown);
            assert_eq!(printable(shown), shown, "a second time");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(printable(&"x".repeat(10_000)).len(), 512);
        let cut = printable(&"\u{202e}".repeat(10_000));
        assert!(cut.len() <= 512 && cut.len() > 500 && cut.ends_with(r"\u{202e}"), "{cut}");
    }

    #[test]
    fn texts_in_messages_are_clean_as_they_come() {
        let open = |device: &str| RelayOpen {
            session: [1; 16],
            device: device.to_owned(),
            digest: [2; 32],
            ticket: Secret([3; 32]),
        };
        let head = frame::encode_head(FrameType::RelayOpen, &open("cam\x1b[31m\u{202e}"), Codec::Packed, 0);
        let read: RelayOpen = frame::decode_body(&head[HEADER_LEN..]).expect("well formed");
        assert_eq!(read, open(r"cam\u{1b}[31m\u{202e}"));
    }
}
