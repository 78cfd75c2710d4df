//! What one module declares, imports and names.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};

/// A module, as its source says it; code for tests is left out.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// `mod name;`, with the file that `#[path]` gives.
    pub(super) files: Vec<(String, Option<String>)>,
    /// `mod name { … }`.
    pub(super) inline: BTreeMap<String, Module>,
    /// Functions, types, traits, constants and macros that are defined here.
    pub(super) definitions: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// All other paths in code, single words among them where they may name something.
    pub(super) paths: BTreeSet<Vec<String>>,
}

/// One name, or all names, of a `use`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// What it is called here; `None`: all names of `path`.
    pub(super) name: Option<String>,
    /// `pub`, `pub(crate)`, …
    pub(super) public: bool,
}

/// Parses one file.
pub(super) fn parse(source: &str) -> Module {
    let mut module = Module::default();
    module.read(&without_tests(&tokens(source)));
    module
}

const DEFINING: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

impl Module {
    fn read(&mut self, tokens: &[Token]) {
        let (mut at, mut depth, mut file) = (0, 0, None);
        while at < tokens.len() {
            let (token, next) = (&tokens[at], tokens.get(at + 1));
            let name = next.and_then(Token::word);
            let top = depth == 0;
            match token {
                Token::Mark("{") => depth += 1,
                Token::Mark("}") => depth -= 1,
                Token::Mark("#") => file = file.or(path_attribute(&tokens[at..])),
                Token::Word(word) if word == "use" && !next.is_some_and(|t| t.is("<")) => {
                    let length = tokens[at..].iter().position(|t| t.is(";")).unwrap_or(tokens.len() - at);
                    let public = is_public(&tokens[..at]);
                    tree(&tokens[at + 1..at + length], &[], &mut |path, name| {
                        self.imports.push(Import { path, name, public });
                    });
                    at += length;
                }
                Token::Word(word) if word == "mod" && name.is_some() => {
                    let name = name.unwrap_or_default().to_owned();
                    if tokens.get(at + 2).is_some_and(|t| t.is("{")) {
                        let length = group(&tokens[at + 2..]);
                        self.inline.entry(name).or_default().read(&tokens[at + 3..at + 1 + length]);
                        at += 1 + length;
                    } else {
                        self.files.push((name, file.take()));
                        at += 2;
                    }
                }
                Token::Word(word) if word == "macro_rules" && top => {
                    self.definitions.extend(tokens.get(at + 2).and_then(Token::word).map(str::to_owned));
                }
                Token::Word(word) if DEFINING.contains(&word.as_str()) && name.is_some() => {
                    let name = name.unwrap_or_default();
                    if top {
                        self.definitions.insert(name.to_owned());
                    }
                    // Else `const fn`, which is a function.
                    at += usize::from(!DEFINING.contains(&name));
                }
                Token::Word(_) if !follows_a_dot(&tokens[..at]) => self.path(&tokens[at..]),
                _ => {}
            }
            at += 1;
        }
    }

    /// The path that begins here. A single word counts if it cannot be a variable's or field's name: as a type or
    /// constant by its capital letter, as a function or macro by what follows.
    fn path(&mut self, tokens: &[Token]) {
        let mut path: Vec<String> = tokens[0].word().map(str::to_owned).into_iter().collect();
        let mut at = 1;
        while let (Some(Token::Mark("::")), Some(Token::Word(word))) = (tokens.get(at), tokens.get(at + 1)) {
            path.push(word.clone());
            at += 2;
        }
        let capital = path[0].starts_with(char::is_uppercase);
        let called = tokens.get(at).is_some_and(|t| ["(", "!", "::"].iter().any(|mark| t.is(mark)));
        let named = tokens.get(at).is_some_and(|t| t.is(":"));
        if path.len() > 1 || (!named && (capital || called)) {
            self.paths.insert(path);
        }
    }
}

/// Whether the token behind `before` is a field, a method or a further part of a path.
fn follows_a_dot(before: &[Token]) -> bool {
    let range = before.len() > 1 && before[before.len() - 2].is(".");
    before.last().is_some_and(|t| t.is("::") || (t.is(".") && !range))
}

/// Whether the item behind `before` has a visibility.
fn is_public(before: &[Token]) -> bool {
    match before {
        [.., Token::Word(word)] => word == "pub",
        [.., Token::Word(word), Token::Mark("("), Token::Word(_), Token::Mark(")")] => word == "pub",
        [.., Token::Word(_), Token::Mark(")")] => {
            let opens = before.iter().rposition(|t| t.is("(")).unwrap_or(0);
            opens > 0 && before[opens - 1].is("pub")
        }
        _ => false,
    }
}

/// The file in `#[path = "file"]`.
fn path_attribute(tokens: &[Token]) -> Option<String> {
    match tokens {
        [_, Token::Mark("["), Token::Word(word), Token::Mark("="), Token::Text(file), ..] if word == "path" => {
            Some(file.clone())
        }
        _ => None,
    }
}

/// Calls `found` with each path of a `use` without `use` and `;`, below `prefix`.
fn tree(tokens: &[Token], prefix: &[String], found: &mut dyn FnMut(Vec<String>, Option<String>)) {
    let mut path = prefix.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark("{") => {
                let inner = &tokens[at + 1..at + group(&tokens[at..]) - 1];
                return split(inner).into_iter().for_each(|part| tree(part, &path, found));
            }
            Token::Mark("*") => return found(path, None),
            // A name from another crate, whatever is here.
            Token::Mark("::") if at == 0 && prefix.is_empty() => path.push("::".to_owned()),
            Token::Word(word) if word == "as" => {
                return found(path, tokens.get(at + 1).and_then(Token::word).map(str::to_owned));
            }
            Token::Word(word) if word == "self" && !path.is_empty() => {}
            Token::Word(word) => path.push(word.clone()),
            _ => {}
        }
    }
    if let Some(name) = path.last().cloned().filter(|_| !tokens.is_empty()) {
        found(path, Some(name));
    }
}

/// The parts of `tokens` between commas that are in no brackets.
fn split(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    tokens
        .split(|t| {
            depth += i32::from(t.is("{")) - i32::from(t.is("}"));
            depth == 0 && t.is(",")
        })
        .collect()
}

/// Length of the group in brackets that begins here.
fn group(tokens: &[Token]) -> usize {
    let mut depth = 0;
    let closes = |t: &Token| {
        depth += bracket(t);
        depth == 0
    };
    tokens.iter().position(closes).map_or(tokens.len(), |at| at + 1)
}

/// 1 for an opening, -1 for a closing bracket.
fn bracket(token: &Token) -> i32 {
    let any = |marks: [&str; 3]| marks.iter().any(|m| token.is(m));
    i32::from(any(["{", "(", "["])) - i32::from(any(["}", ")", "]"]))
}

/// `tokens` without what `#[cfg(test)]`, or a condition that holds only with it, leaves out of a program.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let attribute = attribute(&tokens[at..]);
        if attribute > 0 && is_for_tests(&tokens[at..at + attribute]) {
            at += attribute + item(&tokens[at + attribute..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Length of the attribute that begins here, 0 if none does.
fn attribute(tokens: &[Token]) -> usize {
    match tokens {
        [Token::Mark("#"), Token::Mark("["), ..] => 1 + group(&tokens[1..]),
        _ => 0,
    }
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|t| t.is(word));
    attribute.get(2).is_some_and(|t| t.is("cfg")) && has("test") && !has("not") && !has("any")
}

/// Length of the item, statement, field or arm that begins here.
fn item(tokens: &[Token]) -> usize {
    let mut at = 0;
    while attribute(&tokens[at..]) > 0 {
        at += attribute(&tokens[at..]);
    }
    let (mut ends_with_block, mut ends_with_comma) = (true, true);
    while at < tokens.len() {
        let token = &tokens[at];
        match bracket(token) {
            1 => {
                let block = token.is("{");
                at += group(&tokens[at..]);
                if block && ends_with_block {
                    return at;
                }
                continue;
            }
            -1 => return at,
            _ => {}
        }
        if token.is(";") || (token.is(",") && ends_with_comma) {
            return at + 1;
        }
        match token.word() {
            Some("use" | "const" | "static" | "let") => (ends_with_block, ends_with_comma) = (false, false),
            Some("fn") => (ends_with_block, ends_with_comma) = (true, false),
            Some("impl" | "struct" | "enum" | "trait" | "type") => ends_with_comma = false,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(source: &str) -> Vec<String> {
        let text = |i: &Import| {
            let name = i.name.as_deref().unwrap_or("*");
            format!("{}{} as {name}", if i.public { "pub " } else { "" }, i.path.join("::"))
        };
        parse(source).imports.iter().map(text).collect()
    }

    #[test]
    fn every_form_of_use_is_read() {
        let source = "
            use crate::a::{self, b::{C, d::*}, E as F,};
            pub(crate) use super::g;
            pub(in crate::x) use self::h::i;
            pub use j::k;
            use ::std::fmt;
            fn f() -> impl Fn() + use<'_> { use crate::inner::L; }";
        let expected = [
            "crate::a as a",
            "crate::a::b::C as C",
            "crate::a::b::d as *",
            "crate::a::E as F",
            "pub super::g as g",
            "pub self::h::i as i",
            "pub j::k as k",
            "::::std::fmt as fmt",
            "crate::inner::L as L",
        ];
        assert_eq!(imports(source), expected);
    }

    #[test]
    fn what_tests_need_is_left_out() {
        let source = "
            #[cfg(test)] use crate::a::A;
            #[cfg(test)] #[allow(unused)] mod tests { use crate::b::B; }
            #[cfg(all(test, unix))] fn f<T, U>() -> [u8; 3] { crate::c::C }
            #[cfg(test)] const X: Y = Y { z: crate::d::D };
            #[cfg(not(test))] use crate::e::E;
            struct S { #[cfg(test)] f: crate::g::G, h: crate::h::H }
            #[cfg(test)] #[path = \"t.rs\"] mod t;
            #[path = \"u.rs\"] mod u;
            mod v;";
        let module = parse(source);
        assert_eq!(imports(source), ["crate::e::E as E"]);
        let deep: Vec<String> = module.paths.iter().filter(|p| p.len() > 1).map(|p| p.join("::")).collect();
        assert_eq!(deep, ["crate::h::H"]);
        assert!(module.inline.is_empty());
        assert_eq!(module.files, [("u".to_owned(), Some("u.rs".to_owned())), ("v".to_owned(), None)]);
    }

    #[test]
    fn definitions_and_paths_are_told_apart() {
        let source = "
            pub struct A { b: C }
            impl A { pub fn method(&self) -> super::d::D { self.e.f(g(h)); x..k(); crate::i::j::<u8>(m) } }
            pub(crate) const fn n() {}
            macro_rules! o { () => { $crate::p::Q } }
            mod r { pub(crate) fn s() { super::n() } }";
        let module = parse(source);
        let defined: Vec<&str> = module.definitions.iter().map(String::as_str).collect();
        assert_eq!(defined, ["A", "fn", "n", "o"]);
        let paths: Vec<String> = module.paths.iter().map(|p| p.join("::")).collect();
        for path in ["C", "super::d::D", "g", "k", "crate::i::j", "crate::p::Q"] {
            assert!(paths.contains(&path.to_owned()), "{path} in {paths:?}");
        }
        for path in ["b", "e", "f", "h", "m", "method"] {
            assert!(!paths.contains(&path.to_owned()), "{path} in {paths:?}");
        }
        assert!(module.inline["r"].paths.contains(&vec!["super".to_owned(), "n".to_owned()]));
    }
}
