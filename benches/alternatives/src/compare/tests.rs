use std::collections::BTreeMap;
use std::fs;

use super::comparison::KNOWN;
use super::run;
use crate::results::{Cell, Column, Experiment, Row, Table, Value};

fn experiment(name: &str, rows: Vec<Row>) -> Experiment {
    Experiment {
        experiment: name.into(),
        seed: 1,
        budget: "smoke".into(),
        machine: "a <machine>".into(),
        took_s: 1.5,
        rows,
        tables: BTreeMap::from([(
            "own".into(),
            Table { columns: vec!["a & b".into()], rows: vec![vec![Value::Number(1234.0)]], note: None },
        )]),
        pictures: BTreeMap::from([("shown".into(), "p.png".into())]),
        differences: vec!["fewer epochs".into()],
    }
}

/// Nothing is missing on the page but what it marks as missing, and it needs no other file.
#[test]
fn the_page_holds_everything_and_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.png"), b"png").expect("written");
    let row = Row::new("first | way")
        .with(Column::Accuracy, Cell::measured(89.25))
        .with(Column::Trust, Cell::cited("nobody", "the paper's section 3"))
        .with(Column::AttackPicture, Cell::measured("rebuilt").picture("p.png"));
    experiment("obfuscator", vec![row]).write(folder.path()).expect("written");
    run(folder.path()).expect("compared");

    let page = fs::read_to_string(folder.path().join("compare.html")).expect("a page");
    assert!(page.matches("data:image/png;base64,cG5n").count() == 2, "cell and figure");
    assert!(!page.contains("src=\"http") && !page.contains("href="), "it loads nothing");
    for text in ["89.25", "title=\"the paper's section 3\"", "a &lt;machine&gt;", "a &amp; b", "fewer epochs", "1,234"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains("not measured: alternatives run obfuscator"), "a missing cell");
    assert!(page.contains("alternatives run twinmask"), "an experiment that was not run");
    assert!(page.contains("2,187") && page.contains("182 KiB"), "the rule's tables need no run");

    let markdown = fs::read_to_string(folder.path().join("compare.md")).expect("a table");
    assert!(markdown.contains("nobody (s)") && markdown.contains("trust: the paper's section 3"), "{markdown}");
    let json = fs::read(folder.path().join("compare.json")).expect("rows");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(rows.len(), KNOWN.len());
    assert_eq!(rows[0]["columns"]["accuracy"]["value"], 89.25);
}

/// The latency of a row that sends once is measured apart from its experiment.
#[test]
fn latencies_of_payloads_reach_their_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = |name: &str, row: Row| Experiment { pictures: BTreeMap::new(), ..experiment(name, vec![row]) };
    let sends = Row::new("N=1").with(Column::BytesPerInference, Cell::measured(5000.0));
    bare("partition", sends).write(folder.path()).expect("written");
    run(folder.path()).expect("compared");
    let page = || fs::read_to_string(folder.path().join("compare.md")).expect("a table");
    assert!(page().contains("not measured: `alternatives run payload`"), "the command that would");
    let latency = Row::new("partition: N=1").with(Column::LatencyMs, Cell::measured(12.25));
    bare("payload", latency).write(folder.path()).expect("written");
    run(folder.path()).expect("compared");
    assert!(page().contains("12.25") && !page().contains("`alternatives run payload`"), "{}", page());
}

#[test]
fn a_picture_that_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    experiment("ends", vec![]).write(folder.path()).expect("written");
    let error = format!("{:#}", run(folder.path()).expect_err("no picture"));
    assert!(error.contains("p.png"), "{error}");
}
