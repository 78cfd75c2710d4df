//! Sessions that are only kept open, after an inference each.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;
use twinmask_benches::report::Report;

use crate::cli::Cli;
use crate::scene::{Scene, resident};

/// Sessions before the first measurement: what edges set up once is not counted.
const WARMUP: usize = 24;

/// What each session of many takes at both edges.
pub(crate) async fn measure(cli: &Cli, scene: &Scene, report: &mut Report) -> Result<()> {
    let many = (cli.sessions + 2 * WARMUP).to_string();
    let pair = scene.edges(&["--max-sessions", &many, "--max-sessions-per-device", &many])?;
    let both = || Ok::<_, anyhow::Error>([resident(pair.a.id())?, resident(pair.b.id())?]);
    let mut warm = Vec::new();
    for i in 0..WARMUP {
        let session = scene.session(&pair, i).await?;
        scene.infer(&session).await?;
        warm.push(session);
    }
    drop(warm);
    sleep(Duration::from_secs(20)).await;
    let before = both()?;
    let (mut sessions, mut fallbacks) = (Vec::new(), 0);
    for i in 0..cli.sessions {
        let session = scene.session(&pair, i).await?;
        fallbacks += scene.infer(&session).await?;
        sessions.push(session);
        if (i + 1) % 100 == 0 {
            let now = both()?;
            eprintln!(
                "{} sessions: {:?} MB above, {fallbacks} fallbacks",
                i + 1,
                [0, 1].map(|e| (now[e] as f64 - before[e] as f64) / 1e6)
            );
        }
    }
    for _ in 0..=cli.pause / 10 {
        let now = both()?;
        eprintln!("then: {:?} MB above", [0, 1].map(|e| (now[e] as f64 - before[e] as f64) / 1e6));
        sleep(Duration::from_secs(10)).await;
    }
    let after = both()?;
    let each = |e: usize| (after[e] as f64 - before[e] as f64) / cli.sessions as f64 / 1e3;
    let row =
        vec![cli.sessions.to_string(), format!("{:.1}", each(0)), format!("{:.1}", each(1)), fallbacks.to_string()];
    report.table("idle", &["sessions", "kB each at A", "kB each at B", "fallbacks"], &[row]);
    drop(sessions);
    Ok(())
}
