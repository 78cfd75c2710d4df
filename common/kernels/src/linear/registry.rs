//! Which kernels a program has on this CPU, by name.

use std::sync::Arc;

use twinmask_layer::Geometry;

use crate::linear::auto::Auto;
#[cfg(target_arch = "x86_64")]
use crate::linear::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::linear::avx512::{BytePlanes, Vnni, WordPlanes};
use crate::linear::direct::{Direct, Micro};
use crate::linear::kernel::{Kernel, Linear};
use crate::linear::portable::Wrapping;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose::Avx512;

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

/// The kernels that a program has on this CPU, the fastest of ours first.
#[derive(Clone)]
pub struct Kernels(Vec<Arc<dyn Kernel>>);

impl Kernels {
    /// The kernels of this crate that this CPU can run.
    #[must_use]
    pub fn native() -> Self {
        let mut kernels: Vec<Arc<dyn Kernel>> = Vec::with_capacity(4);
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(Vnni::new().map(|vnni| Arc::new(VnniKernel(vnni)) as Arc<dyn Kernel>));
            let avx512 = |has| Arc::new(Native("avx512", WordPlanes::Plain(has))) as Arc<dyn Kernel>;
            kernels.extend(Avx512::new().map(avx512));
            kernels.extend(Avx2::new().map(|avx2| Arc::new(Native("avx2", avx2)) as Arc<dyn Kernel>));
        }
        // Every aarch64 CPU has NEON, and the compiler vectorises for it.
        #[cfg(target_arch = "aarch64")]
        kernels.push(Arc::new(Native("neon", Wrapping::detect())));
        kernels.push(Arc::new(Native("portable", Wrapping::detect())));
        Self(kernels)
    }

    /// The same and `kernel`, which another crate brings.
    #[must_use]
    pub fn with(mut self, kernel: Arc<dyn Kernel>) -> Self {
        self.0.push(kernel);
        self
    }

    /// Names that [`named`](Self::named) takes.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        std::iter::once("auto").chain(self.0.iter().map(|k| k.name())).collect()
    }

    /// The kernel called `name`; `auto` tries the others on each layer that it prepares, which takes a few milliseconds
    /// per shape.
    ///
    /// # Errors
    /// [`UnknownKernel`], which lists those that there are.
    pub fn named(&self, name: &str) -> Result<Arc<dyn Kernel>, UnknownKernel> {
        if name == "auto" {
            return Ok(Arc::new(Auto::new(self.0.clone())));
        }
        let found = self.0.iter().find(|k| k.name() == name).cloned();
        found.ok_or_else(|| UnknownKernel { name: name.into(), offered: self.names() })
    }
}

/// What is used where nobody chooses and nothing is worth timing: the kernel that is the fastest as a rule.
#[must_use]
pub fn default_kernel() -> Arc<dyn Kernel> {
    Kernels::native().0.swap_remove(0)
}
