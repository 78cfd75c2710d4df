//! The `device` command.

fn main() -> std::process::ExitCode {
    twinmask_device::cli::main()
}
