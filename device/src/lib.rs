//! Run neural networks on private data, with the heavy layers computed by two servers that learn nothing.
//!
//! The owner of a model issues a folder to each device (`owner-keygen add-device`); two operators who do not collude
//! run an edge each. An application on the device links this crate and nothing else:
//!
//! ```
//! use twinmask_device::{Device, DeviceError, Image};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), DeviceError> {
//! # let edges = twinmask_testkit::InMemory::lenet();
//! # let (cam1, pixels) = (edges.device_dir(), [128; 28 * 28]);
//! let device = Device::builder(cam1)
//!     .edges("host-a:7401", "host-b:7402")
//! #   .edges_in_memory(edges.dial())
//!     .open()
//!     .await?;
//! let result = device.run(Image::grey8(28, 28, &pixels)?).await?;
//! for (label, p) in result.top(5) {
//!     println!("{label} {p:.3}");
//! }
//! println!("{} {:?}", result.rounds, result.usage);
//! # assert_eq!((result.top(5).len(), result.rounds), (5, 4));
//! # Ok(())
//! # }
//! ```
//!
//! # Inputs and outputs
//!
//! [`Device::run`] takes an [`Image`] (from a path, encoded bytes, or pixels), a preprocessed [`Tensor`], or any other
//! [`Input`]: a file that may be either, or each of several inputs by its name. [`Inference`] holds every output by its
//! name, and [`Inference::top`] the classes.
//!
//! ```
//! # use twinmask_device::{Device, DeviceError};
//! use twinmask_device::{Input, Tensor};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), DeviceError> {
//! # let edges = twinmask_testkit::InMemory::lenet();
//! # let device = Device::builder(edges.device_dir()).edges_in_memory(edges.dial()).open().await?;
//! let inputs = device.inputs().tensors.clone();
//! let x = Tensor::new(inputs[0].shape.clone(), vec![0.5f32; 28 * 28])?;
//! let result = device.run(Input::named([(&*inputs[0].name, x)])).await?;
//! let output = &device.outputs()[0];
//! assert_eq!(result.output(&output.name).expect("by name").shape(), output.shape);
//! # Ok(())
//! # }
//! ```
//!
//! # Side by side, cancelled, blocking, alone
//!
//! A [`Device`] is cheap to clone and its futures are `Send`: inferences run side by side. A future that is dropped
//! gives its inference up, its counter is burnt and the session goes on. [`blocking::Device`] serves applications
//! without an async runtime. [`Device::local`] computes everything on the device, with the same results to the bit:
//!
//! ```
//! # use twinmask_device::{Device, DeviceError, Image, blocking};
//! # fn main() -> Result<(), DeviceError> {
//! # let edges = twinmask_testkit::InMemory::lenet();
//! # let (folder, picture) = (edges.device_dir(), Image::grey8(28, 28, &[7; 28 * 28])?);
//! let private = Device::builder(&folder).edges("host-a:7401", "host-b:7402");
//! # let private = private.edges_in_memory(edges.dial());
//! let private = blocking::Device::open(private)?.run(picture.clone())?;
//! let alone = blocking::Device::open(Device::builder(&folder).mode(twinmask_device::Mode::Local))?.run(picture)?;
//! assert_eq!(private.outputs, alone.outputs);
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs, and what it hides
//!
//! [`Inference::usage`] and [`Inference::times`] say what an inference took. What either edge learns is in the
//! project's SECURITY.md: the model, the number and the times of requests, nothing of inputs, activations or results.
//! Both edges together learn everything.
//!
//! # Features
//!
//! None is on by default. `cli` adds the command `device`.

pub mod blocking;
mod builder;
#[cfg(feature = "cli")]
pub mod cli;
mod credentials;
mod device;
mod embedding;
pub mod engine;
mod error;
mod exchange;
mod inference;
mod input;
mod local;
mod mode;
mod model;
mod rescale;
mod run;
mod session;
mod store;

pub use builder::Builder;
pub use device::Device;
pub use embedding::{EmbeddingError, Similarity};
pub use error::{CheckError, DeviceError, FileError, LinkError, ModelError, SessionError, SettingError};
pub use inference::{Class, Inference, Times};
pub use input::{Data, Element, Image, Input, InputError, InputSpec, MAX_MEGAPIXELS, Origin, Tensor, TensorSpec, npy};
pub use mode::Mode;
pub use model::Model;
pub use run::Output;
pub use session::{EdgeUsage, Edges, Glimpse, Usage};

/// The executor, whose [`Values`](exec::Values) an inference runs in.
pub use twinmask_exec as exec;
pub use twinmask_masking::Integrity;
pub use twinmask_transport::{Connection, Role, TransportLimits};
pub use twinmask_wire::CodecChoice;
