//! A service that runs from a copy of its files, and what stayd shows about these copies.

use super::daemon::Stayd;
use super::{SOON, wait_until};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The service `web`, which runs from a copy of `DIR/source`.
pub(crate) const COPIED: &str = "name = 'x'\n[service.web]\ncommand = ['{runtime}/serve']\n\
                      ready = { probe = 'exec:true' }\n\
                      [service.web.runtime]\nsource = 'DIR/source'\nkeep = 1\n";

/// Writes a source whose files differ with `version`.
pub(crate) fn put(folder: &Path, version: &str) {
    let serve = folder.join("serve");
    fs::create_dir_all(folder).expect("a source");
    fs::write(&serve, format!("#!/bin/sh\n# {version}\nexec sleep 1000\n")).expect("written");
    fs::set_permissions(&serve, Permissions::from_mode(0o755)).expect("executable");
}

impl Stayd {
    /// A stayd with the service above, running from version 1.
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

    /// Writes another version of the source and restarts the service from it; returns its fingerprint.
    pub(crate) fn restart_with_version(&self, version: &str) -> String {
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

    /// Runs `stayd runtime WORDS --json`; the exit code, and the JSON that it prints.
    pub(crate) fn runtime_json(&self, words: &[&str]) -> (Option<i32>, Value) {
        let all: Vec<_> = ["runtime"]
            .iter()
            .chain(words)
            .chain(&["--json"])
            .copied()
            .collect();
        let answer = self.client(&all);
        let json = serde_json::from_str(&answer.out);
        (answer.code, json.unwrap_or_else(|_| panic!("{answer:?}")))
    }

    /// The entry of one runtime in `runtime ls`.
    pub(crate) fn listed(&self, fingerprint: &str) -> Option<Value> {
        let (_, listing) = self.runtime_json(&["ls"]);
        let runtimes = listing["runtimes"].as_array().expect("a list");
        let mut found = runtimes
            .iter()
            .filter(|one| one["fingerprint"] == fingerprint);
        found.next().cloned()
    }

    pub(crate) fn wait_good(&self, fingerprint: &str) {
        wait_until("the runtime is marked good", SOON, || {
            self.listed(fingerprint)
                .is_some_and(|one| one["services"][0]["good"] == true)
        });
    }

    /// The reason that `runtime gc` gives for keeping this runtime.
    pub(crate) fn kept_because(&self, fingerprint: &str) -> String {
        let (code, listing) = self.runtime_json(&["gc"]);
        assert_eq!(code, Some(0), "{listing}");
        let kept = listing["kept"].as_array().expect("a list").iter();
        let mut why = kept.filter(|one| {
            one["path"]
                .as_str()
                .is_some_and(|path| path.ends_with(fingerprint))
        });
        let why = why
            .next()
            .unwrap_or_else(|| panic!("{fingerprint} is not kept: {listing}"));
        why["why"].as_str().expect("a sentence").to_owned()
    }
}
