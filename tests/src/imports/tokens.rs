//! Rust source as tokens, without comments; literals keep only what an attribute `path` needs.

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier or keyword, without `r#`.
    Word(String),
    /// `::`, or one character of punctuation.
    Mark(&'static str),
    /// What a string literal without escapes holds.
    Text(String),
    /// Any other literal, or a lifetime.
    Other,
}

impl Token {
    /// Whether this is the word or mark `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Token::Word(word) => word == text,
            Token::Mark(mark) => *mark == text,
            Token::Text(_) | Token::Other => false,
        }
    }

    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Punctuation that anything here depends on; all other characters are `other`.
const MARKS: [&str; 20] =
    ["::", "{", "}", "(", ")", "[", "]", "<", ">", ";", ":", ",", ".", "*", "#", "!", "=", "$", "&", "|"];

/// The tokens of `source`, which compiles.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut rest = source;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            _ if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (None, block_comment(rest)),
            c if c.is_whitespace() => (None, c.len_utf8()),
            c if c.is_alphabetic() || c == '_' => word_or_literal(rest),
            c if c.is_ascii_digit() => (Some(Token::Other), word_length(rest)),
            '"' => string(rest),
            '\'' => (Some(Token::Other), quoted(rest)),
            c => {
                let mark = MARKS.into_iter().find(|m| rest.starts_with(m));
                (Some(mark.map_or(Token::Other, Token::Mark)), mark.map_or(c.len_utf8(), str::len))
            }
        };
        found.extend(token);
        rest = &rest[length..];
    }
    found
}

fn word_length(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// Length of a comment `/* */`, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        (at, depth) = (at + step, depth + change);
        if depth == 0 {
            break;
        }
    }
    at
}

/// A word, raw word, or a literal with a prefix: `r"…"`, `br#"…"#`, `b'…'`.
fn word_or_literal(rest: &str) -> (Option<Token>, usize) {
    let length = word_length(rest);
    let (word, behind) = rest.split_at(length);
    let raw = ["r", "br", "cr"].contains(&word);
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if raw && behind[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = hashes + 1;
        let text = behind[start..].split(&end).next().unwrap_or_default();
        return (Some(Token::Text(text.to_owned())), length + start + text.len() + end.len());
    }
    if word == "r" && hashes == 1 {
        let name = &behind[1..][..word_length(&behind[1..])];
        return (Some(Token::Word(name.to_owned())), length + 1 + name.len());
    }
    match (word, behind.chars().next()) {
        ("b" | "c", Some('"')) => (Some(Token::Other), length + string(behind).1),
        ("b", Some('\'')) => (Some(Token::Other), length + quoted(behind)),
        _ => (Some(Token::Word(word.to_owned())), length),
    }
}

/// A string literal that begins here.
fn string(rest: &str) -> (Option<Token>, usize) {
    let mut escaped = false;
    let end = rest[1..].find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.map_or(rest.len(), |e| e + 1);
    (Some(Token::Text(rest[1..end].to_owned())), (end + 1).min(rest.len()))
}

/// Length of a character literal or of a lifetime.
fn quoted(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let behind = at + c.len_utf8();
            behind + rest[behind..].find('\'').map_or(0, |e| e + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + word_length(&rest[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).iter().filter_map(|t| t.word().map(str::to_owned)).collect()
    }

    #[test]
    fn only_code_gives_words() {
        let source = r###"
            // crate::line
            /// crate::doc
            /* crate::block /* crate::nested */ crate::block */
            a("crate::string \" crate::escaped", r#"crate::raw " "#, b"crate::bytes", br"crate::raw \");
            b('"', '\'', '\u{41}', b'"', 'c', "\\");
            fn d<'e>(f: &'e str) -> r#type { 0x1f_u8; 1.5e3 }
        "###;
        assert_eq!(words(source), ["a", "b", "fn", "d", "f", "str", "type"]);
    }

    #[test]
    fn strings_and_marks_are_told_apart() {
        let found = tokens("#[path = \"x/y.rs\"] a::b:c");
        let text = |t: &str| Token::Text(t.to_owned());
        let word = |t: &str| Token::Word(t.to_owned());
        let expected = [
            Token::Mark("#"),
            Token::Mark("["),
            word("path"),
            Token::Mark("="),
            text("x/y.rs"),
            Token::Mark("]"),
            word("a"),
            Token::Mark("::"),
            word("b"),
            Token::Mark(":"),
            word("c"),
        ];
        assert_eq!(found, expected);
    }
}
