//! room

/// Runs the program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == crate::act::helper::VERB)
    {
        return crate::act::helper::helper_main();
    }
    std::process::ExitCode::SUCCESS
}
