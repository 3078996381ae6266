//! `stayd runtime ls`, `verify`, `import` and `rollback` beside a real stayd.

use crate::support::daemon::Stayd;
use crate::support::require_root;
use crate::support::runtimes::{COPIED, put};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

#[test]
fn the_table_tells_whose_a_runtime_is_and_who_uses_it_with_and_without_a_stayd() {
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
    let listed = stayd.listed(&one).expect("still there");
    assert_eq!(listed["services"][0]["running"], false);
    assert_eq!(listed["pids"], Value::Array(Vec::new()));
}

#[test]
fn verify_reads_everything_and_tells_what_was_altered_from_what_was_added() {
    let stayd = Stayd::with_runtime();
    let root = stayd.root(&stayd.fingerprint());
    let whole = stayd.client(&["runtime", "verify"]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.out.ends_with("  whole\n"), "{whole:?}");
    fs::write(root.join("cache"), "by the service").expect("written");
    let added = stayd.client(&["runtime", "verify", "web"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(added.out.contains("whole; added since: cache"), "{added:?}");
    // what no look at the metadata would find: other bytes with the same length, time and inode
    let file = fs::File::options()
        .write(true)
        .open(root.join("serve"))
        .expect("opened");
    let modified = file.metadata().expect("there").modified().expect("a time");
    std::os::unix::fs::FileExt::write_at(&file, b"#!/bin/SH", 0).expect("written");
    file.set_modified(modified).expect("set back");
    let (code, told) = stayd.runtime_json(&["verify"]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["runtimes"][0]["altered"][0], "serve");
    assert_eq!(told["runtimes"][0]["whole"], false);
    let nobody = stayd.client(&["runtime", "verify", "nobody"]);
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    assert!(
        nobody.err.contains("with a runtime there is web"),
        "{nobody:?}"
    );
}

#[test]
fn a_rollback_by_hand_goes_back_to_the_last_good_one_until_the_source_changes() {
    let stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    let nowhere = stayd.client(&["runtime", "rollback", "web"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(
        nowhere
            .err
            .contains("there is no other runtime that was good"),
        "{nowhere:?}"
    );
    assert_eq!(stayd.fingerprint(), one, "and nothing has happened");
    stayd.wait_good(&one);
    let two = stayd.restart_with_version("2");
    stayd.wait_good(&two);
    let back = stayd.client(&["runtime", "rollback", "web"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(
        back.out.starts_with(&format!(
            "web: rolled back to the runtime {}: it runs from it now;",
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
    // neither a restart nor another stayd comes back to it
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
fn a_rollback_of_a_stopped_service_is_there_when_it_starts() {
    let stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    stayd.wait_good(&one);
    let two = stayd.restart_with_version("2");
    stayd.wait_good(&two);
    assert_eq!(stayd.client(&["stop", "web"]).code, Some(0));
    let (code, told) = stayd.runtime_json(&["rollback", "web"]);
    assert_eq!(
        (code, &told["restarted"]),
        (Some(0), &false.into()),
        "{told}"
    );
    assert_eq!(
        (&told["from"], &told["to"]),
        (&Value::from(two), &Value::from(one.clone()))
    );
    assert_eq!(
        stayd.service("web")["state"],
        "stopped",
        "nobody has asked for it"
    );
    assert_eq!(stayd.client(&["start", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
}

/// As under TCC: the same user, with fewer rights than the person at the terminal.
#[test]
#[ignore = "needs root"]
fn an_import_brings_what_stayd_may_not_read() {
    require_root();
    let stayd = Stayd::start_with(COPIED, |command| {
        let folder = command.get_current_dir().expect("a folder").to_owned();
        put(&folder.join("source"), "1");
        fs::set_permissions(folder.join("source"), Permissions::from_mode(0o700)).expect("closed");
        let stranger = nix::unistd::Uid::from_raw(65_534);
        nix::unistd::chown(&folder.join("source"), Some(stranger), None).expect("given away");
        wrap(
            command,
            &["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
        );
    });
    let blocked = stayd.wait_state("web", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("stayd runtime import"), "{reason}");
    let (code, told) = stayd.runtime_json(&["import", "web"]);
    assert_eq!(
        (code, &told["copied"]["files"]),
        (Some(0), &1.into()),
        "{told}"
    );
    assert_eq!(
        stayd.client(&["restart", "web"]).code,
        Some(0),
        "{}",
        stayd.output()
    );
    let one = stayd.fingerprint();
    assert_eq!(told["fingerprint"], one.as_str());
    stayd.wait_good(&one);
    // a later one wins over what was good
    put(&stayd.source(), "2");
    let imported = stayd.client(&["runtime", "import", "web"]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(
        imported
            .out
            .contains("`stayd restart web` runs it from there"),
        "{imported:?}"
    );
    assert!(
        imported.err.is_empty(),
        "no bar where nobody looks: {imported:?}"
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
    // and can be taken back
    assert_eq!(stayd.client(&["runtime", "rollback", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
}

/// Lets `words` run the command.
fn wrap(command: &mut Command, words: &[&str]) {
    let folder = command.get_current_dir().expect("a folder").to_owned();
    let said = fs::File::create(folder.join("said")).expect("a file");
    let mut wrapped = Command::new(words[0]);
    wrapped
        .args(&words[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("a file"))
        .stderr(said);
    *command = wrapped;
}
