//! The Markdown of the repository: lines that can be read, and links that lead somewhere. Comments, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use twinmask_tests::binaries::workspace;

const WIDTH: usize = 120;

/// Files of the repository below `folder` whose names end in `.ending`.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// The lines of `text` with their numbers, those in code left out.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Lines that are too long, of `text`; tables and pictures are as long as they must be.
fn long_lines(text: &str) -> Vec<usize> {
    let long = |line: &str| !line.starts_with(['|', '!']) && line.chars().count() > WIDTH;
    prose(text).filter(|(_, line)| long(line)).map(|(number, _)| number).collect()
}

/// The anchors of `text`'s headings, as Git hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || ['-', '_', ' '].contains(c);
    let anchor = |line: &str| line.trim_start_matches('#').trim().chars().filter(kept).collect::<String>();
    headings.map(|(_, line)| anchor(line).to_lowercase().replace(' ', "-")).collect()
}

/// Links of `text`, which lies in `folder`, that lead nowhere.
fn dead_links(text: &str, folder: &Path) -> Vec<String> {
    let ends = prose(text).flat_map(|(_, line)| line.split("](").skip(1));
    let links = ends.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    let dead = |link: &&str| {
        let (file, anchor) = link.split_once('#').map_or((*link, None), |(file, anchor)| (file, Some(anchor)));
        let target = if file.is_empty() { Ok(text.to_owned()) } else { std::fs::read_to_string(folder.join(file)) };
        let known = anchor.is_none_or(|a| target.is_ok_and(|t| anchors(&t).contains(a)));
        let here = known && folder.join(file).exists();
        !here && !link.starts_with("http")
    };
    links.filter(dead).map(str::to_owned).collect()
}

/// `text` with each of the alternatives in its braces: `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn alternatives(text: &str) -> Vec<String> {
    let Some((start, (inner, end))) = text.split_once('{').and_then(|(s, rest)| Some((s, rest.split_once('}')?)))
    else {
        return vec![text.to_owned()];
    };
    inner.split(',').flat_map(|one| alternatives(&format!("{start}{one}{end}"))).collect()
}

/// Sources that `text` names in its code spans and that are not there, and tests (`FILE.rs: TEST`) that their file does
/// not have. Names in capitals stand for others.
fn dead_names(text: &str) -> Vec<String> {
    const ROOMS: [&str; 8] = ["common", "owner-keygen", "device", "edge-a", "edge-b", "tests", "benches", "deploy"];
    let text: Vec<&str> = prose(text).map(|(_, line)| line).collect();
    let text = text.join(" ");
    assert!(text.matches('`').count().is_multiple_of(2), "a code span is not closed, so that text is taken for code");
    let named = text.split('`').skip(1).step_by(2).filter(|span| {
        let room = span.split_once('/').is_some_and(|(room, _)| ROOMS.contains(&room));
        room && !span.contains(|c: char| c.is_ascii_uppercase() || c == '*' || c == '<')
    });
    let dead = |span: &String| {
        let (path, test) = span.split_once(": ").map_or((span.as_str(), None), |(path, test)| (path, Some(test)));
        let path = workspace().join(path.split_once(' ').map_or(path, |(path, _)| path));
        let has = |test| std::fs::read_to_string(&path).is_ok_and(|s| s.contains(&format!("fn {test}()")));
        !path.exists() || !test.is_none_or(has)
    };
    named.flat_map(alternatives).filter(dead).collect()
}

/// If this fails, a page tells of files or tests that are not there any more. (The changelog tells of the past.)
#[test]
fn files_and_tests_that_are_named_are_there() {
    let mut found = Vec::new();
    files(workspace(), "md", &mut found);
    found.retain(|page| !page.ends_with("CHANGELOG.md"));
    let read = |page: &PathBuf| std::fs::read_to_string(page).expect("a page");
    let faults: Vec<_> =
        found.iter().map(|page| (page, dead_names(&read(page)))).filter(|(_, d)| !d.is_empty()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// If this fails, a page cannot be read beside code, or sends its reader to where nothing is.
#[test]
fn pages_can_be_read_and_links_lead_somewhere() {
    let mut found = Vec::new();
    files(workspace(), "md", &mut found);
    assert!(found.len() >= 15, "{found:?}");
    let mut faults = Vec::new();
    for page in &found {
        let text = std::fs::read_to_string(page).expect("a page");
        let name = page.strip_prefix(workspace()).expect("below the workspace").display();
        faults.extend(long_lines(&text).iter().map(|line| format!("{name}:{line} is longer than {WIDTH} characters")));
        let folder = page.parent().expect("a page lies in a folder");
        faults.extend(dead_links(&text, folder).iter().map(|link| format!("{name}: {link} leads nowhere")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Comments of `text` that are too long.
fn long_comments(text: &str) -> Vec<usize> {
    let long = |line: &&str| line.trim_start().starts_with("//") && line.chars().count() > WIDTH;
    (1..).zip(text.lines()).filter(|(_, line)| long(line)).map(|(number, _)| number).collect()
}

/// If this fails, a comment cannot be read beside code.
#[test]
fn comments_can_be_read() {
    let mut found = Vec::new();
    files(workspace(), "rs", &mut found);
    assert!(found.len() >= 250, "{} sources", found.len());
    let mut faults = Vec::new();
    for source in &found {
        let text = std::fs::read_to_string(source).expect("a source");
        faults.extend(long_comments(&text).into_iter().map(|line| format!("{}:{line}", source.display())));
    }
    assert!(faults.is_empty(), "longer than {WIDTH} characters:\n{}", faults.join("\n"));
}

#[test]
fn faults_are_found() {
    let long = "x".repeat(WIDTH + 1);
    let text = format!("# A head, `line`\n{long}\n| {long} |\n```\n{long}\n[a](nowhere.md)\n```\n[b](nowhere.md)");
    assert_eq!(long_lines(&text), [2]);
    assert_eq!(long_comments(&format!("fn f() {{}}\n    // {long}\n// short\nlet {long} = 1;")), [2]);
    assert_eq!(dead_links(&text, workspace()), ["nowhere.md"]);
    let links =
        "# Where it is\n[a](README.md) [b](#where-it-is) [c](#elsewhere) [d](README.md#twinmask) [e](README.md#x)";
    assert_eq!(dead_links(links, workspace()), ["#elsewhere", "README.md#x"]);
    let names = "`tests/tests/documents.rs: faults_are_found` `tests/tests/{documents,nothing}.rs` `device/NAME` \
        `tests/tests/documents.rs: no_such_test` `common/gone.rs` `ours/gone.rs` `tests/arm.sh deps`";
    let dead = ["tests/tests/nothing.rs", "tests/tests/documents.rs: no_such_test", "common/gone.rs"];
    assert_eq!(dead_names(names), dead);
    assert_eq!(anchors(&text).into_iter().collect::<Vec<_>>(), ["a-head-line"]);
}
