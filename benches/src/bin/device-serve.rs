//! The device's library as a process that infers once per line on its standard input, so that its runs can alternate
//! with those of others: takes the settings of `device`, answers each line with
//! `{"ms":..,"cpu_ms":..,"device_ms":..,"fallbacks":..,"mode":..,"bytes":{..},"edge_ms":{..}}`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use serde_json::json;
use twinmask_device::cli::Settings;
use twinmask_device::{Device, EdgeUsage, Input, Mode, Tensor};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// Inferences before the first that is measured.
    #[arg(long, default_value_t = 5)]
    warmup: u32,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // As the program `device` has it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&cli))
}

async fn serve(cli: &Cli) -> Result<()> {
    let device = cli.settings.device()?;
    let shape = device.inputs().tensors[0].shape.clone();
    let elements = shape.iter().map(|&d| d as usize).product();
    let input = twinmask_benches::input(elements);
    let input = Input::from(Tensor::new(shape, input)?);
    for _ in 0..cli.warmup {
        device.run(input.clone()).await?;
    }
    let (model, rounds) = (device.model().name().to_owned(), device.model().plan().rounds().len());
    let session = device.session().await?;
    let mode = session.as_ref().map_or(Mode::Local, |s| s.mode());
    let kernels = session.as_ref().map(|s| s.kernels());
    say(&json!({"model": model, "rounds": rounds, "mode": mode.name(), "kernels": kernels}));
    let mut lines = lines();
    while lines.recv().await.is_some() {
        run(&device, input.clone()).await?;
    }
    device.close().await;
    Ok(())
}

/// The lines on standard input, read by a thread of its own: the runtime's only one keeps the connections alive.
fn lines() -> tokio::sync::mpsc::Receiver<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) && sender.blocking_send(()).is_ok() {
            line.clear();
        }
    });
    receiver
}

async fn run(device: &Device, input: Input) -> Result<()> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let done = device.run(input).await?;
    let (elapsed, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
    let bytes = |e: EdgeUsage| json!({"up": e.up, "down": e.down});
    say(&json!({
        "ms": ms(elapsed), "cpu_ms": ms(cpu), "device_ms": ms(done.times.device()),
        "mode": done.mode.name(), "fallbacks": done.fallbacks,
        "bytes": {"edge_a": bytes(done.usage.a), "edge_b": bytes(done.usage.b)},
        "edge_ms": {"edge_a": ms(done.usage.a.compute), "edge_b": ms(done.usage.b.compute)},
    }));
    Ok(())
}

/// A line for whoever started this; whether it is still there shows at the next line that it sends.
fn say(value: &serde_json::Value) {
    let _ = writeln!(std::io::stdout(), "{value}");
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}
