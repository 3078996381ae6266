//! The commands `stayd runtime ls`, `verify`, `rollback` and `import`, with and without a running stayd.

use crate::support::daemon::Stayd;
use crate::support::require_root;
use crate::support::runtimes::{COPIED, put};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

#[test]
fn ls_shows_the_services_and_pids_of_a_runtime_with_and_without_a_running_stayd() {
    let mut stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    stayd.wait_good(&one);
    let listed = stayd.listed(&one).expect("listed");
    let web = &listed["services"][0];
    assert_eq!(
        (
            &web["name"],
            &web["running"],
            &web["newest"],
            &web["refused"]
        ),
        (&"web".into(), &true.into(), &true.into(), &Value::Null)
    );
    assert_eq!(
        (&listed["files"], listed["bytes"].as_u64() > Some(20)),
        (&1.into(), true)
    );
    assert_eq!(listed["pids"][0], stayd.service("web")["pid"]);
    let text = stayd.client(&["runtime", "ls"]);
    assert!(
        text.out.contains(&one[..12]) && !text.out.contains(&one),
        "{text:?}"
    );
    assert!(text.out.contains("web (running, newest, good)"), "{text:?}");
    stayd.stop();
    let listed = stayd.listed(&one).expect("still listed");
    assert_eq!(listed["services"][0]["running"], false);
    assert_eq!(listed["pids"], Value::Array(Vec::new()));
}

#[test]
fn verify_reads_every_file_and_tells_altered_files_from_added_ones() {
    let stayd = Stayd::with_runtime();
    let root = stayd.root(&stayd.fingerprint());
    let whole = stayd.client(&["runtime", "verify"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.out.ends_with("  whole\n"), "{whole:?}");
    fs::write(root.join("cache"), "by the service").expect("written");
    let added = stayd.client(&["runtime", "verify", "web"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(added.out.contains("whole; added since: cache"), "{added:?}");
    // Other bytes with the same length, time and inode: the metadata alone would not show this change.
    let file = fs::File::options()
        .write(true)
        .open(root.join("serve"))
        .expect("opened");
    let metadata = file.metadata().expect("its metadata");
    let modified = metadata.modified().expect("a modification time");
    std::os::unix::fs::FileExt::write_at(&file, b"#!/bin/SH", 0).expect("written");
    file.set_modified(modified)
        .expect("the modification time is restored");
    let (code, answer) = stayd.runtime_json(&["verify"]);
    assert_eq!(code, Some(1), "{answer}");
    assert_eq!(answer["runtimes"][0]["altered"][0], "serve");
    assert_eq!(answer["runtimes"][0]["whole"], false);
    let unknown = stayd.client(&["runtime", "verify", "unknown"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(
        unknown.err.contains("services with a runtime: web"),
        "{unknown:?}"
    );
}

#[test]
fn a_requested_rollback_returns_to_the_last_good_runtime_until_the_source_changes() {
    let stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    let refused = stayd.client(&["runtime", "rollback", "web"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .err
            .contains("there is no other runtime that was good"),
        "{refused:?}"
    );
    assert_eq!(
        stayd.fingerprint(),
        one,
        "a refused rollback changes nothing"
    );
    stayd.wait_good(&one);
    let two = stayd.restart_with_version("2");
    stayd.wait_good(&two);
    let back = stayd.client(&["runtime", "rollback", "web"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(
        back.out.starts_with(&format!(
            "web: rolled back to the runtime {}: the service runs from it now;",
            &one[..12]
        )),
        "{back:?}"
    );
    assert_eq!(stayd.fingerprint(), one);
    assert_eq!(stayd.service("web")["runtime"]["stale"], true);
    assert_eq!(
        stayd.listed(&two).expect("kept")["services"][0]["refused"],
        "rolled back by hand"
    );
    // Neither a restart nor the next stayd takes the newer runtime again.
    assert_eq!(stayd.client(&["restart", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
    let mut stayd = stayd;
    stayd.stop();
    let stayd = stayd.restart();
    assert_eq!(stayd.fingerprint(), one);
    let three = stayd.restart_with_version("3");
    assert!(three != one && three != two);
}

#[test]
fn a_rollback_of_a_stopped_service_takes_effect_at_its_next_start() {
    let stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    stayd.wait_good(&one);
    let two = stayd.restart_with_version("2");
    stayd.wait_good(&two);
    assert_eq!(stayd.client(&["stop", "web"]).code, Some(0));
    let (code, answer) = stayd.runtime_json(&["rollback", "web"]);
    assert_eq!(
        (code, &answer["restarted"]),
        (Some(0), &false.into()),
        "{answer}"
    );
    assert_eq!(
        (&answer["from"], &answer["to"]),
        (&Value::from(two), &Value::from(one.clone()))
    );
    assert_eq!(
        stayd.service("web")["state"],
        "stopped",
        "a rollback does not start the service"
    );
    assert_eq!(stayd.client(&["start", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
}

/// As with TCC on macOS, stayd runs as the same user as the caller of `import` and has fewer rights.
#[test]
#[ignore = "needs root"]
fn an_import_copies_a_source_that_stayd_may_not_read() {
    require_root();
    let stayd = Stayd::start_with(COPIED, |command| {
        let folder = command.get_current_dir().expect("a folder").to_owned();
        put(&folder.join("source"), "1");
        fs::set_permissions(folder.join("source"), Permissions::from_mode(0o700))
            .expect("the mode is set");
        let other_user = nix::unistd::Uid::from_raw(65_534);
        nix::unistd::chown(&folder.join("source"), Some(other_user), None).expect("chown");
        run_by(
            command,
            &["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
        );
    });
    let blocked = stayd.wait_state("web", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("stayd runtime import"), "{reason}");
    let (code, answer) = stayd.runtime_json(&["import", "web"]);
    assert_eq!(
        (code, &answer["copied"]["files"]),
        (Some(0), &1.into()),
        "{answer}"
    );
    assert_eq!(
        stayd.client(&["restart", "web"]).code,
        Some(0),
        "{}",
        stayd.output()
    );
    let one = stayd.fingerprint();
    assert_eq!(answer["fingerprint"], one.as_str());
    stayd.wait_good(&one);
    // A runtime imported later is taken before the last good one.
    put(&stayd.source(), "2");
    let imported = stayd.client(&["runtime", "import", "web"]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(
        imported
            .out
            .contains("`stayd restart web` starts the service from it"),
        "{imported:?}"
    );
    assert!(
        imported.err.is_empty(),
        "no progress bar without a terminal: {imported:?}"
    );
    assert_eq!(
        stayd.client(&["restart", "web"]).code,
        Some(0),
        "{}",
        stayd.output()
    );
    let two = stayd.fingerprint();
    assert_ne!(two, one);
    stayd.wait_good(&two);
    // A rollback undoes the import.
    assert_eq!(stayd.client(&["runtime", "rollback", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
}

/// Changes the command so that the program `words[0]` with the other words as arguments runs it.
fn run_by(command: &mut Command, words: &[&str]) {
    let folder = command.get_current_dir().expect("a folder").to_owned();
    let output = fs::File::create(folder.join("said")).expect("a file");
    let mut wrapped = Command::new(words[0]);
    wrapped
        .args(&words[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output);
    *command = wrapped;
}
