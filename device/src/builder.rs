//! Opening a device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use twinmask_masking::Integrity;
use twinmask_transport::{Connection, Role, TransportLimits};
use twinmask_wire::CodecChoice;

use crate::credentials::Credentials;
use crate::device::{Device, Dial, Way};
use crate::error::{DeviceError, SettingError};
use crate::input::MAX_MEGAPIXELS;
use crate::local::Local;
use crate::mode::Mode;
use crate::model::Model;
use crate::session::{Edges, SessionOptions};
use crate::store::DeviceDir;

/// Settings of a device that is to be opened; all but the folder and, unless it computes alone, the two edges have
/// defaults.
#[derive(Clone)]
#[must_use = "open() makes a device of it"]
pub struct Builder {
    dir: PathBuf,
    model: Option<String>,
    edges: Option<(String, String)>,
    dial: Option<Arc<Dial>>,
    mode: Mode,
    integrity: Option<Integrity>,
    options: SessionOptions,
    limits: TransportLimits,
    max_megapixels: u32,
    watch: usize,
}

impl Device {
    /// Settings for the device whose folder `owner-keygen add-device` wrote.
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        Builder {
            dir: dir.into(),
            model: None,
            edges: None,
            dial: None,
            mode: Mode::default(),
            integrity: None,
            options: SessionOptions::default(),
            limits: TransportLimits::lan(),
            max_megapixels: MAX_MEGAPIXELS,
            watch: 0,
        }
    }

    /// A device that computes everything itself, with the same results to the bit; its folder needs all weights
    /// (`owner-keygen add-device --weights`).
    ///
    /// # Errors
    /// [`DeviceError`] when folder or model cannot be used.
    pub fn local(dir: impl Into<PathBuf>) -> Result<Self, DeviceError> {
        Self::builder(dir).mode(Mode::Local).build()
    }
}

impl Builder {
    /// Which of the folder's models, if it holds several.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// HOST:PORT of edge A, the mask edge, and of edge B, the data edge.
    pub fn edges(mut self, a: impl Into<String>, b: impl Into<String>) -> Self {
        self.edges = Some((a.into(), b.into()));
        self
    }

    /// Edges within this process instead, for tests: `dial` gives a new connection to the edge of that role, as
    /// `twinmask_transport::memory_pair_as` makes them.
    pub fn edges_in_memory(mut self, dial: impl Fn(Role) -> Connection + Send + Sync + 'static) -> Self {
        self.dial = Some(Arc::new(dial));
        self
    }

    /// How the linear layers are computed [default: [`Mode::Split`]].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Checks on the edges' answers [default: `sample:16+freivalds`, without Freivalds where bits are dropped].
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.integrity = Some(integrity);
        self
    }

    /// Encoding of payloads [default: [`CodecChoice::Auto`]].
    pub fn codec(mut self, codec: CodecChoice) -> Self {
        self.options.codec = codec;
        self
    }

    /// Leaves low bits of the answers out, which saves bytes and makes results slightly inexact; never with Freivalds
    /// [default: off].
    pub fn drop_bits(mut self, drop: bool) -> Self {
        self.options.drop_bits = drop;
        self
    }

    /// Inferences whose answers edge A sends ahead while the link is idle, in mode split [default: 0].
    pub fn prefetch(mut self, inferences: usize) -> Self {
        self.options.prefetch = inferences;
        self
    }

    /// Transport settings: [`TransportLimits::lan`], `wifi`, `wan`, or of one's own [default: lan].
    pub fn transport(mut self, limits: TransportLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Longest wait for a connection, and for each answer [default: 30 s].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Most megapixels (2^20) of a picture that is given as a file: larger ones are refused by their header [default:
    /// [`MAX_MEGAPIXELS`](crate::MAX_MEGAPIXELS)]. A PNG is decoded row by row; a JPEG, an interlaced PNG and one with
    /// EXIF are in memory as a whole.
    pub fn max_megapixels(mut self, most: u32) -> Self {
        self.max_megapixels = most;
        self
    }

    /// Keeps the first `n` elements of each exchange in [`Inference::glimpses`](crate::Inference::glimpses), for people
    /// who want to see what an edge gets [default: 0].
    pub fn watch(mut self, n: usize) -> Self {
        self.watch = n;
        self
    }

    /// The checks that will run.
    #[must_use]
    pub fn checks(&self) -> Integrity {
        if self.mode == Mode::Local {
            return Integrity::NONE;
        }
        let all = Integrity::default();
        self.integrity.unwrap_or(Integrity { freivalds: all.freivalds && !self.options.drop_bits, ..all })
    }

    /// Where the edges are.
    ///
    /// # Errors
    /// [`DeviceError::Setting`] when an address is missing.
    pub fn addresses(&self) -> Result<Edges, DeviceError> {
        let (a, b) = self.edges.clone().unwrap_or_default();
        let need = |address: String, flag| match address.is_empty() {
            true => Err(SettingError::NoEdge { flag }),
            false => Ok(address),
        };
        let options = SessionOptions { relay: self.mode == Mode::Relay, ..self.options.clone() };
        Ok(Edges { a: need(a, "--edge-a")?, b: need(b, "--edge-b")?, limits: self.limits.clone(), options })
    }

    /// A device that calls nobody before its first inference, and nobody at all if its model has no rounds.
    ///
    /// # Errors
    /// [`DeviceError`] when folder, identity or model cannot be used, or settings contradict each other.
    pub fn build(self) -> Result<Device, DeviceError> {
        let bundle = DeviceDir::open(&self.dir).and_then(|dir| dir.load(self.model.as_deref()));
        if bundle.is_err() && self.mode != Mode::Local && self.dial.is_none() {
            // An address that is missing is told before a folder that is no good.
            self.addresses()?;
        }
        let bundle = bundle?;
        if self.mode == Mode::Local || bundle.model.plan.rounds().is_empty() {
            let local = Local::new(&bundle)?;
            let model = Arc::new(Model::new(bundle, Integrity::NONE)?.with_max_megapixels(self.max_megapixels));
            return Ok(Device::new(model, Way::local(local), self.watch));
        }
        let way = match self.dial.clone() {
            Some(dial) => {
                let options = SessionOptions { relay: self.mode == Mode::Relay, ..self.options.clone() };
                let key = DeviceDir::open(&self.dir)?.identity()?.mask_key()?.clone();
                Way::Memory { dial, key, options }
            }
            None => {
                let edges = self.addresses()?;
                Way::Edges(Box::new((Credentials::open(&DeviceDir::open(&self.dir)?)?, edges)))
            }
        };
        let model = Arc::new(Model::new(bundle, self.checks())?.with_max_megapixels(self.max_megapixels));
        Ok(Device::new(model, way, self.watch))
    }

    /// A device with an open session to both edges.
    ///
    /// # Errors
    /// As [`build`](Self::build), and [`DeviceError::Unreachable`] or [`DeviceError::Protocol`] naming the edge.
    pub async fn open(self) -> Result<Device, DeviceError> {
        let device = self.build()?;
        device.connect().await?;
        Ok(device)
    }
}
