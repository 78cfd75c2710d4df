//! Exit codes of what goes wrong.

use crate::error::DeviceError;

/// That of the library's error; whatever else goes wrong here is a matter of files.
pub(super) fn exit_code(e: &anyhow::Error) -> u8 {
    e.downcast_ref::<DeviceError>().map_or(3, DeviceError::exit_code)
}
