//! Programs that do one run per line on their standard input and answer each with a line of JSON: so that runs of
//! different programs can alternate.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::folders::{model_path, workspace};

/// A program that runs once per line. Killed when dropped.
pub struct Runner {
    what: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Runner {
    /// Starts `command` and waits for its first line, which says that it is ready.
    ///
    /// # Errors
    /// When it cannot be started or ends before it is ready; its standard error is this program's.
    pub fn start(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| what.clone())?;
        let stdin = child.stdin.take().ok_or_else(|| anyhow!("{what}: no standard input"))?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(|| anyhow!("{what}: no standard output"))?);
        let mut runner = Self { what, child, stdin, stdout, ready: Value::Null };
        runner.ready = runner.answer()?;
        Ok(runner)
    }

    /// One run; the JSON object that it answered with, in which `ms` is its latency.
    ///
    /// # Errors
    /// When it has ended or answers something else.
    pub fn run(&mut self) -> Result<Value> {
        self.stdin.write_all(b"\n").and_then(|()| self.stdin.flush()).with_context(|| self.what.clone())?;
        self.answer()
    }

    /// One run; its milliseconds.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ms(&mut self) -> Result<f64> {
        let answer = self.run()?;
        answer["ms"].as_f64().ok_or_else(|| anyhow!("{} answered without ms: {answer}", self.what))
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).with_context(|| self.what.clone())?;
        if line.is_empty() {
            bail!("{} ended: {}", self.what, self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.what))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python with onnxruntime that `make bench` installs in `target/bench-venv` (or `TWINMASK_BENCH_PYTHON`).
///
/// # Errors
/// When it is not there.
pub fn python() -> Result<PathBuf> {
    let venv = || workspace().join("target/bench-venv/bin/python");
    let python = std::env::var_os("TWINMASK_BENCH_PYTHON").map_or_else(venv, PathBuf::from);
    if !python.exists() {
        bail!("{} is not there: run `make bench-venv`", python.display());
    }
    Ok(python)
}

/// Local inference of the ONNX file `model` by onnxruntime with one thread (`threads` of them, in general).
///
/// # Errors
/// When Python or onnxruntime is missing or the file cannot be loaded.
pub fn onnxruntime(model: &Path, threads: usize) -> Result<Runner> {
    let script = workspace().join("benches/ort/serve.py");
    Runner::start(Command::new(python()?).arg(script).arg(model).args(["--threads", &threads.to_string()]))
}

/// The int8 form (QDQ, static, random calibration data) of the ONNX file `model`, made once in `target/bench-models`:
/// the folder of `model` may be somebody's data.
///
/// # Errors
/// When Python or onnxruntime is missing, or the file cannot be quantized.
pub fn int8(model: &Path) -> Result<PathBuf> {
    let name = model.file_stem().map(|stem| stem.to_string_lossy().into_owned() + ".int8");
    let out = model_path(&name.ok_or_else(|| anyhow!("{} is no file", model.display()))?)?;
    if !out.exists() {
        let script = workspace().join("benches/ort/quantize.py");
        let status = Command::new(python()?).arg(script).arg(model).arg(&out).status().context("quantize.py")?;
        if !status.success() {
            bail!("quantize.py {}: {status}", model.display());
        }
    }
    Ok(out)
}
