//! Exact integer linear layers over `Z_2^k`, by interchangeable kernels chosen at run time.
//!
//! A [`Kernel`] packs a layer's weights once ([`Kernel::prepare`]) and gives a [`Linear`] that is applied to
//! shares: in one step ([`Linear::apply`]), or laid out once ([`Linear::load`]) and computed by several threads over
//! disjoint output channels ([`Linear::part`]), also for several devices at once so that the weights are read once.
//! Every kernel is held against [`naive`](naive::apply).

mod auto;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod direct;
mod kernel;
mod layout;
pub mod naive;
#[cfg(target_arch = "aarch64")]
mod neon;
mod planes;
mod portable;
mod registry;
mod runs;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(target_arch = "aarch64")]
mod transpose128;
#[cfg(target_arch = "x86_64")]
mod transpose256;
#[cfg_attr(target_arch = "aarch64", allow(dead_code, reason = "plain loops, where NEON always is"))]
mod wide;
#[cfg(target_arch = "aarch64")]
mod wide128;
#[cfg(target_arch = "x86_64")]
mod wide256;
#[cfg(target_arch = "x86_64")]
mod wide512;
mod winograd;

pub use kernel::{Input, Kernel, Linear, MAX_WEIGHT_BITS, Scratch, check, item, split};
pub use registry::{KERNEL_MEMORY, Kernels, UnknownKernel, default_kernel, portable};

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
use self as oracle;
#[cfg(test)]
fn offered() -> Kernels {
    Kernels::native()
}
