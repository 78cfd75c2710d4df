//! The packages that programs are made of, by what cargo says of this workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::binaries::{cargo, workspace};

/// The shipped programs, each with its letter in the list.
pub const PROGRAMS: [(&str, char); 4] = [("owner-keygen", 'O'), ("edge-a", 'A'), ("edge-b", 'B'), ("device", 'D')];
/// What they are built for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// What the names of our own packages begin with.
const OURS: &str = "twinmask-";

/// Name and version.
type Id = (String, String);

/// A package of somebody else's.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, as its manifest says.
    pub licence: String,
    /// Letters of the programs that it is linked into; none if it only runs while they are built.
    pub programs: String,
    /// Names of the packages that need it.
    pub needed_by: BTreeSet<String>,
    /// Whether one of ours names it.
    pub direct: bool,
    /// Packages that it needs itself, of those listed.
    pub needs: BTreeSet<Id>,
    /// SHA-256 of what was downloaded, hexadecimal, as `Cargo.lock` has it.
    pub checksum: String,
    /// Folder of its sources.
    folder: PathBuf,
}

/// All packages, by name and version.
pub struct Supply(pub BTreeMap<Id, Package>);

impl Supply {
    /// What cargo says now. Downloads what is missing.
    ///
    /// # Panics
    /// If cargo fails.
    #[must_use]
    pub fn now() -> Supply {
        let mut packages = metadata();
        for (program, letter) in PROGRAMS {
            for id in tree(program, "normal,no-proc-macro") {
                if let Some(package) = packages.get_mut(&id).filter(|p| !p.programs.contains(letter)) {
                    package.programs.push(letter);
                }
            }
        }
        let built: BTreeSet<Id> = PROGRAMS.iter().flat_map(|(program, _)| tree(program, "normal,build")).collect();
        packages.retain(|id, _| built.contains(id));
        let kept: BTreeSet<Id> = packages.keys().cloned().collect();
        let names: BTreeSet<&str> = built.iter().map(|(name, _)| name.as_str()).collect();
        for package in packages.values_mut() {
            package.needs.retain(|id| kept.contains(id));
            package.needed_by.retain(|name| names.contains(name.as_str()));
            package.direct = package.needed_by.iter().any(|name| name.starts_with(OURS));
        }
        let checksums = checksums();
        for (id, package) in &mut packages {
            package.checksum = checksums.get(id).cloned().expect("every package of a registry has a checksum");
        }
        Supply(packages)
    }
}

fn output(command: &mut Command) -> String {
    let out = command.output().expect("cargo runs");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// Name and version of what `program` needs along these edges, for all targets.
fn tree(program: &str, edges: &str) -> BTreeSet<Id> {
    let package = format!("twinmask-{program}");
    let mut found = BTreeSet::new();
    for target in TARGETS {
        let mut command = cargo();
        command.args(["tree", "--locked", "--prefix", "none", "--format", "{p}", "-e", edges, "--target", target]);
        command.args(["-p", &package]).args(if program == "device" { ["--features", "cli"].as_slice() } else { &[] });
        let text = output(&mut command);
        let id = |line: &str| {
            let (name, rest) = line.split_once(" v")?;
            Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
        };
        found.extend(text.lines().filter_map(id));
    }
    found
}

/// All packages that come from a registry, with what their manifests say and who needs them.
fn metadata() -> BTreeMap<Id, Package> {
    let mut packages: BTreeMap<Id, Package> = BTreeMap::new();
    for target in TARGETS {
        let arguments = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
        let text = output(cargo().args(arguments));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let field = |v: &Value, name: &str| v[name].as_str().unwrap_or_default().to_owned();
        let id = |v: &Value| (field(v, "name"), field(v, "version"));
        let all = value["packages"].as_array().expect("packages");
        let ids: BTreeMap<&str, Id> = all.iter().map(|p| (p["id"].as_str().expect("an id"), id(p))).collect();
        for package in all.iter().filter(|p| p["source"].is_string()) {
            let folder = Path::new(&field(package, "manifest_path")).parent().expect("a folder").to_owned();
            let (name, version) = id(package);
            let licence = field(package, "license");
            packages.entry((name.clone(), version.clone())).or_insert(Package {
                name,
                version,
                licence,
                programs: String::new(),
                needed_by: BTreeSet::new(),
                direct: false,
                needs: BTreeSet::new(),
                checksum: String::new(),
                folder,
            });
        }
        for node in value["resolve"]["nodes"].as_array().expect("nodes") {
            let own = &ids[node["id"].as_str().expect("an id")];
            for dependency in node["deps"].as_array().expect("dependencies") {
                let kinds = dependency["dep_kinds"].as_array().expect("kinds");
                if kinds.iter().all(|kind| kind["kind"] == "dev") {
                    continue;
                }
                let needed = &ids[dependency["pkg"].as_str().expect("an id")];
                if let Some(package) = packages.get_mut(needed) {
                    package.needed_by.insert(own.0.clone());
                }
                if let Some(package) = packages.get_mut(own) {
                    package.needs.insert(needed.clone());
                }
            }
        }
    }
    packages
}

fn checksums() -> BTreeMap<Id, String> {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).expect("Cargo.lock");
    let entry = |text: &str| {
        let field = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    lock.split("[[package]]").filter_map(entry).collect()
}

impl Package {
    /// What its sources have of unchecked code: `forbidden`, `-` for none, or so many lines with the word, and whether
    /// there is C or assembly besides.
    ///
    /// # Panics
    /// If its sources cannot be read.
    #[must_use]
    pub fn unchecked(&self) -> String {
        let (mut rust, mut forbidden, mut foreign) = (0, false, false);
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("sources").flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                if path.is_dir() {
                    let aside = ["tests", "benches", "examples", "fuzz"].contains(&name.to_string_lossy().as_ref());
                    folders.extend((!aside).then_some(path));
                    continue;
                }
                match path.extension().and_then(|e| e.to_str()) {
                    Some("rs") => {
                        let text = std::fs::read_to_string(&path).unwrap_or_default();
                        let root = folder == self.folder.join("src") && name == "lib.rs";
                        let forbids = |l: &str| l.starts_with("#![forbid(") && l.contains("unsafe_code");
                        forbidden |= root && text.lines().any(forbids);
                        rust += text.lines().filter(|line| is_unsafe(line)).count();
                    }
                    Some("c" | "S" | "s" | "asm" | "cpp") => foreign = true,
                    _ => {}
                }
            }
        }
        let rust = match rust {
            _ if forbidden => "forbidden".to_owned(),
            0 => "-".to_owned(),
            n => n.to_string(),
        };
        if foreign { format!("{rust}, and C") } else { rust }
    }
}

/// Whether a line of source has the word `unsafe` in front of any comment.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}
