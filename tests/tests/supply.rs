//! What the shipped programs are made of is written down, and what is written down holds.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;
use twinmask_tests::binaries::workspace;
use twinmask_tests::supply::{PROGRAMS, Supply, bill, fresh};

fn supply() -> &'static Supply {
    static SUPPLY: OnceLock<Supply> = OnceLock::new();
    SUPPLY.get_or_init(Supply::now)
}

fn page() -> String {
    std::fs::read_to_string(workspace().join("docs/dependencies.md")).expect("the page")
}

/// If this fails, a dependency came, went or changed and nobody has looked at it: `make dependencies` writes the list
/// anew, and what a new one is for (`?`) is to be said there.
#[test]
fn the_list_of_dependencies_holds() {
    let page = page();
    let fresh = fresh(&page, supply());
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (page.lines().collect(), fresh.lines().collect());
    let (gone, come): (Vec<_>, Vec<_>) = (old.difference(&new).collect(), new.difference(&old).collect());
    assert!(page == fresh, "`make dependencies`, then look at it; gone: {gone:#?}, new: {come:#?}");
    assert!(!page.contains(" | ? | "), "nobody says what a crate is for");
    assert!(page.lines().count() > 100, "{} lines", page.lines().count());
}

/// If this fails, a new crate would not be noticed, or a person's words would be lost.
#[test]
fn a_stale_list_is_noticed_and_words_are_kept() {
    let page = page();
    let row = page.lines().find(|l| l.starts_with("| quinn |")).expect("quinn");
    let (without, older) = (page.replace(&format!("{row}\n"), ""), page.replace(row, &row.replacen(" | ", " | 0", 1)));
    let again = fresh(&without, supply());
    assert!(again.contains("| quinn |") && again.contains(" | ? | "), "what is new has no words yet");
    assert!(fresh(&older, supply()) == fresh(&page, supply()), "another version keeps what the crate is for");
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// If this fails, a bill of materials is not what the format asks for, or leaves something out.
#[test]
fn bills_of_materials_are_whole() {
    for (program, letter) in PROGRAMS {
        let bill = bill(supply(), program, letter).json;
        assert_eq!((text(&bill, "bomFormat"), text(&bill, "specVersion")), ("CycloneDX", "1.5"));
        assert!(bill["version"].is_u64());
        let own = &bill["metadata"]["component"];
        assert_eq!((text(own, "type"), text(own, "name")), ("application", program));
        let components = bill["components"].as_array().expect("components");
        let mut refs: BTreeSet<&str> = BTreeSet::from([text(own, "bom-ref")]);
        for component in components {
            assert!(text(component, "type") == "library" && !text(component, "name").is_empty());
            assert!(text(component, "purl").starts_with("pkg:cargo/"));
            assert!(refs.insert(text(component, "bom-ref")), "{component} stands there twice");
            let hash = &component["hashes"][0];
            let hexadecimal = text(hash, "content").bytes().all(|b| b.is_ascii_hexdigit());
            assert!(text(hash, "alg") == "SHA-256" && text(hash, "content").len() == 64 && hexadecimal, "{component}");
            let licence = text(&component["licenses"][0], "expression");
            assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
        }
        let listed: BTreeSet<&str> =
            bill["dependencies"].as_array().expect("dependencies").iter().map(|d| text(d, "ref")).collect();
        assert_eq!(listed, refs);
        let mut reached = BTreeSet::from([text(own, "bom-ref")]);
        let mut next = vec![text(own, "bom-ref")];
        while let Some(from) = next.pop() {
            let dependencies = bill["dependencies"].as_array().expect("dependencies");
            let entry = dependencies.iter().find(|d| text(d, "ref") == from).expect("listed");
            for on in entry["dependsOn"].as_array().expect("a list").iter().filter_map(Value::as_str) {
                assert!(refs.contains(on), "{on} is no component");
                next.extend(reached.insert(on).then_some(on));
            }
        }
        assert_eq!(reached, refs, "{program}: nobody needs the rest");
        let has = |name: &str| components.iter().any(|c| c["name"] == name);
        assert!(has("rustls") && has("bincode"), "{program}");
        assert_eq!(has("hyper"), program.starts_with("edge"), "{program}");
    }
}
