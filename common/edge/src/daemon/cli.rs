//! The command line of `edge-a` and `edge-b`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use tokio::signal::unix::{Signal, SignalKind, signal};
use twinmask_kernels::Kernels;
use twinmask_model::container;
use twinmask_settings::{over_file, start_log, state_defaults, version};
use twinmask_transport::{Kept, keep_memory};

use crate::daemon::endpoints::Daemon;
use crate::daemon::settings::{LOG, NEEDED, Settings};
use crate::error::StartError;
use crate::role::Role;

/// Compute threads may be in the middle of a layer; the process does not wait longer for its runtime.
const RUNTIME_WAIT: Duration = Duration::from_millis(500);

#[derive(Parser)]
#[command(disable_help_subcommand = true, disable_help_flag = true, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// TOML file with the same settings (underscores for dashes); command line and environment win over it
    #[arg(long, env = "TWINMASK_CONFIG", value_name = "FILE", help_heading = NEEDED)]
    config: Option<PathBuf>,
    /// Print this help
    #[arg(short, long, action = ArgAction::Help, help_heading = "Other")]
    help: Option<bool>,
    /// Print the version, and those of what other hosts have to match
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Other")]
    version: Option<bool>,
}

const AFTER: &str = "\
Prints `listening on ADDR` to stdout when ready; logs go to stderr (JSON unless that is a terminal).
SIGTERM, SIGINT: take no new sessions, finish what runs, exit within 10 s. SIGHUP: load identity,
revocation list and models anew.
Exit codes: 0 ok, 2 usage, 3 configuration or files, 4 network.";

fn command(role: Role, kernels: &Kernels) -> clap::Command {
    let about = match role {
        Role::A => {
            "The mask edge of twinmask: computes the linear layers of a network on masks that it expands from a seed"
        }
        Role::B => {
            "The data edge of twinmask: computes the linear layers of a network on masked shares that devices upload"
        }
    };
    let kernels =
        format!("How linear layers are computed; this build has on this processor: {}", kernels.names().join(", "));
    let command = Cli::command()
        .name(role.name())
        .bin_name(role.name())
        .version(version(container::VERSION))
        .about(about)
        .after_help(AFTER)
        .mut_arg("kernel", |a| a.help(kernels));
    state_defaults(command, &Settings::defaults(role))
}

/// Runs the edge `role`, which may choose among `kernels`, with the settings of command line, environment and file
/// until it is told to end.
#[must_use]
pub fn run(role: Role, kernels: Kernels) -> ExitCode {
    let matches = command(role, &kernels).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    match settings(cli).and_then(|settings| serve(settings, role, &kernels)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn settings(cli: Cli) -> Result<Settings, StartError> {
    Ok(over_file(cli.settings, cli.config.as_deref())?)
}

pub(super) fn serve(settings: Settings, role: Role, kernels: &Kernels) -> Result<(), StartError> {
    twinmask_heap::few_arenas(); // an edge stays as large as its largest moment otherwise, in each of them
    let memory = keep_memory(); // before anything secret is in it
    start_log(settings.log.as_deref(), LOG.into())?;
    match memory {
        Ok(Kept { locked }) => tracing::debug!(locked, "memory is kept from core dumps and other processes"),
        Err(error) => tracing::warn!(%error, "memory is not kept from core dumps, other processes and swap"),
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let kernel = settings.kernel(kernels)?;
    let config = settings.config(role)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The network needs no more than that, and a round that is passed on between fewer threads wakes fewer of them up.
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
    let runtime = twinmask_transport::runtime(runtime.worker_threads(workers)).map_err(StartError::System)?;
    let result = runtime.block_on(async {
        let signals = Signals::new().map_err(StartError::System)?;
        let daemon = Daemon::start(config, role, kernel).await?;
        announce(&daemon);
        signals.attend(&daemon).await;
        daemon.shutdown().await;
        Ok(())
    });
    runtime.shutdown_timeout(RUNTIME_WAIT);
    result
}

/// The line that scripts wait for. Nobody reading it is no reason to stop.
fn announce(daemon: &Daemon) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "listening on {}", daemon.addr()).and_then(|()| out.flush());
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the edge is to end.
    async fn attend(mut self, daemon: &Daemon) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => reload(daemon).await,
            }
        }
        tracing::info!("going down");
    }
}

async fn reload(daemon: &Daemon) {
    match tokio::task::block_in_place(|| daemon.reload()) {
        Ok(()) => tracing::info!("identity and models loaded anew"),
        Err(error) => tracing::error!(%error, "not loaded anew; what was there is served on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_arguments_are_consistent() {
        for role in [Role::A, Role::B] {
            let mut command = command(role, &Kernels::native());
            command.clone().debug_assert();
            let help = command.render_help().to_string();
            for word in ["--dir", "TWINMASK_LISTEN", "portable", "SIGHUP", &role.to_string()] {
                assert!(help.contains(word), "{word} in {help}");
            }
            // What a person needs comes first.
            let order =
                ["What an edge needs", "--dir", "--listen", "--config", "--admin", "--threads", "--queue", "--help"];
            let places = order.map(|word| help.find(word).unwrap_or_else(|| panic!("{word} in {help}")));
            assert!(places.is_sorted(), "{help}");
            let listen = match role {
                Role::A => "[default: 0.0.0.0:7401]",
                Role::B => "[default: 0.0.0.0:7402]",
            };
            for default in [listen, "[default: auto]", "[default: lan]", "[default: info]", "[default: 30000]"] {
                assert!(help.contains(default), "{default} in {help}");
            }
        }
    }

    #[test]
    fn the_version_names_all_that_must_match() {
        let error = command(Role::B, &Kernels::native()).try_get_matches_from(["edge-b", "--version"]);
        let text = error.expect_err("prints and exits").to_string();
        let release = env!("CARGO_PKG_VERSION");
        assert_eq!(text, format!("edge-b {release} (wire 2, ALPN twinmask/2, bundles 2)\n"));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, "dir = \"/from-file\"\nqueue = 5\n").expect("writes");
        let file = path.to_str().expect("UTF-8");
        let arguments = ["edge-a", "--config", file, "--queue", "6"];
        let cli = Cli::from_arg_matches(&command(Role::A, &Kernels::native()).get_matches_from(arguments))
            .expect("good arguments");
        let settings = settings(cli).expect("a good file");
        assert_eq!(settings.queue.map(|q| q.get()), Some(6));
        assert_eq!(settings.dir, Some("/from-file".into()));
        assert!(command(Role::A, &Kernels::native()).try_get_matches_from(["edge-a", "--threads", "0"]).is_err());
    }
}
