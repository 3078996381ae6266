//! Services that run from copies of their files.

use super::daemon::{SOON, Stayd};
use super::wait_until;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A service that runs from a copy of `DIR/source`.
pub(crate) const COPIED: &str = "name = 'x'\n[service.web]\ncommand = ['{runtime}/serve']\n\
                      ready = { probe = 'exec:true' }\n\
                      [service.web.runtime]\nsource = 'DIR/source'\nkeep = 1\n";

/// Makes a source that is told from others by its version.
pub(crate) fn put(folder: &Path, version: &str) {
    let serve = folder.join("serve");
    fs::create_dir_all(folder).expect("a source");
    fs::write(&serve, format!("#!/bin/sh\n# {version}\nexec sleep 1000\n")).expect("written");
    fs::set_permissions(&serve, Permissions::from_mode(0o755)).expect("executable");
}

impl Stayd {
    pub(crate) fn with_runtime() -> Self {
        let stayd = Self::start_with(COPIED, |command| {
            put(
                &command.get_current_dir().expect("a folder").join("source"),
                "1",
            );
        });
        stayd.wait_state("web", "running");
        stayd
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.dir().join("source")
    }

    /// The next life runs from this.
    pub(crate) fn renew(&self, version: &str) -> String {
        put(&self.source(), version);
        let restarted = self.client(&["restart", "web"]);
        assert_eq!(restarted.code, Some(0), "{restarted:?}");
        self.fingerprint()
    }

    pub(crate) fn fingerprint(&self) -> String {
        let runtime = self.wait_state("web", "running")["runtime"].clone();
        runtime["fingerprint"].as_str().expect("one").to_owned()
    }

    pub(crate) fn root(&self, fingerprint: &str) -> PathBuf {
        self.state_dir().join("runtime").join(fingerprint)
    }

    /// What a verb writes as JSON, and its status.
    pub(crate) fn tells(&self, words: &[&str]) -> (Option<i32>, Value) {
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
    pub(crate) fn listed(&self, fingerprint: &str) -> Option<Value> {
        let (_, told) = self.tells(&["ls"]);
        let runtimes = told["runtimes"].as_array().expect("a list");
        let mut found = runtimes
            .iter()
            .filter(|one| one["fingerprint"] == fingerprint);
        found.next().cloned()
    }

    pub(crate) fn wait_good(&self, fingerprint: &str) {
        wait_until("it is remembered as good", SOON, || {
            self.listed(fingerprint)
                .is_some_and(|one| one["services"][0]["good"] == true)
        });
    }

    /// What `gc` says about one that it keeps.
    pub(crate) fn kept_because(&self, fingerprint: &str) -> String {
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
