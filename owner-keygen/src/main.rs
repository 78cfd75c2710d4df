//! The `owner-keygen` command.

fn main() -> std::process::ExitCode {
    twinmask_owner_keygen::cli::main()
}
