//! What only the device (and the owner who made it) may do: masking, unmasking, and the integrity checks
//! (PROTOCOL.md, "Keys", "One inference, mode `split`" and "Integrity"). No edge depends on this crate.

pub mod freivalds;
pub mod integrity;
pub mod keys;
pub mod mask;
mod random;
pub mod unmask;
mod wiped;

pub use integrity::{Integrity, IntegrityError, Liar};
pub use keys::DeviceKeys;
pub use mask::{InferenceMasks, MaskError, Masker, Masking, Pending, SessionSeed};
pub use unmask::{Answer, Opening};
