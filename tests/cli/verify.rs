//! `stayd verify`: output, exit statuses, drop-ins and bundles on a disk.

use crate::daemon::run;
use crate::wait::TempDir;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

const GOOD: &str = "[Unit]\nDescription=a\n[Service]\nExecStart=/opt/a\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n";

/// Files in a folder of their own.
struct Setup(TempDir);

impl Setup {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn a_good_file_exits_with_0_and_an_error_with_1() {
    let setup = Setup::new();
    let good = setup.write("good.service", GOOD);
    let done = run(&["verify", &good]);
    assert_eq!(
        done,
        (0, format!("{good}: nothing to report\n"), String::new())
    );
    let warned = setup.write("warned.service", GOOD.replace("Restart=on-failure\n", ""));
    let (status, out, _) = run(&["verify", &warned]);
    assert_eq!(status, 0, "{out}");
    assert!(
        out.starts_with(&format!(
            "{warned}:3: warning unit-no-restart: a stays down"
        )),
        "{out}"
    );
    let bad = setup.write("bad.service", GOOD.replace("on-failure", "Always"));
    let (status, out, err) = run(&["verify", &good, &bad]);
    assert_eq!((status, err.as_str()), (1, ""));
    assert!(
        out.starts_with(&format!(
            "{bad}:5: error unit-bad-value: `Always` is no value of Restart=, so systemd ignores the line; write `always`: "
        )),
        "{out}"
    );
}

#[test]
fn json_has_every_finding_and_nothing_else_on_stdout() {
    let setup = Setup::new();
    let bad = setup.write(
        "bad.service",
        GOOD.replace("on-failure", "a\\x1b[2J\x1b[2J"),
    );
    let (status, out, err) = run(&["verify", "--json", &bad]);
    assert_eq!((status, err.as_str()), (1, ""));
    let value: Value = serde_json::from_str(&out).expect("JSON alone on stdout");
    assert_eq!(value["schema"], 1);
    let finding = &value["findings"][0];
    assert_eq!(
        (&finding["line"], &finding["level"], &finding["code"]),
        (&5.into(), &"error".into(), &"unit-bad-value".into())
    );
    assert_eq!(finding["path"], bad);
    assert!(
        finding["message"]
            .as_str()
            .is_some_and(|text| text.contains('\x1b')),
        "{out}"
    );
    let (_, out, _) = run(&["verify", &bad]);
    assert!(!out.contains('\x1b') && out.contains("\\x1b[2J"), "{out}");
}

#[test]
fn what_cannot_be_read_has_a_sentence_and_a_status_and_the_rest_is_checked() {
    let setup = Setup::new();
    let bad = setup.write("bad.service", "[Service]\nType=x\n");
    let missing = setup.0.join("missing.plist");
    let missing = missing.to_str().expect("UTF-8");
    let (status, out, err) = run(&["verify", missing, &bad]);
    assert_eq!(status, 2, "{err}");
    assert_eq!(
        err,
        format!("stayd: cannot verify {missing}: there is no such file; check the path\n")
    );
    assert!(out.contains("unit-bad-value"), "{out}");
    let folder = setup.0.path().to_str().expect("UTF-8");
    let (status, _, err) = run(&["verify", folder]);
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("no app bundle; name the files in it"), "{err}");
    let (status, _, err) = run(&["verify"]);
    assert_eq!(status, 2, "{err}");
    let masked = setup.0.join("masked.service");
    symlink("/dev/null", &masked).expect("linked");
    let (status, _, err) = run(&["verify", masked.to_str().expect("UTF-8")]);
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("masked"), "{err}");
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o000)).expect("changed");
        let (status, _, err) = run(&["verify", &bad]);
        assert_eq!(status, 77, "{err}");
        assert!(
            err.contains("permission denied; run it as a user who may read"),
            "{err}"
        );
    }
}

#[test]
fn files_of_the_wrong_kind_and_of_any_size_end_with_a_finding() {
    let setup = Setup::new();
    for (name, bytes, code) in [
        ("large.service", vec![b'#'; 10 << 20], "file-too-large"),
        ("empty.plist", Vec::new(), "file-empty"),
        ("text.txt", b"hello".to_vec(), "file-unknown"),
        ("text.plist", b"hello".to_vec(), "plist-invalid"),
        ("garbage.service", vec![0xff; 4096], "file-not-text"),
        (
            "deep.plist",
            "<plist>"
                .bytes()
                .chain("<dict><key>a</key>".repeat(50_000).into_bytes())
                .collect(),
            "plist-invalid",
        ),
    ] {
        let file = setup.write(name, bytes);
        let (status, out, err) = run(&["verify", &file]);
        assert_eq!((status, err.as_str()), (1, ""), "{name}: {out}");
        assert!(
            out.starts_with(&format!("{file}:1: error {code}: ")),
            "{name}: {out}"
        );
    }
}

#[test]
fn drop_ins_beside_a_unit_belong_to_it() {
    let setup = Setup::new();
    let unit = setup.write("a@.service", GOOD);
    let drop_in = setup.write("a@.service.d/b.conf", "[Service]\nExecStart=/opt/b\n");
    fs::create_dir(setup.0.join("a@.service.d/folder.conf")).expect("created");
    let (status, out, _) = run(&["verify", &unit]);
    assert_eq!(status, 1);
    assert!(
        out.starts_with(&format!("{drop_in}:2: error unit-several-exec: ")),
        "{out}"
    );
    let instance = setup.write("a@x.service", GOOD);
    let (status, out, _) = run(&["verify", &instance]);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains(&drop_in), "{out}");
}

#[test]
fn an_app_bundle_is_checked_as_a_whole() {
    let setup = Setup::new();
    let job = "<plist><dict><key>Label</key><string>a.b</string><key>BundleProgram</key><string>Contents/MacOS/a</string>\
               <key>RunAtLoad</key><true/></dict></plist>";
    let plist = setup.write("A.app/Contents/Library/LaunchAgents/a.b.plist", job);
    let app = setup.0.join("A.app");
    let app = app.to_str().expect("UTF-8");
    let (status, out, _) = run(&["verify", app]);
    assert_eq!(status, 1);
    assert!(
        out.starts_with(&format!("{plist}:1: error app-program-missing: ")),
        "{out}"
    );
    let program = setup.write("A.app/Contents/MacOS/a", "#!/bin/sh\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("changed");
    let done = run(&["verify", app]);
    assert_eq!(
        done,
        (0, format!("{app}: nothing to report\n"), String::new())
    );
}
