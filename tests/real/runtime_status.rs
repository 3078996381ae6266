//! `status` shows the progress of a copy, and staleness: a restart would run other files than those that run now.

use crate::support::daemon::{SOON, Stayd};
use crate::support::runtimes::{COPIED, put};
use crate::support::{program, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// stayd takes a script that was modified less than 2 s after the start of its process for the one that was started:
/// times of files and of processes come from clocks of different resolution. One second more is surely later.
const SURELY_LATER: Duration = Duration::from_secs(3);
/// So many bytes take longer to copy than a helper waits before it reports its progress.
const LARGE_BYTES: usize = 300 << 20;
/// The modification time of an installed program since 1970: long ago, as in a package.
const MODIFIED: Duration = Duration::from_secs(1_000_000_000);

/// Replaces the program at `path` by another file that looks as if it had been built long ago.
fn install(path: &Path) {
    let staged = path.with_extension("new");
    fs::copy(program("sleep"), &staged).expect("a program");
    let file = File::options().write(true).open(&staged).expect("opened");
    file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED)
        .expect("the modification time is set");
    drop(file);
    fs::rename(staged, path).expect("the program is replaced");
}

#[test]
fn a_service_whose_program_was_replaced_is_stale_until_its_restart() {
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
    let program = dir.join("serve");
    let stale = stayd.wait_service("plain", "stale", |plain| plain["runtime"] != Value::Null);
    assert_eq!(
        stale["runtime"],
        serde_json::json!({ "fingerprint": null, "path": program, "stale": true })
    );
    let path = &stayd.service("linked")["runtime"]["path"];
    assert_eq!(
        path,
        &Value::from(dir.join("current/serve").display().to_string())
    );
    assert_eq!(
        stayd.service("shell")["runtime"],
        Value::Null,
        "the shell has executed another program by itself"
    );
    let text = stayd.client(&["status"]);
    let line = format!(
        "stale: {} was replaced after the service started; `stayd restart plain` runs the new content\n",
        program.display()
    );
    assert!(text.out.contains(&line), "{text:?}");
    for name in ["linked", "plain"] {
        assert_eq!(stayd.client(&["restart", name]).code, Some(0));
        assert_eq!(stayd.service(name)["runtime"], Value::Null, "{name}");
    }
}

#[test]
fn an_adopted_service_whose_script_was_changed_is_stale() {
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
    let first_version = File::open(stayd.dir().join("serve"))
        .expect("the script")
        .metadata()
        .expect("its metadata");
    let modified = first_version.modified().expect("a modification time");
    // The passing of time is what is tested here: a change counts only when it is surely later than the start.
    wait_until("a change is surely later than the start", SOON, || {
        modified.elapsed().is_ok_and(|age| age > SURELY_LATER)
    });
    put(stayd.dir(), "2");
    let script = stayd.wait_service("script", "stale", |script| script["runtime"] != Value::Null);
    assert_eq!(script["runtime"]["stale"], true);
}

#[test]
fn a_service_whose_runtimes_source_has_changed_is_stale_until_its_restart() {
    let stayd = Stayd::with_runtime();
    let before = stayd.fingerprint();
    put(&stayd.source(), "2");
    wait_until("the service is stale", SOON, || {
        stayd.service("web")["runtime"]["stale"] == true
    });
    let text = stayd.client(&["status"]);
    assert!(
        text.out
            .contains("stale: the content of its source has changed; `stayd restart web`"),
        "{text:?}"
    );
    assert_eq!(stayd.client(&["restart", "web"]).code, Some(0));
    assert_ne!(stayd.fingerprint(), before);
    assert_eq!(stayd.service("web")["runtime"]["stale"], false);
}

#[test]
fn the_reason_shows_the_progress_of_a_long_copy() {
    let stayd = Stayd::start_with(COPIED, |command| {
        let source = command.get_current_dir().expect("a folder").join("source");
        put(&source, "1");
        fs::write(source.join("data"), vec![1; LARGE_BYTES]).expect("written");
    });
    let web = stayd.wait_service("web", "copying with a progress", |web| {
        assert_ne!(web["state"], "running", "no progress was reported");
        let reason = web["reason"].as_str().unwrap_or_default();
        web["state"] == "materializing" && reason.starts_with("copying its runtime: ")
    });
    let reason = web["reason"].as_str().expect("a reason");
    assert!(reason.contains(" MiB so far"), "{reason}");
    let running = stayd.wait_state("web", "running");
    assert_ne!(running["reason"], reason, "the copy is complete");
}
