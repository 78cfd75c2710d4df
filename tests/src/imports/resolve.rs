//! From the names in a file to the files that define them.

use std::collections::{BTreeMap, BTreeSet};

use super::Sources;
use super::circles::Imports;
use super::module::{self, Import, Module};

/// Adds the files and imports of all crates in `sources`.
pub(super) fn all(sources: &Sources, imports: &mut Imports) {
    for root in sources.keys().filter(|path| is_root(path)) {
        Crate::read(sources, root).imports(imports);
    }
}

/// Whether cargo begins a library or program with this file.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _, "main.rs"] | [.., "build.rs"] => true,
        [.., "src", "bin", _] => true,
        // Not a folder of the same name among the modules.
        [package @ .., "benches" | "examples", _] => !package.contains(&"src"),
        _ => false,
    }
}

/// A module within its crate.
struct Place {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    module: Module,
}

/// One library or program.
struct Crate {
    places: Vec<Place>,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// Something that is defined in the module.
    Item(usize),
}

impl Crate {
    fn read(sources: &Sources, root: &str) -> Self {
        let mut this = Self { places: Vec::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        this.add(sources, root, folder, module::parse(&sources[root]), None);
        this
    }

    /// Adds a module that lies in `file`, with all below it, whose files lie in `folder`.
    fn add(&mut self, sources: &Sources, file: &str, folder: &str, mut module: Module, parent: Option<usize>) -> usize {
        let here = self.places.len();
        let (files, inline) = (std::mem::take(&mut module.files), std::mem::take(&mut module.inline));
        self.places.push(Place { file: file.to_owned(), parent, children: BTreeMap::new(), module });
        for (name, inner) in inline {
            let child = self.add(sources, file, &format!("{folder}/{name}"), inner, Some(here));
            self.places[here].children.insert(name, child);
        }
        for (name, path) in files {
            let (path, below) = find(sources, file, folder, &name, path.as_deref());
            let child = self.add(sources, &path, &below, module::parse(&sources[&path]), Some(here));
            self.places[here].children.insert(name, child);
        }
        here
    }

    fn imports(&self, imports: &mut Imports) {
        for (here, place) in self.places.iter().enumerate() {
            imports.file(&place.file);
            let private = place.module.imports.iter().filter(|i| i.name.is_some());
            let used = private.filter(|i| !self.is_re_export(here, i)).map(|i| &i.path);
            for path in used.chain(&place.module.paths) {
                let target = self.resolve(here, path, &mut BTreeSet::new());
                if let Some((Target::Item(module), name)) = target {
                    imports.add(&place.file, &self.places[module].file, &name);
                }
            }
        }
    }

    /// Whether `import` only passes on what a module below `here` defines.
    fn is_re_export(&self, here: usize, import: &Import) -> bool {
        let target = self.resolve(here, &import.path, &mut BTreeSet::new());
        let Some((Target::Item(mut module), _)) = target.filter(|_| import.public) else { return false };
        while let Some(parent) = self.places[module].parent {
            module = parent;
            if module == here {
                return true;
            }
        }
        false
    }

    /// What `path` means in the module `here`, and the name that counts; `None` for what is not of this crate.
    fn resolve(&self, here: usize, path: &[String], seen: &mut Seen) -> Option<(Target, String)> {
        let (mut at, mut anchored) = (here, false);
        for (i, part) in path.iter().enumerate() {
            let last = i + 1 == path.len();
            match part.as_str() {
                "crate" => at = 0,
                "self" => {}
                "super" => at = self.places[at].parent?,
                name => match self.look_up(at, name, last, seen) {
                    Some((Target::Module(module), _)) if !last => at = module,
                    Some(found) => return Some(found),
                    // Made by a macro: of the module that the path leads to, if the path leads to one.
                    None => return anchored.then(|| (Target::Item(at), name.to_owned())),
                },
            }
            anchored = true;
        }
        Some((Target::Module(at), String::new()))
    }

    /// What `name` means in the module `at`.
    fn look_up(&self, at: usize, name: &str, last: bool, seen: &mut Seen) -> Option<(Target, String)> {
        if !seen.insert((at, name.to_owned(), last)) {
            return None;
        }
        let place = &self.places[at];
        let child = place.children.get(name).map(|&child| (Target::Module(child), name.to_owned()));
        let defined = || place.module.definitions.contains(name).then(|| (Target::Item(at), name.to_owned()));
        let imported = |seen: &mut Seen| {
            let named = place.module.imports.iter().find(|i| i.name.as_deref() == Some(name))?;
            self.resolve(at, &named.path, seen)
        };
        let found = if last {
            defined().or_else(|| imported(seen)).or(child)
        } else {
            child.or_else(defined).or_else(|| imported(seen))
        };
        if found.is_some() {
            return found;
        }
        for glob in place.module.imports.iter().filter(|i| i.name.is_none()) {
            let found = match self.resolve(at, &glob.path, seen) {
                Some((Target::Module(module), _)) if module != at => self.look_up(module, name, last, seen),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Names that are being looked up: imports may run in circles themselves.
type Seen = BTreeSet<(usize, String, bool)>;

/// The file of `mod name;` in `file`, whose modules lie in `folder`, and the folder of that file's own modules.
fn find(sources: &Sources, file: &str, folder: &str, name: &str, path: Option<&str>) -> (String, String) {
    if let Some(path) = path {
        let own = file.rsplit_once('/').map_or("", |(own, _)| own);
        let path = normal(&format!("{own}/{path}"));
        assert!(sources.contains_key(&path), "{file}: mod {name} is not in {path}");
        let below = path.rsplit_once('/').map_or("", |(below, _)| below).to_owned();
        return (path, below);
    }
    let below = format!("{folder}/{name}");
    let found = [format!("{below}.rs"), format!("{below}/mod.rs")].into_iter().find(|p| sources.contains_key(p));
    (found.unwrap_or_else(|| panic!("{file}: no file for mod {name}")), below)
}

/// `path` without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}
