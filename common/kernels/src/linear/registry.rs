//! Which kernels a program has on this CPU, by name.

use std::sync::Arc;

use twinmask_layer::Geometry;

use crate::linear::auto::Auto;
#[cfg(target_arch = "x86_64")]
use crate::linear::avx2::{AvxVnni, NarrowPlanes, Set, WordPlanes as HalfPlanes};
#[cfg(target_arch = "x86_64")]
use crate::linear::avx512::{BytePlanes, Vnni, WordPlanes};
use crate::linear::direct::{Direct, Micro};
use crate::linear::kernel::{Kernel, Linear};
#[cfg(target_arch = "aarch64")]
use crate::linear::neon::{DotPlanes, MatrixPlanes};
use crate::linear::portable::Wrapping;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose::Avx512;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose256::Avx2;
use crate::linear::winograd;

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

/// AVX2 and AVX-VNNI: 16-bit planes. A fully connected layer waits for its weights, which stay 8 bits where they are.
#[cfg(target_arch = "x86_64")]
struct HalfKernel(&'static str, Set);

#[cfg(target_arch = "x86_64")]
impl Kernel for HalfKernel {
    fn name(&self) -> &'static str {
        self.0
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        if matches!(geometry, Geometry::Fc(_)) && weights.iter().all(|&w| i8::try_from(w).is_ok()) {
            Direct::prepare(NarrowPlanes(self.1), self.0, geometry, weights, k)
        } else {
            Direct::prepare(HalfPlanes(self.1), self.0, geometry, weights, k)
        }
    }
}

/// NEON with instructions for bytes: weights of 8 bits, of two bytes, or those few above by the compiler's code.
#[cfg(target_arch = "aarch64")]
struct ByteKernel<N, W>(&'static str, N, W);

#[cfg(target_arch = "aarch64")]
impl<N: Micro, W: Micro> Kernel for ByteKernel<N, W> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        if weights.iter().all(|&w| i8::try_from(w).is_ok()) {
            Direct::prepare(self.1, self.0, geometry, weights, k)
        } else if weights.iter().all(|&w| w <= W::LARGEST) {
            Direct::prepare(self.2, self.0, geometry, weights, k)
        } else {
            Direct::prepare(Wrapping::detect(), "neon", geometry, weights, k)
        }
    }
}

/// Exact Winograd where a layer lets it, by the widest micro-kernel that there is; else the first of the others.
struct Winograd<M: Micro<Weight = i16>> {
    name: &'static str,
    picked: winograd::Names,
    small: bool,
    micro: M,
    other: Arc<dyn Kernel>,
}

impl<M: Micro<Weight = i16>> Kernel for Winograd<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self, geometry: &Geometry, weights: &[i16], k: u32) -> Arc<dyn Linear> {
        winograd::prepare(self.micro, self.picked, self.small, geometry, weights, k)
            .unwrap_or_else(|| self.other.prepare(geometry, weights, k))
    }
}

/// Both, with `micro`.
fn winograds<M: Micro<Weight = i16>>(
    micro: M,
    picked: winograd::Names,
    other: &Arc<dyn Kernel>,
) -> [Arc<dyn Kernel>; 2] {
    [("winograd4", false), ("winograd2", true)].map(|(name, small)| {
        Arc::new(Winograd { name, picked, small, micro, other: Arc::clone(other) }) as Arc<dyn Kernel>
    })
}

/// The kernels that a program has on this CPU, the fastest of ours first.
#[derive(Clone)]
pub struct Kernels {
    offered: Vec<Arc<dyn Kernel>>,
    memory: usize,
}

/// Bytes that `auto` may take for weights beyond their plain form where nobody says anything.
pub const KERNEL_MEMORY: usize = 1_000_000_000;

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
            let half = |name, set| Arc::new(HalfKernel(name, set)) as Arc<dyn Kernel>;
            kernels.extend(AvxVnni::new().map(|vnni| half("avxvnni", Set::Vnni(vnni))));
            kernels.extend(Avx2::new().map(|avx2| half("avx2", Set::Plain(avx2))));
        }
        #[cfg(target_arch = "aarch64")]
        {
            let matrices = MatrixPlanes::<i8>::new().zip(MatrixPlanes::<i16>::new());
            kernels.extend(matrices.map(|(n, w)| Arc::new(ByteKernel("i8mm", n, w)) as Arc<dyn Kernel>));
            let dots = DotPlanes::<i8>::new().zip(DotPlanes::<i16>::new());
            kernels.extend(dots.map(|(n, w)| Arc::new(ByteKernel("dotprod", n, w)) as Arc<dyn Kernel>));
            // Every aarch64 CPU has NEON, and the compiler vectorises for it.
            kernels.push(Arc::new(Native("neon", Wrapping::detect())));
        }
        kernels.push(portable());
        let wide = Self::winograds(&kernels[0]);
        kernels.extend(wide);
        Self { offered: kernels, memory: KERNEL_MEMORY }
    }

    fn winograds(other: &Arc<dyn Kernel>) -> [Arc<dyn Kernel>; 2] {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(vnni) = Vnni::new() {
                return winograds(
                    WordPlanes::Vnni(vnni),
                    ["vnni-f4", "vnni-f2", "vnni-f2x5", "vnni-f2x7", "vnni-f4x1"],
                    other,
                );
            }
            if let Some(avx512) = Avx512::new() {
                return winograds(
                    WordPlanes::Plain(avx512),
                    ["avx512-f4", "avx512-f2", "avx512-f2x5", "avx512-f2x7", "avx512-f4x1"],
                    other,
                );
            }
            if let Some(vnni) = AvxVnni::new() {
                let micro = HalfPlanes(Set::Vnni(vnni));
                return winograds(
                    micro,
                    ["avxvnni-f4", "avxvnni-f2", "avxvnni-f2x5", "avxvnni-f2x7", "avxvnni-f4x1"],
                    other,
                );
            }
            if let Some(avx2) = Avx2::new() {
                return winograds(
                    HalfPlanes(Set::Plain(avx2)),
                    ["avx2-f4", "avx2-f2", "avx2-f2x5", "avx2-f2x7", "avx2-f4x1"],
                    other,
                );
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if let Some(matrices) = MatrixPlanes::new() {
                return winograds(matrices, ["i8mm-f4", "i8mm-f2", "i8mm-f2x5", "i8mm-f2x7", "i8mm-f4x1"], other);
            }
            if let Some(dots) = DotPlanes::new() {
                let picked = ["dotprod-f4", "dotprod-f2", "dotprod-f2x5", "dotprod-f2x7", "dotprod-f4x1"];
                return winograds(dots, picked, other);
            }
        }
        winograds(
            Wrapping::detect(),
            ["portable-f4", "portable-f2", "portable-f2x5", "portable-f2x7", "portable-f4x1"],
            other,
        )
    }

    /// The same and `kernel`, which another crate brings.
    #[must_use]
    pub fn with(mut self, kernel: Arc<dyn Kernel>) -> Self {
        self.offered.push(kernel);
        self
    }

    /// The same, where `auto` takes at most `bytes` for weights beyond their plain form, in all its layers;
    /// others are computed without.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Names that [`named`](Self::named) takes.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        std::iter::once("auto").chain(self.offered.iter().map(|k| k.name())).collect()
    }

    /// The kernel that chooses among the others for each layer.
    #[must_use]
    pub fn auto(&self) -> Arc<dyn Kernel> {
        Arc::new(Auto::new(self.offered.clone(), self.memory))
    }

    /// The kernel called `name`; `auto` tries the others on each layer that it prepares, which takes a few milliseconds
    /// per shape.
    ///
    /// # Errors
    /// [`UnknownKernel`], which lists those that there are.
    pub fn named(&self, name: &str) -> Result<Arc<dyn Kernel>, UnknownKernel> {
        if name == "auto" {
            return Ok(self.auto());
        }
        let found = self.offered.iter().find(|k| k.name() == name).cloned();
        found.ok_or_else(|| UnknownKernel { name: name.into(), offered: self.names() })
    }
}

/// The kernel that runs everywhere; a program that asks for no other has none of the others in it.
#[must_use]
pub fn portable() -> Arc<dyn Kernel> {
    Arc::new(Native("portable", Wrapping::detect()))
}

/// What is used where nobody chooses and nothing is worth timing: the kernel that is the fastest as a rule.
#[must_use]
pub fn default_kernel() -> Arc<dyn Kernel> {
    Kernels::native().offered.swap_remove(0)
}
