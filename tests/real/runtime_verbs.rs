//! `stayd runtime …` beside a real stayd: what the verbs tell, remove, bring and take back.

use crate::support::daemon::{SOON, Stayd};
use crate::support::{program, wait_until};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A service that runs from a copy, and one that keeps stayd company.
const CONFIG: &str = "name = 'x'\n[service.web]\ncommand = ['{runtime}/serve']\n\
                      [service.web.runtime]\nsource = 'DIR/source'\nkeep = 1\n";
const OTHER: &str = "name = 'x'\n[service.other]\ncommand = ['sleep', '1000']\n";

fn put(folder: &Path, version: &str) {
    let serve = folder.join("serve");
    fs::create_dir_all(folder).expect("a source");
    fs::write(&serve, format!("#!/bin/sh\n# {version}\nexec sleep 1000\n")).expect("written");
    fs::set_permissions(&serve, Permissions::from_mode(0o755)).expect("executable");
}

impl Stayd {
    fn with_runtime() -> Self {
        let stayd = Self::start_with(CONFIG, |command| {
            put(
                &command.get_current_dir().expect("a folder").join("source"),
                "1",
            );
        });
        stayd.wait_state("web", "running");
        stayd
    }

    fn source(&self) -> PathBuf {
        self.dir().join("source")
    }

    /// The next life runs from this.
    fn renew(&self, version: &str) -> String {
        put(&self.source(), version);
        let restarted = self.client(&["restart", "web"]);
        assert_eq!(restarted.code, Some(0), "{restarted:?}");
        self.fingerprint()
    }

    fn fingerprint(&self) -> String {
        let runtime = self.wait_state("web", "running")["runtime"].clone();
        runtime["fingerprint"].as_str().expect("one").to_owned()
    }

    fn root(&self, fingerprint: &str) -> PathBuf {
        self.state_dir().join("runtime").join(fingerprint)
    }

    /// What a verb writes as JSON, and its status.
    fn tells(&self, words: &[&str]) -> (Option<i32>, Value) {
        let all: Vec<_> = ["runtime"]
            .iter()
            .chain(words)
            .chain(&["--json"])
            .copied()
            .collect();
        let answer = self.client(&all);
        let told = serde_json::from_str(&answer.out);
        (answer.code, told.unwrap_or_else(|_| panic!("{answer:?}")))
    }

    /// One runtime, as `ls` has it.
    fn listed(&self, fingerprint: &str) -> Option<Value> {
        let (_, told) = self.tells(&["ls"]);
        let runtimes = told["runtimes"].as_array().expect("a list");
        let mut found = runtimes
            .iter()
            .filter(|one| one["fingerprint"] == fingerprint);
        found.next().cloned()
    }

    fn wait_good(&self, fingerprint: &str) {
        wait_until("it is remembered as good", SOON, || {
            self.listed(fingerprint)
                .is_some_and(|one| one["services"][0]["good"] == true)
        });
    }

    /// What `gc` says about one that it keeps.
    fn kept_because(&self, fingerprint: &str) -> String {
        let (code, told) = self.tells(&["gc"]);
        assert_eq!(code, Some(0), "{told}");
        let kept = told["kept"].as_array().expect("a list").iter();
        let mut why = kept.filter(|one| {
            one["path"]
                .as_str()
                .is_some_and(|path| path.ends_with(fingerprint))
        });
        let why = why
            .next()
            .unwrap_or_else(|| panic!("{fingerprint} is not kept: {told}"));
        why["why"].as_str().expect("a sentence").to_owned()
    }
}

/// A process of nobody's, ended when dropped.
struct Squatter(Child);

impl Squatter {
    fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("started"))
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("reaped");
    }
}

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
    let (code, told) = stayd.tells(&["verify"]);
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

/// Item 64 and the leases: by its folder, its program, a mapped file.
#[cfg(target_os = "linux")]
#[test]
fn gc_never_removes_what_a_process_uses_whoever_that_is() {
    let stayd = Stayd::with_runtime();
    let library = mapped_library();
    let standing = stayd.fingerprint();
    let stands = Squatter::new(
        Command::new("sleep")
            .arg("1000")
            .current_dir(stayd.root(&standing)),
    );
    fs::copy(program("sleep"), stayd.source().join("sleeper")).expect("a program");
    let running = stayd.renew("2");
    let runs = Squatter::new(Command::new(stayd.root(&running).join("sleeper")).arg("1000"));
    fs::copy(library, stayd.source().join("library.so")).expect("a library");
    let mapped = stayd.renew("3");
    let preload = stayd.root(&mapped).join("library.so");
    let maps = Squatter::new(Command::new("sleep").arg("1000").env("LD_PRELOAD", preload));
    let now = stayd.renew("4");
    for (fingerprint, squatter) in [(&standing, &stands), (&running, &runs), (&mapped, &maps)] {
        assert_eq!(
            stayd.kept_because(fingerprint),
            format!("in use by pid {}", squatter.0.id())
        );
    }
    assert_eq!(
        stayd.kept_because(&now),
        "the last life of web began with it"
    );
    drop((stands, runs, maps));
    let freed = stayd.client(&["runtime", "gc"]);
    assert_eq!(freed.code, Some(0), "{freed:?}");
    assert!(
        freed.out.starts_with("freed ") && freed.out.contains(": 3 runtimes\n"),
        "{freed:?}"
    );
    let left: Vec<_> = [&standing, &running, &mapped, &now]
        .into_iter()
        .filter(|one| stayd.listed(one).is_some())
        .collect();
    assert_eq!(left, [&now]);
}

/// Some library that is mapped here, and so can be anywhere.
#[cfg(target_os = "linux")]
fn mapped_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("our maps");
    let mut files = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let found = files.find(|file| file.contains("libgcc_s.so"));
    found.expect("libgcc_s is mapped").into()
}

#[test]
fn gc_keeps_what_an_adopted_and_a_forgotten_process_runs_from() {
    let stayd = Stayd::with_runtime();
    let adopted = stayd.fingerprint();
    let stayd = stayd.killed_and_again();
    let web = stayd.wait_state("web", "running");
    assert_eq!(web["ownership"], "adopted");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last life of web began with it"
    );
    // not configured any more: only the process that still runs keeps it
    stayd.rewrite(OTHER);
    let stayd = stayd.killed_and_again();
    stayd.wait_state("other", "running");
    assert_eq!(
        stayd.kept_because(&adopted),
        "the last life of web began with it"
    );
    let pid = i32::try_from(web["pid"].as_i64().expect("a pid")).expect("a pid");
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("ended");
    wait_until("it is freed once its process is gone", SOON, || {
        let (_, told) = stayd.tells(&["gc"]);
        told["freed"]
            .as_array()
            .is_some_and(|freed| freed.len() == 1)
    });
    assert!(!stayd.root(&adopted).exists());
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
    let two = stayd.renew("2");
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
    let stayd = stayd.again();
    assert_eq!(stayd.fingerprint(), one);
    let three = stayd.renew("3");
    assert!(three != one && three != two);
}

#[test]
fn a_rollback_of_a_stopped_service_is_there_when_it_starts() {
    let stayd = Stayd::with_runtime();
    let one = stayd.fingerprint();
    stayd.wait_good(&one);
    let two = stayd.renew("2");
    stayd.wait_good(&two);
    assert_eq!(stayd.client(&["stop", "web"]).code, Some(0));
    let (code, told) = stayd.tells(&["rollback", "web"]);
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
#[cfg(target_os = "linux")]
#[test]
fn an_import_brings_what_stayd_may_not_read() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can have fewer rights than root");
        return;
    }
    let stayd = Stayd::start_with(CONFIG, |command| {
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
    let (code, told) = stayd.tells(&["import", "web"]);
    assert_eq!(
        (code, &told["copied"]["files"]),
        (Some(0), &1.into()),
        "{told}"
    );
    assert_eq!(
        stayd.client(&["restart", "web"]).code,
        Some(0),
        "{}",
        stayd.said()
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
        stayd.said()
    );
    let two = stayd.fingerprint();
    assert_ne!(two, one);
    stayd.wait_good(&two);
    // and can be taken back
    assert_eq!(stayd.client(&["runtime", "rollback", "web"]).code, Some(0));
    assert_eq!(stayd.fingerprint(), one);
}

/// Lets `words` run the command.
#[cfg(target_os = "linux")]
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
