//! Which kernels this build has on this CPU, by name.

use std::sync::Arc;

use crate::Kernel;
use crate::portable::Portable;

/// No such kernel in this build on this CPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kernel '{name}' here; this build on this CPU has: {}", offered.join(", "))]
pub struct UnknownKernel {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub offered: Vec<&'static str>,
}

/// All kernels of this build that this CPU can run.
fn offered() -> Vec<Arc<dyn Kernel>> {
    let mut kernels: Vec<Arc<dyn Kernel>> = Vec::with_capacity(4);
    #[cfg(target_arch = "x86_64")]
    if let Some(vnni) = crate::vnni::VnniKernel::new() {
        kernels.push(Arc::new(vnni));
    }
    #[cfg(target_arch = "aarch64")]
    kernels.push(Arc::new(Portable("neon")));
    kernels.push(Arc::new(Portable("portable")));
    #[cfg(feature = "openblas")]
    kernels.push(Arc::new(crate::openblas::OpenBlas::new()));
    kernels
}

/// Names that [`kernel`] takes on this CPU.
#[must_use]
pub fn kernel_names() -> Vec<&'static str> {
    offered().iter().map(|k| k.name()).collect()
}

/// The kernel called `name`.
///
/// # Errors
/// [`UnknownKernel`], which lists those that there are.
pub fn kernel(name: &str) -> Result<Arc<dyn Kernel>, UnknownKernel> {
    let offered = offered();
    match offered.iter().find(|k| k.name() == name) {
        Some(kernel) => Ok(Arc::clone(kernel)),
        None => Err(UnknownKernel { name: name.into(), offered: offered.iter().map(|k| k.name()).collect() }),
    }
}

/// What is used when nobody asks for a kernel by name: OpenBLAS if this build has it, else the portable one.
#[must_use]
pub fn default_kernel() -> Arc<dyn Kernel> {
    #[cfg(feature = "openblas")]
    return Arc::new(crate::openblas::OpenBlas::new());
    #[cfg(not(feature = "openblas"))]
    Arc::new(Portable("portable"))
}
