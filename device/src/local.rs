//! `--local`: the same graph with the quantized linear layers on the device itself, the reference for "private
//! equals plain". Integer arithmetic end to end, so the result is equal bit for bit.

use std::sync::Arc;

use twinmask_codec::{LayerId, RoundId};
use twinmask_kernels::{Linear, Scratch, elementwise};
use twinmask_model::bundle::{DeviceBundle, Rows};
use twinmask_model::plan::Plan;

use crate::error::{DeviceError, ModelError};
use crate::exchange::{Exchange, GroupInput};
use crate::model::Model;

/// Computes linear layers on this device.
pub struct Local {
    plan: Plan,
    layers: Vec<Arc<dyn Linear>>,
    scratch: Scratch,
}

impl Local {
    /// Packs the weights of `bundle` for the portable kernel.
    ///
    /// # Errors
    /// When the bundle was issued without all weights.
    pub fn new(bundle: &DeviceBundle) -> Result<Self, DeviceError> {
        if !bundle.has_all_weights() {
            return Err(DeviceError::Model { model: bundle.model.model.clone(), source: ModelError::NoWeights });
        }
        let plan = bundle.model.plan.clone();
        let kernel = twinmask_kernels::portable();
        let prepare =
            |(l, rows): (LayerId, &Rows)| kernel.prepare(plan.layer(l).geometry(), &rows.weights, plan.k_of(l));
        let layers = plan.layer_ids().zip(&bundle.rows).map(prepare).collect();
        Ok(Self { plan, layers, scratch: Scratch::default() })
    }
}

impl Exchange for Local {
    async fn round(
        &mut self,
        model: &Model,
        _r: RoundId,
        inputs: &[GroupInput<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError> {
        let mut outputs = outputs.iter_mut();
        for input in inputs {
            let mut x = vec![0; input.tensor.len()];
            elementwise::quantize(input.tensor, input.scale, &mut x);
            let x: Vec<u32> = x.into_iter().map(|v| v as u32).collect();
            let layers = self.plan.group(input.group).layers().iter();
            for (&l, output) in layers.zip(&mut outputs) {
                let mut y = vec![0; output.len()];
                self.layers[l.index()].apply(&x, &mut y, &mut self.scratch);
                let k = self.plan.k_of(l);
                let y: Vec<i32> = y.into_iter().map(|v| twinmask_ring::centre(v, k)).collect();
                model.rescale(l, input.scale.step()).push(0, &y, output);
            }
        }
        Ok(())
    }
}
