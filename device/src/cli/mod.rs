//! The `device` command (docs/cli.md).

mod bench;
mod calibrate;
mod command;
mod compare;
mod demo;
mod doctor;
mod exit;
mod infer;
mod load;
mod patient;
mod print;
mod report;
mod settings;

pub use command::main;
pub use settings::Settings;
