//! What the ways that train nothing share: the network and data that they are measured with, the link, and an attacker.
//!
//! All of them are measured with one network: LeNet on MNIST (`models/lenet_mnist.onnx` of the data folder: two
//! convolutions, two fully connected layers, 431,080 parameters, 98.94 % of the 10,000 test digits), because its
//! weights are real, its inputs are pictures that an attack can be seen on, and the methods that train use MNIST too.

pub mod attack;
mod begun;
pub mod digits;
pub mod linear;
pub mod link;
pub mod network;

pub use begun::{Begun, SEED};
