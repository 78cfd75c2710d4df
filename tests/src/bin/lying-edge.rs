//! An edge that is honest about everything but its results: `lying-edge (a|b) DIR [PEER]`.

use tokio::signal::unix::{SignalKind, signal};
use twinmask_edge::{Config, Daemon, Role};
use twinmask_tests::liar;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let role = match args.next().as_deref() {
        Some("a") => Role::A,
        Some("b") => Role::B,
        other => panic!("a or b, not {other:?}"),
    };
    let mut config = Config::new(args.next().expect("a folder"), role).on_loopback();
    config.peer = args.next();
    tracing_subscriber::fmt().json().with_writer(std::io::stderr).init();
    let daemon = Daemon::start(config, role, liar()).await.expect("a good folder");
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    println!("listening on {}", daemon.addr());
    terminate.recv().await;
    daemon.shutdown().await;
}
