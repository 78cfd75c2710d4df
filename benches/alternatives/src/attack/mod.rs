//! What an attacker makes of what a server sees, and how good that is.

mod quality;
mod rebuild;

pub use quality::{Quality, psnr, ssim};
pub use rebuild::{Rebuilt, View, rebuild};
