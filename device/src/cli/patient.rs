//! Inferences that are run anew when an edge is busy. Whoever does that shows the edges that the input is the same, so
//! the library does not; here a person asked for a result, and the report counts it.

use std::time::Duration;

use crate::device::Device;
use crate::error::DeviceError;
use crate::inference::Inference;
use crate::input::Input;

/// Times that an inference is run anew.
const MOST: u32 = 5;
/// Longest wait that an edge may ask for.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// Runs `input`, and how often an edge was busy before.
pub(crate) async fn run(device: &Device, input: Input) -> Result<(Inference, u32), DeviceError> {
    let mut busy = 0;
    loop {
        match device.run(input.clone()).await {
            Err(DeviceError::Busy { edge, retry_after_ms }) if busy < MOST => {
                busy += 1;
                tracing::info!(%edge, busy, wait_ms = retry_after_ms, "an edge is busy, and the input is run anew");
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into()).min(MOST_WAIT)).await;
            }
            done => return done.map(|inference| (inference, busy)),
        }
    }
}
