//! Which variables of stayd reach its services.

use crate::support::daemon::Stayd;
use crate::support::service::pid;
use stayd::sys::process;

const CONFIG: &str = r#"
name = "inherit"
[service.probed]
command = ["sleep", "1000"]
watchdog = { probe = "http://app:${DB_PASSWORD}@127.0.0.1:1/" }
[service.neighbour]
command = ["sleep", "1000"]
[service.named]
command = ["sleep", "1000"]
inherit_env = ["PATH", "DB_PASSWORD"]
[service.nothing]
command = ["/bin/sleep", "1000"]
inherit_env = false
[service.passed]
command = ["sleep", "1000"]
env = { DB_PASSWORD = "${DB_PASSWORD}" }
"#;

#[test]
fn a_secret_of_a_probe_reaches_only_the_services_that_ask_for_it() {
    let daemon = Stayd::start_with(CONFIG, |command| {
        command.env("DB_PASSWORD", "secret").env("COLOUR", "blue");
    });
    for (service, password, colour, path) in [
        ("probed", false, true, true),
        ("neighbour", false, true, true),
        ("named", true, false, true),
        ("nothing", false, false, false),
        ("passed", true, true, true),
    ] {
        let running = daemon.wait_service(service, "has a process", |found| {
            // The environment is empty for a moment during execve.
            let has_begun = |pid| process::environment_value(pid, "STAYD_SERVICE");
            found["pid"].is_i64() && has_begun(pid(found)).is_ok_and(|name| name.is_some())
        });
        let value =
            |name| process::environment_value(pid(&running), name).expect("its environment");
        assert_eq!(value("STAYD_SERVICE").as_deref(), Some(service));
        assert_eq!(value("DB_PASSWORD").is_some(), password, "{service}");
        assert_eq!(value("COLOUR").is_some(), colour, "{service}");
        assert_eq!(value("PATH").is_some(), path, "{service}");
    }
}
