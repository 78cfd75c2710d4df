//! What an experiment writes and `compare` reads: one JSON file per experiment in `benches/results/alternatives/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A column of the comparison. In the files its name in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Who sees what.
    WhoSees,
    /// Whom the data's owner has to trust, and for what.
    Trust,
    /// Accuracy of the plain network, in percent.
    AccuracyPlain,
    /// Accuracy by this method, in percent.
    Accuracy,
    /// A picture: what the best attack here rebuilt beside the original.
    AttackPicture,
    /// Peak signal-to-noise ratio of what was rebuilt, in dB.
    AttackPsnrDb,
    /// Structural similarity of what was rebuilt, at most 1.
    AttackSsim,
    /// The attack, in words.
    AttackHow,
    /// Floating point or integer operations of the device per inference.
    DeviceFlops,
    /// Bytes that the device keeps.
    DeviceStorageBytes,
    /// Bytes on the wire per inference, both directions.
    BytesPerInference,
    /// Milliseconds per inference at 40 Mbit/s, round trip 5 ms.
    LatencyMs,
    /// Whether it works with a pretrained network as it is.
    Pretrained,
    /// Whether it survives an update of the model.
    SurvivesUpdate,
    /// Whether a server that answers wrongly is noticed.
    Integrity,
}

impl Column {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::WhoSees,
        Self::Trust,
        Self::AccuracyPlain,
        Self::Accuracy,
        Self::AttackPicture,
        Self::AttackPsnrDb,
        Self::AttackSsim,
        Self::AttackHow,
        Self::DeviceFlops,
        Self::DeviceStorageBytes,
        Self::BytesPerInference,
        Self::LatencyMs,
        Self::Pretrained,
        Self::SurvivesUpdate,
        Self::Integrity,
    ];

    /// The head of the column, with its unit.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::WhoSees => "who sees what",
            Self::Trust => "trust",
            Self::AccuracyPlain => "accuracy, plain, %",
            Self::Accuracy => "accuracy, this way, %",
            Self::AttackPicture => "best attack here: picture",
            Self::AttackPsnrDb => "PSNR, dB",
            Self::AttackSsim => "SSIM",
            Self::AttackHow => "attack",
            Self::DeviceFlops => "device FLOPs",
            Self::DeviceStorageBytes => "device storage, bytes",
            Self::BytesPerInference => "bytes per inference",
            Self::LatencyMs => "latency, ms",
            Self::Pretrained => "pretrained network as it is",
            Self::SurvivesUpdate => "survives a model update",
            Self::Integrity => "integrity",
        }
    }
}

/// A number or words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number, in the cell's unit.
    Number(f64),
    /// Words.
    Text(String),
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// One cell: measured by the code, or marked with its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What it says.
    pub value: Value,
    /// Unit of a number, where the column's title does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A file beside the results, shown in the cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Whether this code measured it in this run.
    pub measured: bool,
    /// Where it comes from, if it was not measured; else, optionally, how it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Cell {
    /// What the code measured.
    pub fn measured(value: impl Into<Value>) -> Self {
        Self { value: value.into(), unit: None, picture: None, measured: true, source: None }
    }

    /// What was not measured, with where it comes from: a paper's section, a document, the definition of the scheme.
    pub fn cited(value: impl Into<Value>, source: impl Into<String>) -> Self {
        Self { value: value.into(), unit: None, picture: None, measured: false, source: Some(source.into()) }
    }

    /// The same, with how it was measured or where it stands.
    #[must_use]
    pub fn from(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, in `unit`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// The same, with a picture: a file name in the folder of the results.
    #[must_use]
    pub fn picture(mut self, file: impl Into<String>) -> Self {
        self.picture = Some(file.into());
        self
    }
}

/// One row of the comparison: a method, under one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the method, and of the setting if there are several.
    pub method: String,
    /// Its cells; a column that is missing was not measured.
    pub columns: BTreeMap<Column, Cell>,
}

impl Row {
    /// A row without cells.
    pub fn new(method: impl Into<String>) -> Self {
        Self { method: method.into(), columns: BTreeMap::new() }
    }

    /// The same with one more cell.
    #[must_use]
    pub fn with(mut self, column: Column, cell: Cell) -> Self {
        self.columns.insert(column, cell);
        self
    }
}

/// A table of an experiment's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Heads of the columns, with units.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
    /// What to know when reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All that one experiment found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name: `obfuscator`, `drift`, `partition`, `gradients`, `onetime`, `ends` or `twinmask`.
    pub experiment: String,
    /// The seed that everything random came from.
    pub seed: u64,
    /// `full`, `normal` or `smoke`.
    pub budget: String,
    /// What it ran on.
    pub machine: String,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// Rows of the comparison.
    pub rows: Vec<Row>,
    /// Tables of its own, by title.
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
    /// Pictures by title: file names in the same folder.
    #[serde(default)]
    pub pictures: BTreeMap<String, String>,
    /// How it differs from the publication, and why.
    #[serde(default)]
    pub differences: Vec<String>,
}

impl Experiment {
    /// Where the results of the experiment `name` are in `folder`.
    #[must_use]
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.json"))
    }

    /// Writes it to `folder`, whole or not at all; gives the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let path = Self::path(folder, &self.experiment);
        let part = path.with_extension("json.part");
        fs::write(&part, serde_json::to_vec_pretty(self)?).with_context(|| part.display().to_string())?;
        fs::rename(&part, &path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Reads the results of the experiment `name` from `folder`; `None` when it was not run.
    ///
    /// # Errors
    /// When the file is there but cannot be read, or is not of this form.
    pub fn read(folder: &Path, name: &str) -> Result<Option<Self>> {
        let path = Self::path(folder, name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        };
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{}: not an experiment", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = Row::new("no protection")
            .with(Column::Accuracy, Cell::measured(98.9).unit("%"))
            .with(Column::AttackPicture, Cell::measured("the input itself").picture("x.png"))
            .with(Column::Trust, Cell::cited("the server", "definition"));
        let table = Table { columns: vec!["a".into()], rows: vec![vec![1.5.into()]], note: None };
        let written = Experiment {
            experiment: "ends".into(),
            seed: 1,
            budget: "smoke".into(),
            machine: "?".into(),
            took_s: 0.5,
            rows: vec![row],
            tables: BTreeMap::from([("t".into(), table)]),
            pictures: BTreeMap::new(),
            differences: vec![],
        };
        let path = written.write(folder.path()).expect("written");
        let text = fs::read_to_string(path).expect("text");
        assert!(text.contains("\"attack_picture\""), "{text}");
        assert_eq!(Experiment::read(folder.path(), "ends").expect("read"), Some(written));
        assert_eq!(Experiment::read(folder.path(), "drift").expect("absent"), None);
    }

    #[test]
    fn another_form_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(Experiment::path(folder.path(), "ends"), "{\"rows\": 3}").expect("written");
        let error = Experiment::read(folder.path(), "ends").expect_err("refused").to_string();
        assert!(error.contains("ends.json"), "{error}");
    }
}
