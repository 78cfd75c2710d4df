//! The checker on made-up crates: circles are found and named, and what is none is not.

use super::{Imports, Sources};

fn imports(files: &[(&str, &str)]) -> Imports {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    Imports::of(&files.iter().map(own).collect::<Sources>())
}

#[track_caller]
fn check_circles(files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(imports(files).circles(), expected);
}

#[test]
fn two_files_that_use_each_other_are_a_circle() {
    let files = [
        ("a/src/lib.rs", "mod x; mod y;"),
        ("a/src/x.rs", "use crate::y::{self, Y, Z as W};\npub struct X;"),
        ("a/src/y.rs", "pub struct Y; pub struct Z; fn f() -> super::x::X { super::x::X }"),
    ];
    check_circles(&files, &["  a/src/x.rs -> a/src/y.rs: Y, Z\n  a/src/y.rs -> a/src/x.rs: X"]);
}

#[test]
fn longer_circles_are_named_by_their_shortest_way() {
    let files = [
        ("a/src/lib.rs", "mod v; mod w; mod x; mod y; mod z;"),
        ("a/src/v.rs", "use crate::w::w; pub fn v() {}"),
        ("a/src/w.rs", "use crate::x::x; pub fn w() {}"),
        ("a/src/x.rs", "use crate::{v::v, y::y}; pub fn x() {}"),
        ("a/src/y.rs", "use crate::x::x; pub fn y() {}"),
        ("a/src/z.rs", "use crate::{v::v, w::w, x::x, y::y};"),
    ];
    let circle = "  a/src/x.rs -> a/src/y.rs: y\n  a/src/y.rs -> a/src/x.rs: x";
    check_circles(&files, &[&format!("{circle}\n  knotted with a/src/v.rs, a/src/w.rs")]);
}

#[test]
fn a_facade_that_passes_on_is_none() {
    let files = [
        ("a/src/lib.rs", "pub mod m; pub use m::{X, Y};"),
        ("a/src/m/mod.rs", "mod x; mod y; pub use x::X; pub(crate) use self::y::*;"),
        ("a/src/m/x.rs", "use super::y::Y; pub struct X(Y);"),
        ("a/src/m/y.rs", "pub struct Y;"),
    ];
    check_circles(&files, &[]);
    assert_eq!(imports(&files).pairs(), 1);
}

#[test]
fn facades_are_followed_to_the_file_that_defines_the_name() {
    let files = [
        ("a/src/lib.rs", "mod m; mod n; pub use m::{Renamed, Y};"),
        ("a/src/m/mod.rs", "mod x; mod y; pub use x::X as Renamed; pub use y::*;"),
        ("a/src/m/x.rs", "use crate::Y; pub struct X;"),
        ("a/src/m/y.rs", "use crate::m::Renamed; pub struct Y;"),
        ("a/src/n.rs", "use crate::m; fn f() { m::Renamed::new(m::Y) }"),
    ];
    check_circles(&files, &["  a/src/m/x.rs -> a/src/m/y.rs: Y\n  a/src/m/y.rs -> a/src/m/x.rs: X"]);
    let found = imports(&files);
    assert!(found.has("a/src/n.rs", "a/src/m/x.rs") && found.has("a/src/n.rs", "a/src/m/y.rs"));
    assert!(!found.has("a/src/n.rs", "a/src/m/mod.rs"));
}

#[test]
fn a_parent_that_uses_its_child_must_not_be_used_by_it() {
    let child = ("a/src/x.rs", "use super::Shared; pub fn x(_: Shared) {}");
    let circle = ["  a/src/lib.rs -> a/src/x.rs: x\n  a/src/x.rs -> a/src/lib.rs: Shared"];
    check_circles(&[("a/src/lib.rs", "mod x; use x::x; pub struct Shared;"), child], &circle);
    check_circles(&[("a/src/lib.rs", "mod x; pub struct Shared; fn f() { x::x(Shared) }"), child], &circle);
    check_circles(&[("a/src/lib.rs", "mod x; pub use x::x; pub struct Shared; fn f() { x(Shared) }"), child], &circle);
    check_circles(&[("a/src/lib.rs", "mod x; pub use x::x; pub struct Shared;"), child], &[]);
}

#[test]
fn globs_and_inline_modules_are_followed() {
    let files = [
        ("a/src/lib.rs", "mod x; mod y;"),
        ("a/src/x.rs", "pub mod inner { use super::super::y::*; pub struct X; fn f() { g() } }"),
        ("a/src/y.rs", "use crate::x::inner; pub fn g() -> inner::X { inner::X }"),
    ];
    check_circles(&files, &["  a/src/x.rs -> a/src/y.rs: g\n  a/src/y.rs -> a/src/x.rs: X"]);
}

#[test]
fn tests_comments_strings_and_other_crates_are_none() {
    let files = [
        ("a/src/main.rs", "mod x; mod y; #[cfg(test)] mod missing;"),
        ("a/src/x.rs", "use crate::y::Y; pub struct X;"),
        (
            "a/src/y.rs",
            "//! See crate::x::X.\nuse other::x::X; pub struct Y; fn f() { \"crate::x::X\"; /* crate::x::X */ }
            #[cfg(test)] mod tests { use crate::x::X; }",
        ),
    ];
    check_circles(&files, &[]);
    assert_eq!(imports(&files).pairs(), 1);
}

#[test]
fn programs_and_named_files_are_read() {
    let files = [
        ("a/src/bin/p/main.rs", "mod q; const N: u8 = q::M;"),
        ("a/src/bin/p/q.rs", "pub const M: u8 = crate::N;"),
        ("b/src/lib.rs", "mod m;"),
        ("b/src/m/mod.rs", "#[path = \"../c.rs\"] pub mod d;\npub fn f() { d::g() }"),
        ("b/src/c.rs", "pub fn g() { super::f() }"),
        ("c/benches/k.rs", "fn main() {}"),
    ];
    let circles = [
        "  a/src/bin/p/main.rs -> a/src/bin/p/q.rs: M\n  a/src/bin/p/q.rs -> a/src/bin/p/main.rs: N",
        "  b/src/c.rs -> b/src/m/mod.rs: f\n  b/src/m/mod.rs -> b/src/c.rs: g",
    ];
    check_circles(&files, &circles);
    assert_eq!(imports(&files).files().len(), files.len());
}

#[test]
#[should_panic(expected = "no file for mod x")]
fn a_module_without_its_file_is_noticed() {
    let _ = imports(&[("a/src/lib.rs", "mod x;")]);
}
