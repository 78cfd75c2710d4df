//! The parts that a [`Device`](crate::Device) is made of, for programs that keep sessions and tensors of their own:
//! tools that measure, and tests that look inside.

pub use crate::exchange::{Exchange, GroupInput};
pub use crate::local::Local;
pub use crate::run::{Outcome, infer};
pub use crate::session::{RemoteInference, Session, SessionOptions};
pub use crate::store::DeviceDir;
pub use twinmask_codec::{GroupId, RoundId};
