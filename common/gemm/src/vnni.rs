//! The kernels that are made for one instruction set each.

use std::sync::Arc;

use crate::avx512::{BytePlanes, Vnni, WordPlanes};
use crate::direct::Direct;
use crate::{Geometry, Kernel, Linear};

/// AVX-512 VNNI: byte planes where the weights have 8 bits, else 16-bit planes.
pub(crate) struct VnniKernel(Vnni);

impl VnniKernel {
    /// `None` on other CPUs.
    pub(crate) fn new() -> Option<Self> {
        Vnni::new().map(Self)
    }
}

impl Kernel for VnniKernel {
    fn name(&self) -> &'static str {
        "vnni"
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        if weights.iter().all(|&w| i8::try_from(w).is_ok()) {
            Direct::prepare(BytePlanes(self.0), "vnni", geometry, weights, k)
        } else {
            Direct::prepare(WordPlanes::Vnni(self.0), "vnni16", geometry, weights, k)
        }
    }
}
