//! Settings in a TOML file, which command line and environment win over.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

/// Why settings and their file do not come together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds a setting that is unknown or malformed, or no TOML.
    #[error("configuration file {}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, key and problem.
        source: Box<toml::de::Error>,
    },
    /// A setting of the command line cannot be written down as TOML: a path that is no UTF-8.
    #[error("a setting cannot be combined with a configuration file: {0}")]
    Setting(#[from] toml::ser::Error),
}

/// The settings `upper` of command line and environment, and those of the file where they say nothing.
///
/// Fields of `S` that are `None` say nothing. `S` refuses unknown keys itself, by `#[serde(deny_unknown_fields)]`.
///
/// # Errors
/// A file that cannot be read, is no TOML, or has a key that `S` does not know or a value that it does not take.
pub fn over_file<S: Serialize + DeserializeOwned>(upper: S, file: Option<&Path>) -> Result<S, FileError> {
    let Some(path) = file else { return Ok(upper) };
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let wrong = |source| FileError::Content { path: path.to_owned(), source: Box::new(source) };
    toml::from_str::<S>(&text).map_err(wrong)?; // for itself, so that an error shows the line
    let mut merged: Table = toml::from_str(&text).map_err(wrong)?;
    merged.extend(Table::try_from(upper)?);
    merged.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;
    use serde::Deserialize;
    use std::num::NonZeroUsize;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        dir: Option<PathBuf>,
        threads: Option<NonZeroUsize>,
        network: Option<Preset>,
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        window: Option<u32>,
    }

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("some.toml");
        std::fs::write(&path, text).expect("writes");
        (dir, path)
    }

    #[test]
    fn what_stands_above_wins() {
        let (_dir, path) = written("dir = \"/file\"\nthreads = 4\nnetwork = \"wan\"\n[inner]\nwindow = 7\n");
        let upper = || Settings { threads: NonZeroUsize::new(3), network: Some(Preset::Wifi), ..Settings::default() };
        let merged = over_file(upper(), Some(&path)).expect("a good file");
        let inner = Some(Inner { window: Some(7) });
        assert_eq!(merged, Settings { dir: Some("/file".into()), inner, ..upper() });
        assert_eq!(over_file(upper(), None).expect("no file"), upper());
    }

    #[test]
    fn a_bad_file_is_named_with_its_key() {
        for (text, word) in [
            ("thread = 2", "thread"),
            ("threads = 0", "threads"),
            ("network = \"lte\"", "lte"),
            ("[inner]\nwindows = 1", "windows"),
            ("dir", "line 1"),
        ] {
            let (_dir, path) = written(text);
            // What stands above does not hide what is wrong below.
            let upper = Settings { threads: NonZeroUsize::new(1), network: Some(Preset::Lan), ..Settings::default() };
            let error = over_file(upper, Some(&path)).expect_err(text);
            assert!(matches!(error, FileError::Content { .. }));
            assert!(error.to_string().contains(word) && error.to_string().contains("some.toml"), "{error}");
        }
        let error = over_file(Settings::default(), Some(Path::new("/nowhere.toml"))).expect_err("no file");
        assert!(matches!(error, FileError::Read { .. }) && error.to_string().contains("/nowhere.toml"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_refused_only_beside_a_file() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || Settings { dir: Some(std::ffi::OsString::from_vec(vec![0xff]).into()), ..Settings::default() };
        assert_eq!(over_file(odd(), None).expect("no file"), odd());
        let (_dir, path) = written("threads = 2");
        assert!(matches!(over_file(odd(), Some(&path)), Err(FileError::Setting(_))));
    }
}
