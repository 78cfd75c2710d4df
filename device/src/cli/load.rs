//! Inputs from files, read before anything is sent.

use std::path::Path;

use twinmask_model::graph::elements;
use twinmask_ring::prf::Key;

use crate::device::Device;
use crate::error::DeviceError;
use crate::input::{Input, Tensor};
use crate::model::Model;

/// The file's tensor, as the device's model takes it.
pub(super) fn input(device: &Device, path: &Path) -> Result<Input, DeviceError> {
    let spec = &device.inputs().tensors[0];
    let data = Input::file(path).resolve(device.inputs())?.swap_remove(0);
    Ok(Tensor::of_network(spec.shape.clone(), spec.element, data).into())
}

/// Seeded input for each of the model's inputs, uniform in [-2, 2): about the range of normalised pictures.
pub(super) fn random_input(model: &Model, seed: u64) -> Input {
    let random = |(i, spec): (usize, &crate::input::TensorSpec)| {
        let mut words = vec![0; elements(&spec.shape)];
        let labels: [&[u8]; 2] = [&seed.to_le_bytes(), &(i as u64).to_le_bytes()];
        // The first input's key is that of networks with one.
        Key::derive("bench", if i == 0 { &labels[..1] } else { &labels }).fill(0, 24, &mut words);
        let data = words.into_iter().map(|w| w as f32 / (1 << 22) as f32 - 2.0).collect();
        (spec.name.clone(), Tensor::of_network(spec.shape.clone(), spec.element, data))
    };
    Input::Named(model.inputs().tensors.iter().enumerate().map(random).collect())
}
