//! Writing files so that a kill or a full disk leaves the old one whole, and secrets so that only their owner reads
//! them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file or folder could not be written or removed; a file that was there before is whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Files that are written together: all of them to temporary names first, so that a full disk is noticed while every
/// old file still stands. What was begun and not committed leaves nothing behind when dropped.
#[derive(Debug, Default)]
pub struct Batch {
    /// Temporary name and the name to come.
    files: Vec<(PathBuf, PathBuf)>,
    /// Folders made for them, deepest first.
    folders: Vec<PathBuf>,
}

impl Batch {
    /// Creates the folder `path` and what is missing above it, with mode 0700; one that is there gets that mode.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn folder(&mut self, path: &Path) -> Result<(), WriteError> {
        let missing: Vec<PathBuf> = path.ancestors().take_while(|p| !p.exists()).map(Path::to_owned).collect();
        self.folders.splice(0..0, missing);
        create_private_dir(path)
    }

    /// Puts what `later` holds behind what this one does.
    pub fn append(&mut self, mut later: Batch) {
        self.files.append(&mut later.files);
        self.folders.splice(0..0, std::mem::take(&mut later.folders));
    }

    /// A file of mode 0600.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn private(&mut self, path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        self.stage(path, bytes, 0o600)
    }

    /// A file of mode 0644 less the umask.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn public(&mut self, path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        self.stage(path, bytes, 0o644)
    }

    fn stage(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let failed = |source| WriteError { path: path.to_owned(), source };
        let nameless = || failed(io::Error::new(io::ErrorKind::InvalidInput, "not a file name"));
        let name = path.file_name().ok_or_else(nameless)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{}.{}-{number}{TEMPORARY}", name.to_string_lossy(), std::process::id());
        self.files.push((parent(path).join(temporary), path.to_owned()));
        fill(&self.files[self.files.len() - 1].0, bytes, mode).map_err(failed)
    }

    /// Gives the files their names, in the order in which they were added. All are synced before, and each folder's
    /// names before those of the next: what comes later may rely on what came before, whenever the process is killed.
    ///
    /// # Errors
    /// [`WriteError`]; files before the one it names have been replaced, the others are as they were. A full disk is no
    /// reason for that, as renaming takes no room.
    pub fn commit(mut self) -> Result<(), WriteError> {
        while let Some((temporary, path)) = self.files.first() {
            fs::rename(temporary, path).map_err(|source| WriteError { path: path.clone(), source })?;
            fault::step();
            self.folders.clear();
            let (_, done) = self.files.remove(0);
            if self.files.first().is_none_or(|(_, next)| parent(next) != parent(&done)) {
                sync_dir(parent(&done))?;
            }
        }
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for (temporary, _) in &self.files {
            let _ = fs::remove_file(temporary);
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// How temporary names end; they begin with a dot.
const TEMPORARY: &str = ".tmp";

/// Removes files under temporary names in the folder `path` and below: what a process that was killed has left. Nobody
/// may be writing there.
///
/// # Errors
/// [`WriteError`], naming what cannot be read or removed; a folder that is not there is none.
pub fn sweep(path: &Path) -> Result<(), WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| WriteError { path, source }
    };
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(path))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed(path))?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().map_err(failed(&path))?.is_dir() {
            sweep(&path)?;
        } else if name.to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(TEMPORARY)) {
            fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Removes the file `path`, if there is one.
///
/// # Errors
/// [`WriteError`]; it is still there then.
pub fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(WriteError { path: path.to_owned(), source }),
        _ => {
            fault::step();
            Ok(())
        }
    }
}

/// Gives the folder `from` the name `to` beside it.
///
/// # Errors
/// [`WriteError`]; `from` is as it was then.
pub fn rename_dir(from: &Path, to: &Path) -> Result<(), WriteError> {
    fs::rename(from, to).map_err(|source| WriteError { path: to.to_owned(), source })?;
    fault::step();
    sync_dir(parent(to))
}

/// Makes the names in a folder safe.
fn sync_dir(path: &Path) -> Result<(), WriteError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(|source| WriteError { path: path.to_owned(), source })?;
    fault::step();
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `bytes` to `path` with mode 0600: to a temporary name beside it, synced, renamed.
///
/// # Errors
/// [`WriteError`]; nothing is left behind then.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut batch = Batch::default();
    batch.private(path, bytes)?;
    batch.commit()
}

/// As [`write_private`], with mode 0644 less the umask.
///
/// # Errors
/// [`WriteError`]; nothing is left behind then.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut batch = Batch::default();
    batch.public(path, bytes)?;
    batch.commit()
}

/// Creates the folder `path` and what is missing above it, with mode 0700; one that is there gets that mode.
///
/// # Errors
/// [`WriteError`].
pub fn create_private_dir(path: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(failed)?;
    fault::step();
    Ok(())
}

fn fill(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    fault::step();
    file.write_all(bytes)?;
    file.sync_all()?;
    fault::step();
    Ok(())
}

#[cfg(not(test))]
mod fault {
    pub(super) const fn step() {}
}

/// Where a test lets its process die.
#[cfg(test)]
pub(crate) mod fault {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Exit code of a process that was killed.
    pub(crate) const KILLED: i32 = 86;

    static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Lets this process die at the change of a file or folder with this number, from 1.
    pub(crate) fn kill_at(number: usize) {
        LEFT.store(number, Ordering::SeqCst);
    }

    /// Called after each change. Ends the process like a kill, without dropping anything.
    pub(super) fn step() {
        if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::exit(KILLED);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_and_folders_are_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        create_private_dir(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&root.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        create_private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);

        let file = dir.join("key");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&file, b"new").unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (b"new".as_slice(), 0o600));
        write_public(&dir.join("bundle"), b"x").unwrap();
        assert_eq!(mode(&dir.join("bundle")) & 0o600, 0o600);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("taken");
        fs::create_dir(&target).unwrap(); // a folder cannot be replaced by a file
        let error = write_private(&target, b"secret").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert!(target.is_dir());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(write_private(&root.path().join("missing/file"), b"x").is_err());
    }

    #[test]
    fn a_batch_is_all_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("a/b/new"));
        fs::write(&old, "old").unwrap();
        let begin = || {
            let mut batch = Batch::default();
            batch.private(&old, b"changed").unwrap();
            batch.folder(new.parent().unwrap()).unwrap();
            batch.public(&new, b"new").unwrap();
            batch
        };
        let mut batch = begin();
        assert!(batch.private(&root.path().join("missing/file"), b"x").is_err());
        drop(batch);
        assert_eq!(fs::read(&old).unwrap(), b"old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "something was left");
        begin().commit().unwrap();
        assert_eq!((fs::read(&old).unwrap(), fs::read(&new).unwrap()), (b"changed".to_vec(), b"new".to_vec()));
        assert_eq!(fs::read_dir(new.parent().unwrap()).unwrap().count(), 1);
        drop(begin());
        assert_eq!(fs::read(&new).unwrap(), b"new");
    }
}
