//! stayd under a simulated launchd. (None of this has run on a Mac.) It needs root, whose state folder it uses.

use crate::support::launchd_simulator::{End, SimulatedJob};
use crate::support::{
    SOON, TempDir, alone_in_pid_namespace, free_port, http_get, test_service, wait_until,
};
use stayd::sys::process;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn stayd(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stayd"))
        .args(words)
        .current_dir("/")
        .env("HOME", dir)
        .output()
        .unwrap()
}

/// The plist that stayd renders for a configuration in `dir`; makes the folder of its log.
fn plist_of(dir: &Path, config: &str) -> Vec<u8> {
    let file = dir.join("stayd.toml");
    fs::write(&file, config).unwrap();
    fs::create_dir_all(dir.join("Library/Logs/stayd")).unwrap();
    let done = stayd(
        dir,
        &["render", "launchd", "--user", "-c", file.to_str().unwrap()],
    );
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // a login session gives an agent its HOME; the simulated environment is bare, so the test adds it
    let mut job = plist::Value::from_reader_xml(&done.stdout[..]).unwrap();
    let environment = job
        .as_dictionary_mut()
        .unwrap()
        .get_mut("EnvironmentVariables")
        .unwrap();
    let home = dir.to_str().unwrap().into();
    environment
        .as_dictionary_mut()
        .unwrap()
        .insert("HOME".into(), home);
    let mut xml = Vec::new();
    job.to_writer_xml(&mut xml).unwrap();
    xml
}

fn log(dir: &Path) -> String {
    let folder = dir.join("Library/Logs/stayd");
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

/// All processes of the namespace except this one and zombies.
fn others() -> Vec<String> {
    let own = i32::try_from(std::process::id()).unwrap();
    let all = process::all()
        .unwrap()
        .into_iter()
        .filter(|pid| *pid != own);
    all.filter_map(|pid| process::stat(pid).ok())
        .filter(|stat| stat.state != process::State::Zombie)
        .map(|stat| format!("{} {}", stat.process.pid, stat.comm))
        .collect()
}

#[test]
#[ignore = "needs root"]
fn a_wedge_is_cured_without_a_restart_of_stayd_and_a_stop_leaves_no_orphan() {
    alone_in_pid_namespace(|| {
        assert_eq!(std::process::id(), 1, "launchd is pid 1");
        let dir = TempDir::new();
        let port = free_port();
        let program = test_service();
        let config = format!(
            "name = \"simulated\"\n[service.web]\ncommand = [\"{}\", \"ignore-term\", \"children\", \"2\", \"serve\", \
             \"{port}\"]\nstop = {{ grace = \"1s\" }}\n[service.web.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\n\
             interval = \"300ms\"\ntimeout = \"300ms\"\nfailures = 2\nbusy_grace = \"0s\"\n",
            program.display()
        );
        let job = SimulatedJob::bootstrap(&plist_of(dir.path(), &config));
        let answers = || http_get(port, "/").is_ok_and(|answer| answer.contains("200"));
        let file = dir.join("stayd.toml");
        let status = || {
            let shown = stayd(
                dir.path(),
                &["status", "--json", "-c", file.to_str().unwrap()],
            );
            serde_json::from_slice::<serde_json::Value>(&shown.stdout).unwrap_or_default()
        };
        wait_until("the service answers", SOON, answers);
        wait_until("status shows it healthy", SOON, || {
            status()["services"][0]["healthy"] == true
        });
        assert_eq!(status()["daemon"]["supervisor"], "launchd");

        let first = status()["services"][0]["pid"].clone();
        let _ = http_get(port, "/wedge");
        wait_until("the next instance answers", SOON, || {
            let pid = &status()["services"][0]["pid"];
            pid.is_number() && *pid != first && answers()
        });
        assert_eq!(
            job.runs().len(),
            1,
            "launchd started stayd once: {}",
            log(dir.path())
        );
        assert_eq!(job.bootout(), End::Orderly, "{}", log(dir.path()));
        assert_eq!(others(), [""; 0], "{}", log(dir.path()));
    });
}

#[test]
#[ignore = "needs root"]
fn with_an_invalid_configuration_stayd_stays_and_waits() {
    alone_in_pid_namespace(|| {
        let dir = TempDir::new();
        let config = "name = \"broken\"\n[service.web]\ncommand = [\"true\"]\n";
        let plist = plist_of(dir.path(), config);
        fs::write(
            dir.join("stayd.toml"),
            "[service.web]\ncomand = [\"true\"]\n",
        )
        .unwrap();
        let job = SimulatedJob::bootstrap(&plist);
        wait_until("stayd reports the unknown key", SOON, || {
            log(dir.path()).contains("comand")
        });
        let pid = job.pid();
        assert!(pid.is_some());
        // it waits for the file: a corrected one is applied without a restart
        fs::write(dir.join("stayd.toml"), config).unwrap();
        wait_until("the corrected configuration is applied", SOON, || {
            log(dir.path()).contains("started")
        });
        assert_eq!(
            (job.runs().len(), job.pid()),
            (1, pid),
            "{}",
            log(dir.path())
        );
        assert_eq!(job.bootout(), End::Orderly);
    });
}
