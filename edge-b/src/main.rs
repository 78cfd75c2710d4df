//! Edge B of twinmask: all of it is in `twinmask-edge`, but for the kernel that links OpenBLAS.

use std::process::ExitCode;
use std::sync::Arc;

use twinmask_kernels::Kernels;
use twinmask_openblas::OpenBlas;

fn main() -> ExitCode {
    twinmask_edge::run(twinmask_edge::Role::B, Kernels::native().with(Arc::new(OpenBlas::new())))
}
