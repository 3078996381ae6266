//! `stayd install` and `stayd uninstall` under a real systemd.

use super::systemd_unit::{SERVICE, SOON, config, stayd};
use crate::support::{SystemdContainer, free_port, http_get, wait_until};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

const UNIT: &str = "stayd-boxed.service";
const FILE: &str = "/etc/systemd/system/stayd-boxed.service";

/// A systemd in a container with the configuration of an HTTP service. Nothing is installed.
struct Machine {
    systemd: SystemdContainer,
    port: u16,
}

impl Machine {
    fn boot() -> Self {
        let systemd = SystemdContainer::boot();
        let machine = Self {
            systemd,
            port: free_port(),
        };
        fs::create_dir_all(machine.systemd.path("/etc/stayd")).expect("a folder");
        fs::write(machine.systemd.path("/etc/stayd/service.py"), SERVICE).expect("a service");
        machine.configure(&config(machine.port));
        machine
    }

    fn configure(&self, text: &str) {
        fs::write(self.systemd.path("/etc/stayd/stayd.toml"), text).expect("a configuration");
    }

    /// Runs stayd with these words and the configuration.
    fn stayd(&self, words: &[&str]) -> Output {
        let config = ["-c", "/etc/stayd/stayd.toml"];
        self.systemd.exec(&[&[stayd()], words, &config].concat())
    }

    #[track_caller]
    fn install(&self) -> Value {
        let output = self.stayd(&["install", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn answers(&self) -> bool {
        http_get(self.port, "/").is_ok_and(|answer| answer.contains("here"))
    }

    fn file(&self) -> PathBuf {
        self.systemd.path(FILE)
    }

    /// The pids of stayd and of all service processes.
    fn running(&self) -> String {
        let found = self
            .systemd
            .exec(&["pgrep", "-f", "service.py|sleep 100000|--foreground"]);
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    }
}

/// What an unsuccessful run said, and its status.
#[track_caller]
fn refusal(output: &Output) -> (Option<i32>, String) {
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
#[ignore = "needs root"]
fn an_installed_unit_runs_now_and_after_a_boot_and_a_removed_one_leaves_nothing_running() {
    let machine = Machine::boot();
    let shown = machine.stayd(&["install", "--dry-run"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("[Service]") && shown.contains(&format!("run systemctl enable {UNIT}")),
        "{shown}"
    );
    assert!(!machine.file().exists(), "a dry run writes nothing");

    let installed = machine.install();
    assert!(machine.answers(), "it returns when stayd answers");
    let main = machine.systemd.property(UNIT, "MainPID");
    assert_eq!(
        (installed["pid"].to_string(), &installed["changed"]),
        (main.clone(), &true.into())
    );
    let link = machine.systemd.path(&format!(
        "/etc/systemd/system/multi-user.target.wants/{UNIT}"
    ));
    assert!(link.is_symlink(), "a boot starts it");
    machine.systemd.done(&["systemd-analyze", "verify", FILE]);

    let again = machine.install();
    assert_eq!(
        (again["pid"].to_string(), &again["changed"]),
        (main.clone(), &false.into())
    );

    let graceful = "stop = { grace = \"7s\" }\n[service.web.watchdog]";
    machine.configure(&config(machine.port).replace("[service.web.watchdog]", graceful));
    let changed = machine.install();
    assert_ne!(
        changed["pid"].to_string(),
        main,
        "a longer grace changes the unit"
    );
    assert!(machine.answers());
    assert_eq!(machine.systemd.property(UNIT, "TimeoutStopUSec"), "17s");

    let removed = machine.stayd(&["uninstall"]);
    let said = String::from_utf8_lossy(&removed.stdout).into_owned();
    assert!(
        removed.status.success() && said.contains("/var/lib/stayd/boxed stays"),
        "{removed:?}"
    );
    assert_eq!(machine.running(), "");
    assert!(!machine.file().exists() && !link.is_symlink());
    assert_eq!(machine.systemd.property(UNIT, "LoadState"), "not-found");
    let purged = machine.stayd(&["uninstall", "--purge"]);
    assert!(purged.status.success(), "{purged:?}");
    assert!(!machine.systemd.path("/var/lib/stayd/boxed").exists());
}

#[test]
#[ignore = "needs root"]
fn a_removal_ends_the_services_that_a_killed_stayd_left_running() {
    let machine = Machine::boot();
    let drop_in = machine
        .systemd
        .path(&format!("/etc/systemd/system/{UNIT}.d"));
    fs::create_dir_all(&drop_in).expect("a folder");
    fs::write(drop_in.join("x.conf"), "[Service]\nRestart=no\n").expect("a drop-in");
    machine.install();
    machine.systemd.done(&[
        "systemctl",
        "kill",
        "--signal=KILL",
        "--kill-whom=main",
        UNIT,
    ]);
    wait_until("the unit has failed", SOON, || {
        machine.systemd.property(UNIT, "ActiveState") == "failed"
    });
    assert!(machine.answers(), "its service runs on");
    let removed = machine.stayd(&["uninstall"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(machine.running(), "");
    assert!(!machine.file().exists());
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_installed_is_refused_with_the_step_and_the_cure_and_changes_nothing() {
    let machine = Machine::boot();
    let refused = |word: &str, exit: i32| {
        let (code, said) = refusal(&machine.stayd(&["install"]));
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.contains(word), "{said}");
    };
    machine.configure("[service.web]\ncommand = []\n");
    refused("stayd.toml:2:", 78);
    assert!(!machine.file().exists());

    machine.configure(&config(machine.port));
    machine.systemd.done(&["systemctl", "mask", UNIT]);
    refused("systemctl unmask", 1);
    machine.systemd.done(&["systemctl", "unmask", UNIT]);

    fs::write(machine.file(), "[Service]\nExecStart=/bin/true\n").expect("a foreign unit");
    refused("did not write this file", 1);
    fs::remove_file(machine.file()).expect("removed");

    let mut by_hand =
        machine
            .systemd
            .command(&[stayd(), "--foreground", "-c", "/etc/stayd/stayd.toml"]);
    let mut by_hand = by_hand
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("stayd");
    wait_until("it answers", SOON, || machine.answers());
    refused("another stayd, pid", 75);
    assert!(!machine.file().exists());
    machine
        .systemd
        .done(&["pkill", "-TERM", "-f", "stayd --foreground"]);
    by_hand.wait().expect("ended");
}

#[test]
#[ignore = "needs root"]
fn a_command_becomes_a_supervised_service_in_one_step_and_an_edited_configuration_is_not_lost() {
    let machine = Machine::boot();
    let port = machine.port.to_string();
    let probe = format!("http://127.0.0.1:{port}/");
    let install = |failures: &str| {
        let options = [
            "install",
            "--name",
            "shop",
            "--port",
            &port,
            "--probe",
            &probe,
            "--failures",
            failures,
        ];
        let command = ["--", "python3", "service.py", &port, "0"];
        let argv = [
            &["env", "-C", "/etc/stayd", stayd()][..],
            &options,
            &command,
        ]
        .concat();
        machine.systemd.exec(&argv)
    };
    let absent = machine.systemd.exec(&[
        stayd(),
        "install",
        "--name",
        "shop",
        "--",
        "no-such-program",
    ]);
    let (code, said) = refusal(&absent);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no-such-program"), "{said}");
    assert!(!machine.systemd.path("/etc/stayd/shop.toml").exists());
    let first = install("4");
    assert!(first.status.success(), "{first:?}");
    assert!(machine.answers());
    let file = machine.systemd.path("/etc/stayd/shop.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    assert!(
        text.contains("cwd = \"/etc/stayd\"") && text.contains("PATH"),
        "{text}"
    );
    let main = || machine.systemd.property("stayd-shop.service", "MainPID");
    let before = main();
    let again = install("4");
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.contains("was installed already"), "{said}");
    assert_eq!(main(), before);
    assert!(install("5").status.success());
    assert_ne!(main(), before, "another configuration takes effect");

    let edited = fs::read_to_string(&file)
        .expect("it")
        .replace("failures = 5", "failures = 6");
    fs::write(&file, &edited).expect("edited");
    let (code, said) = refusal(&install("4"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("did not write, or that was edited"), "{said}");
    let removed = machine
        .systemd
        .exec(&[stayd(), "uninstall", "--name", "shop"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(machine.running(), "");
    assert_eq!(fs::read_to_string(&file).expect("it stays"), edited);

    fs::remove_file(&file).expect("removed");
    assert!(install("4").status.success());
    let removed = machine
        .systemd
        .exec(&[stayd(), "uninstall", "--name", "shop"]);
    assert!(removed.status.success(), "{removed:?}");
    assert!(!file.exists(), "nothing but the state folder stays");
}

#[test]
#[ignore = "needs root"]
fn a_program_that_systemd_cannot_execute_is_named() {
    let machine = Machine::boot();
    // stayd itself can be executed, and a security policy or a mount keeps systemd from it: here, a drop-in.
    let drop_in = machine
        .systemd
        .path(&format!("/etc/systemd/system/{UNIT}.d"));
    fs::create_dir_all(&drop_in).expect("a folder");
    fs::write(
        drop_in.join("x.conf"),
        "[Service]\nNoExecPaths=/\nExecPaths=/lib /usr/lib\n",
    )
    .expect("a drop-in");
    let (code, said) = refusal(&machine.stayd(&["install"]));
    assert_eq!(code, Some(71), "{said}");
    assert!(
        said.contains("cannot start stayd-boxed.service: systemd cannot execute the program"),
        "{said}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_user_installs_and_removes_a_unit_of_their_own() {
    let systemd = SystemdContainer::boot();
    let uid = systemd.add_user("ada");
    let port = free_port();
    fs::write(systemd.path("/var/ada/service.py"), SERVICE).expect("a service");
    let text = config(port).replace("/etc/stayd/", "/var/ada/");
    fs::write(systemd.path("/var/ada/stayd.toml"), text).expect("a configuration");
    // As over su: no variable names the folder of the user's systemd.
    let as_ada = |words: &[&str]| systemd.exec_as("ada", &[&[stayd()], words].concat());
    let (code, said) = refusal(&as_ada(&["install"]));
    assert_eq!(code, Some(71), "{said}");
    assert!(
        said.contains("cannot reach systemd") && said.contains("enable-linger"),
        "{said}"
    );
    let (code, said) = refusal(&as_ada(&["install", "--", "sleep", "1000"]));
    assert_eq!(code, Some(71), "{said}");
    let configs = systemd.path("/var/ada/.config");
    assert!(!configs.exists(), "nothing is written before the checks");

    systemd.done(&["systemctl", "start", &format!("user@{uid}.service")]);
    let installed = as_ada(&["install"]);
    let said = String::from_utf8_lossy(&installed.stderr).into_owned();
    assert!(installed.status.success(), "{said}");
    assert!(
        said.contains("at the last logout") && said.contains("--linger"),
        "{said}"
    );
    assert!(http_get(port, "/").is_ok_and(|answer| answer.contains("here")));
    let file = systemd.path("/var/ada/.config/systemd/user/stayd-boxed.service");
    assert!(file.exists());
    let (code, said) = refusal(&as_ada(&["install", "--system"]));
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("sudo"), "{said}");

    let removed = as_ada(&["uninstall"]);
    assert!(removed.status.success(), "{removed:?}");
    let left = systemd.exec(&["pgrep", "-f", "service.py|sleep 100000|--foreground"]);
    assert!(!left.status.success(), "left: {left:?}");
    assert!(!file.exists());
}
