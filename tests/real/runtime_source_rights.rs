//! stayd of root reads the source of a runtime with the rights of the service's user.

use crate::support::daemon::Stayd;
use crate::support::require_root;
use crate::support::runtimes::put;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// The user `nobody`.
const NOBODY: u32 = 65_534;

/// The service `web` of the user nobody, which owns the link to its source.
const OF_NOBODY: &str = "name = 'x'\n[service.web]\ncommand = ['{runtime}/serve']\nuser = 'nobody'\n\
                         [service.web.runtime]\nsource = 'DIR/app/current'\n";

/// Starts stayd with a link to `DIR/secret`, a folder that only root can enter, and with `DIR/app/public`.
fn start() -> Stayd {
    Stayd::start_with(OF_NOBODY, |command| {
        let dir = command.get_current_dir().expect("a folder");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
        };
        mode(dir, 0o755);
        let (app, secret) = (dir.join("app"), dir.join("secret"));
        put(&secret, "of root");
        mode(&secret, 0o700);
        put(&app.join("public"), "of nobody");
        symlink(&secret, app.join("current")).expect("a link");
        chown(&app, Some(NOBODY), Some(NOBODY)).expect("given");
    })
}

/// Puts a link to `target` in place of the one at `link`.
fn replace_link(link: &Path, target: &Path) {
    let next = link.with_extension("next");
    symlink(target, &next).expect("a link");
    fs::rename(next, link).expect("replaced");
}

/// The folders of the copies.
fn copies(stayd: &Stayd) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(stayd.state_dir().join("runtime")) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.join("serve").exists()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_link_leads_root_to_no_folder_that_the_services_user_cannot_read() {
    require_root();
    let stayd = start();
    let web = stayd.wait_state("web", "blocked");
    let reason = web["reason"].as_str().expect("a reason");
    for part in [
        "/app/current: Permission denied",
        "the service's user, nobody",
        "`stayd runtime import SERVICE` as root",
    ] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(copies(&stayd).is_empty());

    // The same holds for a single file in a folder of the user.
    let private = stayd.dir().join("app/public/private");
    fs::write(&private, "of root").expect("a file");
    fs::set_permissions(&private, Permissions::from_mode(0o600)).expect("its mode");
    let link = stayd.dir().join("app/current");
    replace_link(&link, Path::new("public"));
    stayd.wait_service("web", "the file is refused", |web| {
        let reason = web["reason"].as_str().unwrap_or_default();
        reason.contains("/app/current/private: Permission denied")
    });
    assert!(copies(&stayd).is_empty());

    // What the user can read is copied.
    fs::remove_file(private).expect("removed");
    stayd.wait_state("web", "running");
    assert_eq!(copies(&stayd).len(), 1);

    // Later comparisons and instances read it with the same rights.
    replace_link(&link, &stayd.dir().join("secret"));
    let restarted = stayd.client(&["restart", "web"]);
    assert_eq!(restarted.code, Some(0), "the last copy: {restarted:?}");
    assert_eq!(copies(&stayd).len(), 1);
}

/// `runtime import` copies with the rights of the user that calls it.
#[test]
#[ignore = "needs root"]
fn root_can_import_a_source_that_the_services_user_cannot_read() {
    require_root();
    let stayd = start();
    stayd.wait_state("web", "blocked");
    let (code, imported) = stayd.runtime_json(&["import", "web"]);
    assert_eq!(code, Some(0), "{imported}");
    let started = stayd.client(&["restart", "web"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(imported["fingerprint"], stayd.fingerprint());
}
