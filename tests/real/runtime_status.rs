//! What `status` says of runtimes and programs: how far a copy is, and that what runs is not what a restart would run.

use crate::support::daemon::{SOON, Stayd};
use crate::support::runtimes::{COPIED, put};
use crate::support::{program, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A change so soon after a start cannot be told from what was there before.
const TOO_SOON: Duration = Duration::from_secs(3);
/// Takes longer to copy than a helper waits before it says how far it is.
const LARGE_BYTES: usize = 300 << 20;
/// As old as what a package manager unpacks.
const LONG_AGO: Duration = Duration::from_secs(1_000_000_000);

/// A program that looks as if it had been built long ago.
fn install(place: &Path) {
    let spare = place.with_extension("new");
    fs::copy(program("sleep"), &spare).expect("a program");
    let file = File::options().write(true).open(&spare).expect("opened");
    file.set_modified(SystemTime::UNIX_EPOCH + LONG_AGO)
        .expect("set");
    drop(file);
    fs::rename(spare, place).expect("in its place");
}

#[test]
fn a_program_that_was_replaced_is_stale_until_the_restart() {
    let stayd = Stayd::start_with(
        "name = 'x'\n[service.shell]\ncommand = ['sh', '-c', 'exec sleep 1000']\n\
         [service.linked]\ncommand = ['DIR/current/serve', '1000']\n\
         [service.plain]\ncommand = ['DIR/serve', '1000']\n",
        |command| {
            let folder = command.get_current_dir().expect("a folder");
            fs::create_dir(folder.join("v1")).expect("a folder");
            symlink("v1", folder.join("current")).expect("a link");
            install(&folder.join("serve"));
            install(&folder.join("v1/serve"));
        },
    );
    for name in ["shell", "linked", "plain"] {
        stayd.wait_state(name, "running");
        assert_eq!(stayd.service(name)["runtime"], Value::Null, "{name}");
    }
    let dir = stayd.dir();
    install(&dir.join("serve"));
    fs::create_dir(dir.join("v2")).expect("a folder");
    install(&dir.join("v2/serve"));
    fs::remove_file(dir.join("current")).expect("removed");
    symlink("v2", dir.join("current")).expect("a link");
    let place = dir.join("serve");
    let stale = stayd.wait_service("plain", "stale", |plain| plain["runtime"] != Value::Null);
    assert_eq!(
        stale["runtime"],
        serde_json::json!({ "fingerprint": null, "path": place, "stale": true })
    );
    let path = &stayd.service("linked")["runtime"]["path"];
    assert_eq!(
        path,
        &Value::from(dir.join("current/serve").display().to_string())
    );
    assert_eq!(
        stayd.service("shell")["runtime"],
        Value::Null,
        "it has executed another by itself"
    );
    let text = stayd.client(&["status"]);
    let line = format!(
        "stale: {} was replaced since it was started; `stayd restart plain` runs that\n",
        place.display()
    );
    assert!(text.out.contains(&line), "{text:?}");
    for name in ["linked", "plain"] {
        assert_eq!(stayd.client(&["restart", name]).code, Some(0));
        assert_eq!(stayd.service(name)["runtime"], Value::Null, "{name}");
    }
}

#[test]
fn a_script_that_was_changed_is_stale_for_an_adopted_process_too() {
    let stayd = Stayd::start_with(
        "name = 'x'\n[service.script]\ncommand = ['DIR/serve']\n",
        |command| {
            put(command.get_current_dir().expect("a folder"), "1");
        },
    );
    stayd.wait_state("script", "running");
    let stayd = stayd.kill_and_restart();
    assert_eq!(
        stayd.wait_state("script", "running")["ownership"],
        "adopted"
    );
    let began = File::open(stayd.dir().join("serve"))
        .expect("there")
        .metadata()
        .expect("a stamp");
    let began = began.modified().expect("a time");
    wait_until("it cannot be taken for what was there before", SOON, || {
        began.elapsed().is_ok_and(|age| age > TOO_SOON)
    });
    put(stayd.dir(), "2");
    let script = stayd.wait_service("script", "stale", |script| script["runtime"] != Value::Null);
    assert_eq!(script["runtime"]["stale"], true);
}

#[test]
fn a_runtime_whose_source_has_changed_is_stale_until_the_restart() {
    let stayd = Stayd::with_runtime();
    let before = stayd.fingerprint();
    put(&stayd.source(), "2");
    wait_until("it is stale", SOON, || {
        stayd.service("web")["runtime"]["stale"] == true
    });
    let text = stayd.client(&["status"]);
    assert!(
        text.out
            .contains("stale: its source holds something else by now; `stayd restart web`"),
        "{text:?}"
    );
    assert_eq!(stayd.client(&["restart", "web"]).code, Some(0));
    assert_ne!(stayd.fingerprint(), before);
    assert_eq!(stayd.service("web")["runtime"]["stale"], false);
}

#[test]
fn a_long_copy_tells_how_far_it_is() {
    let stayd = Stayd::start_with(COPIED, |command| {
        let source = command.get_current_dir().expect("a folder").join("source");
        put(&source, "1");
        fs::write(source.join("data"), vec![1; LARGE_BYTES]).expect("written");
    });
    let web = stayd.wait_service("web", "copied for a while", |web| {
        assert_ne!(web["state"], "running", "nothing was told");
        let reason = web["reason"].as_str().unwrap_or_default();
        web["state"] == "materializing" && reason.starts_with("copying its runtime: ")
    });
    let reason = web["reason"].as_str().expect("a reason");
    assert!(reason.contains(" MiB so far"), "{reason}");
    let running = stayd.wait_state("web", "running");
    assert_ne!(running["reason"], reason, "it is over");
}
