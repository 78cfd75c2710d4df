//! The same device for applications without an async runtime.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::builder::Builder;
use crate::error::DeviceError;
use crate::inference::Inference;
use crate::input::Input;

/// A [`Device`](crate::Device) whose calls block. Its one background thread keeps the session alive between inferences.
/// Not to be used within an async runtime.
#[derive(Clone)]
pub struct Device {
    device: crate::Device,
    runtime: Arc<Runtime>,
}

impl Device {
    /// Opens the device that `builder` describes, as [`Builder::open`] does.
    ///
    /// # Errors
    /// [`DeviceError`]; [`DeviceError::Runtime`] when the system gives no thread or descriptors.
    pub fn open(builder: Builder) -> Result<Self, DeviceError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = twinmask_transport::runtime(runtime.worker_threads(1)).map_err(DeviceError::Runtime)?;
        let device = runtime.block_on(builder.open())?;
        Ok(Self { device, runtime: Arc::new(runtime) })
    }

    /// Runs the model on `input`, as [`Device::run`](crate::Device::run) does.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn run(&self, input: impl Into<Input>) -> Result<Inference, DeviceError> {
        self.runtime.block_on(self.device.run(input))
    }

    /// The device behind the calls, for what it takes and gives.
    #[must_use]
    pub const fn device(&self) -> &crate::Device {
        &self.device
    }

    /// Ends the session, if there is one, as planned.
    pub fn close(&self) {
        self.runtime.block_on(self.device.close());
    }
}
