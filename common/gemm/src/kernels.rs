//! Which kernels this build has on this CPU, by name.

use std::sync::Arc;

use crate::auto::Auto;
#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::avx512::{BytePlanes, Vnni, WordPlanes};
use crate::direct::{Direct, Micro};
use crate::portable::Wrapping;
#[cfg(target_arch = "x86_64")]
use crate::transpose::Avx512;
use crate::{Geometry, Kernel, Linear};

/// No such kernel in this build on this CPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kernel '{name}' here; this build on this CPU has: {}", offered.join(", "))]
pub struct UnknownKernel {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub offered: Vec<&'static str>,
}

/// A kernel that takes every layer through one micro-kernel.
struct Native<M>(&'static str, M);

impl<M: Micro> Kernel for Native<M> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        Direct::prepare(self.1, self.0, geometry, weights, k)
    }
}

/// AVX-512 VNNI: byte planes where the weights have 8 bits, else 16-bit planes.
#[cfg(target_arch = "x86_64")]
struct VnniKernel(Vnni);

#[cfg(target_arch = "x86_64")]
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

/// The kernels of ours that this CPU can run, the fastest first.
pub(crate) fn native() -> Vec<Arc<dyn Kernel>> {
    let mut kernels: Vec<Arc<dyn Kernel>> = Vec::with_capacity(4);
    #[cfg(target_arch = "x86_64")]
    {
        kernels.extend(Vnni::new().map(|vnni| Arc::new(VnniKernel(vnni)) as Arc<dyn Kernel>));
        kernels.extend(Avx512::new().map(|has| Arc::new(Native("avx512", WordPlanes::Plain(has))) as Arc<dyn Kernel>));
        kernels.extend(Avx2::new().map(|avx2| Arc::new(Native("avx2", avx2)) as Arc<dyn Kernel>));
    }
    // Every aarch64 CPU has NEON, and the compiler vectorises for it.
    #[cfg(target_arch = "aarch64")]
    kernels.push(Arc::new(Native("neon", Wrapping::detect())));
    kernels.push(Arc::new(Native("portable", Wrapping::detect())));
    kernels
}

/// All kernels but `auto`.
fn offered() -> Vec<Arc<dyn Kernel>> {
    #[cfg_attr(not(feature = "openblas"), expect(unused_mut, reason = "OpenBLAS comes last"))]
    let mut kernels = native();
    #[cfg(feature = "openblas")]
    kernels.push(Arc::new(crate::openblas::OpenBlas::new()));
    kernels
}

/// Names that [`kernel`] takes in this build on this CPU.
#[must_use]
pub fn kernel_names() -> Vec<&'static str> {
    std::iter::once("auto").chain(offered().iter().map(|k| k.name())).collect()
}

/// The kernel called `name`; `auto` tries the others on each layer that it prepares, which takes a few milliseconds per
/// shape.
///
/// # Errors
/// [`UnknownKernel`], which lists those that there are.
pub fn kernel(name: &str) -> Result<Arc<dyn Kernel>, UnknownKernel> {
    if name == "auto" {
        return Ok(Arc::new(Auto::new(offered())));
    }
    let found = offered().into_iter().find(|k| k.name() == name);
    found.ok_or_else(|| UnknownKernel { name: name.into(), offered: kernel_names() })
}

/// What is used where nobody chooses and nothing is worth timing: the kernel that is the fastest as a rule.
#[must_use]
pub fn default_kernel() -> Arc<dyn Kernel> {
    native().swap_remove(0)
}
