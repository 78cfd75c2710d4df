//! What a host remembers of the bundles that it has used, so that an older one is not taken in place of a newer one
//! (PROTOCOL.md, "Keys"): a signature says who made a bundle, not whether it still counts.
//!
//! The file stands in the host's folder, beside `models/`, which is copied anew from time to time. A line per model:
//! its name, and numbers. Devices: when the newest bundle was issued, and its version. Edges: the highest version that
//! was ever loaded, and those that were there last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the folder of a device or an edge.
pub const SEEN_FILE: &str = "versions-seen";

/// Larger than any such file, bytes.
const MOST: u64 = 1 << 20;
const HEAD: &str = "# The newest bundles of each model that this host has used: it refuses older ones. To let a model's older\n\
                    # bundles in again, because the owner says so, remove its line.\n";

/// What a host has seen so far. Nobody else of this host looks or changes it meanwhile, where the system can see to
/// that.
#[derive(Debug)]
pub struct Seen {
    file: PathBuf,
    models: BTreeMap<String, Vec<u64>>,
    changed: bool,
    _lock: Option<File>,
}

/// Why a bundle is not to be used, or cannot be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// The file is there and cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is damaged in line {line}; what it has seen is lost: remove it only if no bundle can be an older one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A device's bundle was issued before one that it has used.
    #[error(
        "is version {version} of {model}, issued before the version {newest} that this device has used: an older bundle \
         in place of a newer one. Copy the device's folder from the owner anew; if the owner has lost count, remove the \
         line of {model} in {}", file.display()
    )]
    Reissued {
        /// The model.
        model: String,
        /// Version in the bundle.
        version: u32,
        /// Version that was used.
        newest: u64,
        /// The file that says so.
        file: PathBuf,
    },
    /// An edge's bundle is not the newest, and was not there when the edge last looked.
    #[error(
        "is version {version} of {model}, and this edge has had version {newest}, and {version} not or no longer: an older \
         bundle in place of a newer one, or one that was withdrawn. Remove it, or have the owner add the model again; if \
         the owner wants this very version served, remove the line of {model} in {}", file.display()
    )]
    Withdrawn {
        /// The model.
        model: String,
        /// Version in the bundle.
        version: u32,
        /// The highest version that was ever here.
        newest: u64,
        /// The file that says so.
        file: PathBuf,
    },
}

impl Seen {
    /// What the host with this folder has seen; nothing, if it never wrote it down.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn open(folder: &Path) -> Result<Seen, SeenError> {
        let lock = File::open(folder).and_then(|folder| folder.lock().map(|()| folder)).ok();
        let file = folder.join(SEEN_FILE);
        let text = match read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(SeenError::Read { path: file, source }),
        };
        let mut models = BTreeMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, numbers) = line.split_once(' ').unwrap_or((line, ""));
            let numbers: Option<Vec<u64>> = numbers.split(' ').map(|n| n.parse().ok()).collect();
            let damaged = || SeenError::Damaged { path: file.clone(), line: i + 1 };
            models.insert(name.to_owned(), numbers.ok_or_else(damaged)?);
        }
        Ok(Seen { file, models, changed: false, _lock: lock })
    }

    /// Takes a device's bundle, issued at `issued`, unless one that was issued later was here before.
    ///
    /// # Errors
    /// [`SeenError::Reissued`].
    pub fn device(&mut self, model: &str, version: u32, issued: u64) -> Result<(), SeenError> {
        let before = self.models.get(model).map_or(&[][..], Vec::as_slice);
        if let [newest_issued, newest, ..] = *before
            && issued < newest_issued
        {
            let (model, file) = (model.to_owned(), self.file.clone());
            return Err(SeenError::Reissued { model, version, newest, file });
        }
        self.set(model, vec![issued, version.into()]);
        Ok(())
    }

    /// Whether an edge may load this version: one above all that it ever had, or one that was there last.
    ///
    /// # Errors
    /// [`SeenError::Withdrawn`].
    pub fn edge(&self, model: &str, version: u32) -> Result<(), SeenError> {
        match self.models.get(model).map_or(&[][..], Vec::as_slice) {
            [newest, held @ ..] if u64::from(version) <= *newest && !held.contains(&version.into()) => {
                let (model, file) = (model.to_owned(), self.file.clone());
                Err(SeenError::Withdrawn { model, version, newest: *newest, file })
            }
            _ => Ok(()),
        }
    }

    /// Writes down what an edge has loaded: what is not among it was withdrawn. No models at all say nothing, since
    /// that is what a folder looks like that is not there yet.
    pub fn loaded<'a>(&mut self, models: impl IntoIterator<Item = (&'a str, u32)>) {
        let mut held: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (model, version) in models {
            held.entry(model).or_default().push(version.into());
        }
        if held.is_empty() {
            return;
        }
        let known = self.models.keys().cloned().collect::<Vec<_>>();
        for model in known.iter().map(String::as_str).chain(held.keys().copied()) {
            let mut now = held.get(model).cloned().unwrap_or_default();
            now.sort_unstable();
            now.dedup();
            let before = self.models.get(model).and_then(|m| m.first());
            let newest = now.last().max(before).copied().unwrap_or_default();
            self.set(model, [vec![newest], now].concat());
        }
    }

    fn set(&mut self, model: &str, numbers: Vec<u64>) {
        if self.models.get(model) != Some(&numbers) {
            self.models.insert(model.to_owned(), numbers);
            self.changed = true;
        }
    }

    /// Where it is written down.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes it down, for this user alone, if anything has changed.
    ///
    /// # Errors
    /// When the folder cannot be written to: nothing new is remembered then.
    pub fn save(self) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        // Of mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(HEAD.as_bytes())?;
        for (model, numbers) in &self.models {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            writeln!(file, "{model} {}", numbers.join(" "))?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        File::open(folder)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary folder")
    }

    fn open(folder: &tempfile::TempDir) -> Seen {
        Seen::open(folder.path()).expect("a good file")
    }

    /// As an edge does: all of the folder or nothing.
    fn load(folder: &tempfile::TempDir, models: &[(&str, u32)]) -> Result<(), SeenError> {
        let mut seen = open(folder);
        models.iter().try_for_each(|(model, version)| seen.edge(model, *version))?;
        seen.loaded(models.iter().copied());
        seen.save().expect("writes");
        Ok(())
    }

    #[test]
    fn a_device_takes_what_was_issued_last_whatever_its_version() {
        let folder = folder();
        let take = |version, issued| {
            let mut seen = open(&folder);
            let taken = seen.device("net", version, issued);
            seen.save().expect("writes");
            taken.map_err(|e| e.to_string())
        };
        take(1, 100).expect("the first");
        take(1, 100).expect("the same");
        take(2, 101).expect("a newer version");
        let older = take(1, 100).expect_err("an older bundle");
        assert!(
            older.starts_with("is version 1 of net, issued before the version 2 that this device has used"),
            "{older}"
        );
        assert!(older.contains(SEEN_FILE) && older.contains("remove the line of net"), "{older}");
        take(2, 101).expect("the refused one left nothing");
        // After version 2 was withdrawn.
        take(1, 102).expect("issued later");
        take(2, 101).expect_err("fresh keys are not taken back either");
        open(&folder).device("other", 1, 0).expect("another model");
    }

    #[test]
    fn an_edge_takes_newer_versions_and_those_that_it_has() {
        let folder = folder();
        load(&folder, &[("net", 2), ("other", 1)]).expect("the first");
        load(&folder, &[("net", 2), ("net", 3), ("other", 1)]).expect("a newer one beside it");
        load(&folder, &[("net", 3), ("net", 2), ("other", 1)]).expect("the same");
        let never = load(&folder, &[("net", 1), ("net", 2), ("net", 3)]).expect_err("was never here").to_string();
        assert!(
            never.starts_with("is version 1 of net, and this edge has had version 3, and 1 not or no longer"),
            "{never}"
        );
        load(&folder, &[("net", 2), ("net", 3), ("other", 1)]).expect("nothing was withdrawn by a load that failed");
        load(&folder, &[("net", 2)]).expect("3 is withdrawn, and the other model");
        for (model, version) in [("net", 3), ("net", 1), ("other", 1)] {
            load(&folder, &[("net", 2), (model, version)]).expect_err("withdrawn");
        }
        load(&folder, &[]).expect("a folder that is not there");
        load(&folder, &[("net", 2)]).expect("there again");
        load(&folder, &[("net", 4), ("other", 2)]).expect("newer ones");
        assert!(load(&folder, &[("net", 2)]).expect_err("withdrawn").to_string().contains("has had version 4"));
        std::fs::remove_file(folder.path().join(SEEN_FILE)).expect("removes");
        load(&folder, &[("net", 2)]).expect("nothing is known");
    }

    #[test]
    fn the_file_is_private_and_what_is_no_such_file_is_named() {
        let folder = folder();
        let path = folder.path().join(SEEN_FILE);
        open(&folder).save().expect("nothing to write");
        assert!(!path.exists());
        load(&folder, &[("net", 1)]).expect("the first");
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a file").permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        for bad in ["net", "net ", "net x", "net 1 -2", "# ok\nnet 1,2", "net 99999999999999999999"] {
            std::fs::write(&path, bad).expect("writes");
            let error = Seen::open(folder.path()).expect_err(bad).to_string();
            assert!(error.contains(SEEN_FILE) && error.contains("is damaged in line"), "{error}");
        }
        std::fs::write(&path, [0xff, 0xfe]).expect("writes");
        assert!(matches!(Seen::open(folder.path()), Err(SeenError::Read { .. })));
    }

    #[test]
    fn a_folder_that_takes_nothing_is_told() {
        let folder = folder();
        let mut seen = open(&folder);
        seen.device("net", 1, 1).expect("the first");
        drop(folder);
        seen.save().expect_err("nothing is remembered");
    }
}
