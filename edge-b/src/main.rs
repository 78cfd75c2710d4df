//! Edge B of twinmask: all of it is in `twinmask-edge`.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinmask_edge::run(twinmask_edge::Role::B)
}
