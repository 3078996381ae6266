//! The manual page and the reference of the command line are those of this program.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Set to write the files anew.
const UPDATE: &str = "STAYD_UPDATE";

fn same_as_file(path: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(UPDATE).is_some() {
        return fs::write(path, actual).expect("written");
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    let stale = stands
        .lines()
        .zip(actual.lines())
        .find(|(old, new)| old != new);
    assert!(
        stands == actual,
        "{} is stale, from {stale:?} on; run {UPDATE}=1 cargo test --test cli manual",
        path.display()
    );
}

#[test]
fn the_manual_page_and_the_reference_are_fresh() {
    same_as_file("docs/man/stayd.1", &stayd::cli::manual::man_page());
    same_as_file(
        "docs/reference/command-line.md",
        &stayd::cli::manual::markdown(),
    );
}

#[test]
fn every_exit_status_stands_in_the_reference() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/exit-status.md");
    let table = stayd::cli::manual::exit_statuses();
    let page = fs::read_to_string(page).expect("readable");
    assert!(
        page.contains(&table),
        "exit-status.md has to hold:\n{table}"
    );
}

/// The defaults that the help of `--interval` and its like tells are those of stayd.toml.
#[test]
fn the_defaults_of_the_help_are_those_of_the_file() {
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
        let told = format!("[default: {default}]");
        assert!(
            help.is_some_and(|help| help.ends_with(&told)),
            "{option}: {told}"
        );
    }
}

/// groff says what it does not understand; it must have nothing to say.
#[test]
fn the_manual_pages_are_typeset_without_a_complaint() {
    let groff = |page: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        Command::new("groff")
            .args(["-man", "-Tutf8", "-Kutf8", "-ww", "-z"])
            .arg(path)
            .output()
    };
    for page in ["docs/man/stayd.1", "docs/man/stayd.toml.5"] {
        let Ok(done) = groff(page) else {
            println!("skipped: no groff here");
            return;
        };
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{page}: {said}");
    }
}
