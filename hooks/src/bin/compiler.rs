//! Compiles one module, for the tests. The products have this as a hidden subcommand.

fn main() -> std::process::ExitCode {
    scribe_hooks::worker_main()
}
