//! The kernels: exact integer linear layers on the edges ([`linear`]), and the device's loops over shares
//! ([`elementwise`]). With the leaf binding crates this is the one room of the workspace in which `unsafe` may appear.

pub mod elementwise;
mod float;
pub mod linear;

pub use float::FloatConv;
pub use linear::{
    Input, KERNEL_MEMORY, Kernel, Kernels, Linear, MAX_WEIGHT_BITS, Scratch, UnknownKernel, check, default_kernel,
    item, naive, portable, split,
};
