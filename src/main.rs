//! The `stayd` program: everything is in the library.

fn main() -> std::process::ExitCode {
    stayd::main()
}
