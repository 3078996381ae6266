//! The generated manual page and references match the program.

use crate::reference::{assert_up_to_date, command_line, lint};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The cargo command that updates the generated files.
const UPDATE: &str = "test --test cli manual";

#[test]
fn the_manual_page_and_the_reference_are_up_to_date() {
    assert_up_to_date("docs/man/stayd.1", &command_line::man_page(), UPDATE);
    assert_up_to_date(
        "docs/reference/command-line.md",
        &command_line::markdown(),
        UPDATE,
    );
}

#[test]
fn the_manual_of_the_linter_is_up_to_date() {
    assert_up_to_date("docs/reference/lint.md", &lint::markdown(), UPDATE);
}

#[test]
fn the_reference_lists_every_exit_status() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/exit-status.md");
    let table = command_line::exit_status_table();
    let page = fs::read_to_string(page).expect("readable");
    assert!(
        page.contains(&table),
        "exit-status.md must contain:\n{table}"
    );
}

/// The defaults in the help of `--interval` and similar options are those of stayd.toml.
#[test]
fn the_defaults_in_the_help_are_those_of_the_configuration() {
    let schema = stayd::config::schema();
    let service = &schema["properties"]["service"]["patternProperties"];
    let service = service.as_object().and_then(|all| all.values().next());
    let keys = &service.expect("a service")["properties"];
    let watchdog = &keys["watchdog"]["properties"];
    let command = stayd::cli::args::command();
    for (option, key) in [
        ("interval", &watchdog["interval"]),
        ("timeout", &watchdog["timeout"]),
        ("failures", &watchdog["failures"]),
        ("stop_grace", &keys["stop"]["properties"]["grace"]),
    ] {
        let argument = command.get_arguments().find(|one| one.get_id() == option);
        let help = argument
            .and_then(clap::Arg::get_help)
            .map(ToString::to_string);
        let default = key["default"].to_string().replace('"', "");
        let expected = format!("[default: {default}]");
        assert!(
            help.is_some_and(|help| help.ends_with(&expected)),
            "{option}: {expected}"
        );
    }
}

/// groff prints a warning for each construct that it does not understand.
#[test]
fn groff_formats_the_manual_pages_without_a_warning() {
    let groff = |page: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        Command::new("groff")
            .args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"])
            .arg(path)
            .output()
    };
    for page in ["docs/man/stayd.1", "docs/man/stayd.toml.5"] {
        let done = groff(page).expect("this test needs groff: run tests/support/setup.sh");
        let warnings = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success() && warnings.is_empty(),
            "{page}: {warnings}"
        );
    }
}
