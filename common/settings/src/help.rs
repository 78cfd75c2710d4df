//! Defaults in the help, from the one place that states them.

use clap::Command;
use serde::Serialize;
use toml::{Table, Value};

/// `command` with ` [default: VALUE]` behind the help of every option that `defaults` has a value for, by the name of
/// the field. `defaults` is the program's struct of settings, filled with what holds if nobody says anything.
///
/// # Panics
/// If `defaults` holds what TOML cannot: a path that is no UTF-8.
#[must_use]
pub fn state_defaults(command: Command, defaults: &impl Serialize) -> Command {
    let defaults = Table::try_from(defaults).expect("defaults are plain values");
    command.mut_args(|arg| {
        let Some(value) = defaults.get(arg.get_id().as_str()) else { return arg };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let value = if let Value::String(text) = value { text.clone() } else { value.to_string() };
        arg.help(format!("{help} [default: {value}]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;
    use clap::{Args, CommandFactory, Parser};

    #[derive(Args, Serialize)]
    struct Settings {
        /// Where things are
        #[arg(long, global = true)]
        dir: Option<String>,
        /// How many
        #[arg(long, global = true)]
        threads: Option<u32>,
        /// Kind of network
        #[arg(long, global = true)]
        network: Option<Preset>,
    }

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        _settings: Settings,
        #[command(subcommand)]
        _command: Option<Sub>,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        /// Does it
        Run,
    }

    #[test]
    fn the_help_says_what_holds() {
        let defaults = Settings { dir: None, threads: Some(7), network: Some(Preset::Wifi) };
        let mut command = state_defaults(Cli::command(), &defaults);
        let mut helps = vec![command.render_help().to_string()];
        command.build();
        helps.push(command.find_subcommand_mut("run").expect("declared").render_help().to_string());
        for help in helps {
            let of = |option: &str| help.lines().find(|l| l.contains(option)).map(str::to_owned).expect("an option");
            assert!(of("--dir").ends_with("Where things are"), "{help}");
            assert!(of("--threads").ends_with("How many [default: 7]"), "{help}");
            assert!(of("--network").contains("Kind of network [default: wifi]"), "{help}");
        }
    }
}
