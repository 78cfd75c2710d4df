//! Convolutions in f32: what the device computes itself.

mod conv;
mod lanes;
mod micro;
mod set;
mod source;

pub use conv::FloatConv;

#[cfg(test)]
mod tests;
