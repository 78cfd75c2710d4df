//! What the command lines of edges and devices have in common.
//!
//! A program has one struct of settings, all of them optional, that derives `clap::Args`, `Serialize` and `Deserialize`
//! (with `deny_unknown_fields`): its field names are options on the command line, `TWINMASK_*` in the environment and
//! keys in a TOML file. [`over_file`] merges the three, [`state_defaults`] writes the defaults into the help,
//! [`start_log`] begins logging, [`version`] is what `--version` prints, and [`Preset`] is the option `--network`.

mod file;
mod help;
mod log;
mod preset;
mod version;

pub use file::{FileError, over_file};
pub use help::state_defaults;
pub use log::{LogError, start_log};
pub use preset::Preset;
pub use version::version;
