//! A network and its optimizer.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::store::ModuleRecord;
use burn::tensor::Gradients;

/// A network being trained.
#[derive(Clone)]
pub struct Learner<M> {
    /// The network.
    pub net: M,
    optimizer: ModuleOptimizer,
}

impl<M: Module> Learner<M> {
    /// `net`, trained by `optimizer`.
    #[must_use]
    pub fn new(net: M, optimizer: ModuleOptimizer) -> Self {
        Self { net, optimizer }
    }

    /// `net`, trained by Adam as it is usually set.
    #[must_use]
    pub fn adam(net: M) -> Self {
        Self::new(net, AdamConfig::new().init())
    }

    /// One step with the network's own share of `gradients`.
    pub fn step(&mut self, rate: f64, gradients: &mut Gradients) {
        let own = GradientsParams::from_module(gradients, &self.net);
        self.net = self.optimizer.step(rate, self.net.clone(), own);
    }
}

/// What a checkpoint holds.
pub trait Saved: Sized {
    /// Writes it to files whose names begin with `stem`.
    ///
    /// # Errors
    /// When they cannot be written.
    fn save(&self, stem: &Path) -> Result<()>;

    /// The same as was saved, in place of what is there.
    ///
    /// # Errors
    /// When the files are missing or of another network.
    fn load(self, stem: &Path) -> Result<Self>;
}

impl<M: Module> Saved for Learner<M> {
    fn save(&self, stem: &Path) -> Result<()> {
        save(&self.net, stem)?;
        let path = with(stem, ".optimizer.bpk");
        self.optimizer.save(&path).map_err(|e| anyhow!("{}: {e}", path.display()))
    }

    fn load(self, stem: &Path) -> Result<Self> {
        let path = with(stem, ".optimizer.bpk");
        let optimizer = self.optimizer.load(&path).map_err(|e| anyhow!("{}: {e}", path.display()))?;
        Ok(Self { net: load(self.net, stem)?, optimizer })
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn save(&self, stem: &Path) -> Result<()> {
        self.0.save(&with(stem, ".a"))?;
        self.1.save(&with(stem, ".b"))
    }

    fn load(self, stem: &Path) -> Result<Self> {
        Ok((self.0.load(&with(stem, ".a"))?, self.1.load(&with(stem, ".b"))?))
    }
}

/// Writes a network's weights and running statistics.
///
/// # Errors
/// When they cannot be written.
pub fn save<M: Module>(net: &M, stem: &Path) -> Result<()> {
    let path = with(stem, ".net.bpk");
    net.valid().into_record().save(&path).map_err(|e| anyhow!("{}: {e}", path.display()))
}

/// `net` with the weights and running statistics that were saved.
///
/// # Errors
/// When the file is missing or of another network.
pub fn load<M: Module>(net: M, stem: &Path) -> Result<M> {
    let path = with(stem, ".net.bpk");
    let record = ModuleRecord::load(&path).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    net.try_load_record(record).map_err(|e| anyhow!("{}: {e}", path.display()))
}

fn with(stem: &Path, end: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(end);
    name.into()
}
