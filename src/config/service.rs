//! One service's table, put together into what it means.

use super::finding::Place;
use super::listen;
use super::probe_url::{self, Context, Parsed};
use super::runtime;
use super::secret::{Secrets, has_reference};
use super::section::{Findings, Section};
use super::value::Wrong;
use super::{Endpoint, Log, LogTo, Probe, Service, Signal, Target};
use crate::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that an evidence command may take.
pub const EVIDENCE_LIMIT: Duration = Duration::from_secs(5);
/// PostgreSQL's role where neither the URL nor the surroundings name one.
const LAST_ROLE: &str = "postgres";

/// What a service leans on besides its own table.
pub(super) struct Builder<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The configuration's folder; absolute.
    pub(super) folder: &'a Path,
    pub(super) euid: u32,
    /// The values come from a command line.
    pub(super) public: bool,
    pub(super) findings: &'a mut Findings,
}

impl Builder<'_> {
    /// The service; what is wrong goes to the findings, and none comes back if it cannot be built.
    pub(super) fn service(&mut self, section: &Section) -> Option<Service> {
        let probe = self.probe(section, "service.*.watchdog.probe");
        let ready = self.probe(section, "service.*.ready.probe");
        self.check_probe_fits(section, probe.as_ref(), ready.as_ref());
        self.check_stranger(section, probe.as_ref());
        self.check_commands(section);
        self.check_user(section);
        self.check_signals(section);
        let policy = policy(section, probe.as_ref(), ready.is_some());
        self.check_policy(section, &policy);
        let env = self.environment(section);
        let path = |key| section.text(key).map(|text| plain(&self.folder.join(text)));
        let service = Service {
            name: section.name.clone(),
            command: section.texts("service.*.command")?,
            cwd: runtime::cwd(section, self.folder),
            runtime: runtime::of(section, self.folder, self.findings),
            before: section.texts("service.*.before"),
            env,
            env_file: path("service.*.env_file"),
            user: section.text("service.*.user"),
            port: port(section),
            any_port_owner: section.is("service.*.port_owner", "any"),
            kill_group_only: section.is("service.*.kill", "group"),
            stop_signal: section.signal("service.*.stop.signal")?,
            reload_signal: section.signal("service.*.reload.signal")?,
            sd_notify: section.flag("service.*.sd_notify"),
            sockets: listen::all(section, self.folder, self.findings),
            after: section.texts("service.*.after").unwrap_or_default(),
            policy,
            probe,
            first_signal: section.signal("service.*.watchdog.first.signal"),
            evidence: section.texts("service.*.watchdog.evidence"),
            ready,
            log: log(section),
        };
        runtime::check(section, &service, self.findings);
        Some(service)
    }

    fn wrong(&mut self, section: &Section, key: &str, wrong: &Wrong) {
        let leaf = key.rsplit('.').next().unwrap_or(key);
        self.findings
            .error(section.place(key), format!("cannot use `{leaf}`: {wrong}"));
    }

    fn probe(&mut self, section: &Section, key: &str) -> Option<Probe> {
        let url = section.text(key)?;
        let user = section
            .text("service.*.user")
            .or_else(|| (self.env)("USER"));
        let context = Context {
            secrets: Secrets {
                env: self.env,
                folder: self.folder,
            },
            public: self.public,
            default_user: user.unwrap_or_else(|| LAST_ROLE.into()),
        };
        let Parsed { shown, target } = match probe_url::parse(&url, &context) {
            Ok(parsed) => parsed,
            Err(wrong) => {
                self.wrong(section, key, &wrong);
                return None;
            }
        };
        let own = key == "service.*.watchdog.probe";
        let query_shown = section.text("service.*.watchdog.query").filter(|_| own);
        let query = match query_shown
            .as_deref()
            .map(|text| context.secrets.value(text))
            .transpose()
        {
            Ok(query) => query,
            Err(wrong) => {
                self.wrong(section, "service.*.watchdog.query", &wrong);
                None
            }
        };
        let expect = section.expect("service.*.watchdog.expect");
        let timeout = section.duration("service.*.watchdog.timeout");
        Some(Probe {
            shown,
            target,
            query,
            query_shown,
            expect,
            timeout,
        })
    }

    /// `query` and `expect` must have something to act on, `notify` must make sense.
    fn check_probe_fits(
        &mut self,
        section: &Section,
        probe: Option<&Probe>,
        ready: Option<&Probe>,
    ) {
        let target = probe.map(|probe| &probe.target);
        let asks = matches!(
            target,
            Some(Target::Postgres { .. } | Target::Sqlite { .. })
        );
        if section.has("service.*.watchdog.query") && target.is_some() && !asks {
            let cause = "the probe's protocol has no query";
            let wrong = Wrong::new(cause, "remove it, or probe with postgres: or sqlite:");
            self.wrong(section, "service.*.watchdog.query", &wrong);
        }
        let http = matches!(target, Some(Target::Http { .. }));
        if section.has("service.*.watchdog.expect") && target.is_some() && !http {
            let wrong = Wrong::new("only HTTP has statuses", "remove it, or probe with http:");
            self.wrong(section, "service.*.watchdog.expect", &wrong);
        }
        if ready.is_some_and(|ready| ready.target == Target::Notify) {
            let cause = "`notify` is about liveness";
            let wrong = Wrong::new(
                cause,
                "write `sd_notify = true`: readiness then waits for READY=1",
            );
            self.wrong(section, "service.*.ready.probe", &wrong);
        }
    }

    /// A stranger is found by the port, and says nothing to us of its own accord.
    fn check_stranger(&mut self, section: &Section, probe: Option<&Probe>) {
        const KEY: &str = "service.*.stranger";
        if !section.is(KEY, "attach") {
            return;
        }
        let target = probe.map(|probe| &probe.target);
        if port(section).is_none() {
            let asked = match target.and_then(Target::endpoint) {
                Some(Endpoint::Tcp(_, port)) => port.to_string(),
                Some(Endpoint::Unix(_)) | None => "NUMBER".into(),
            };
            let cure = format!("add `port = {asked}`");
            self.wrong(
                section,
                KEY,
                &Wrong::new("no `port` says where a stranger would be", cure),
            );
        }
        if target == Some(&Target::Notify) {
            let cause = "WATCHDOG=1 comes only from what stayd has started";
            let wrong = Wrong::new(
                cause,
                "probe over the network, or write `stranger = \"report\"`",
            );
            self.wrong(section, KEY, &wrong);
        }
    }

    /// Command lines hold no secrets: every user can read them.
    fn check_commands(&mut self, section: &Section) {
        for key in [
            "service.*.command",
            "service.*.before",
            "service.*.watchdog.evidence",
        ] {
            let Some(words) = section.texts(key) else {
                continue;
            };
            if words.iter().any(|word| has_reference(word)) && !is_shell(&words) {
                let wrong = Wrong::new(
                    "nothing is filled in there: every user can read a command line, and no shell does",
                    "put the value into `env` and let the program read it there",
                );
                self.wrong(section, key, &wrong);
            }
        }
    }

    fn check_user(&mut self, section: &Section) {
        if section.has("service.*.user") && self.euid != 0 {
            let cause = format!(
                "only root can start a service as another user, and this is uid {}",
                self.euid
            );
            let wrong = Wrong::new(cause, "remove it, or run stayd as root");
            self.wrong(section, "service.*.user", &wrong);
        }
    }

    /// Signals that a process cannot see ask for nothing.
    fn check_signals(&mut self, section: &Section) {
        let blind = [Signal::named("KILL"), Signal::named("STOP")];
        for key in [
            "service.*.stop.signal",
            "service.*.reload.signal",
            "service.*.watchdog.first.signal",
        ] {
            let Some(signal) = section.signal(key) else {
                continue;
            };
            let ends_it = key == "service.*.stop.signal" && signal.name() == "KILL";
            if blind.contains(&Some(signal)) && !ends_it {
                let cause = format!("no process can see {}", signal.name());
                self.wrong(section, key, &Wrong::new(cause, "name another signal"));
            }
        }
    }

    fn check_policy(&mut self, section: &Section, policy: &Policy) {
        if policy.backoff.min > policy.backoff.max {
            let key = if section.has("service.*.backoff.min") {
                "min"
            } else {
                "max"
            };
            let cause = format!(
                "the first wait ({}) is longer than the longest ({})",
                humantime::format_duration(policy.backoff.min),
                humantime::format_duration(policy.backoff.max),
            );
            let wrong = Wrong::new(cause, "raise `max` or lower `min`");
            self.wrong(section, &format!("service.*.backoff.{key}"), &wrong);
        }
    }

    fn environment(&mut self, section: &Section) -> std::collections::BTreeMap<String, String> {
        let secrets = Secrets {
            env: self.env,
            folder: self.folder,
        };
        let place: Place = section.place("service.*.env").clone();
        let mut env = std::collections::BTreeMap::new();
        for (name, text) in section.env("service.*.env") {
            match secrets.value(&text) {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(wrong) => {
                    self.findings
                        .error(&place, format!("cannot fill in `env.{name}`: {wrong}"));
                }
            }
        }
        env
    }
}

/// The path without `.` in between; `..` stays, it may go through a symlink.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The port that the service must own.
pub(super) fn port(section: &Section) -> Option<u16> {
    section
        .number("service.*.port")
        .and_then(|number| u16::try_from(number).ok())
}

/// Shells fill in `${NAME}` themselves.
fn is_shell(words: &[String]) -> bool {
    const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish", "busybox"];
    let program = words.first().and_then(|word| Path::new(word).file_name());
    program.is_some_and(|name| SHELLS.iter().any(|shell| name == *shell))
}

fn policy(section: &Section, probe: Option<&Probe>, ready_probe: bool) -> Policy {
    Policy {
        restart: match section.text("service.*.restart").as_deref() {
            Some("never") => Restart::Never,
            Some("on-failure") => Restart::OnFailure,
            _ => Restart::Always,
        },
        backoff: Backoff {
            min: section.duration("service.*.backoff.min"),
            max: section.duration("service.*.backoff.max"),
            stable_after: section.duration("service.*.backoff.stable_after"),
        },
        give_up: GiveUp {
            exits: count(section, "service.*.give_up.exits"),
            within: section.duration("service.*.give_up.within"),
        },
        stop_grace: section.duration("service.*.stop.grace"),
        startup: section.duration("service.*.startup.within"),
        has_runtime: section.has(runtime::SOURCE),
        leftover: if section.is("service.*.leftover", "replace") {
            OnLeftover::Replace
        } else {
            OnLeftover::Adopt
        },
        stranger: if section.is("service.*.stranger", "attach") {
            OnStranger::Attach
        } else {
            OnStranger::Report
        },
        stopped_is: if section.is("service.*.stopped_is", "held") {
            StoppedIs::Held
        } else {
            StoppedIs::Wedged
        },
        watchdog: probe.map(|_| watchdog(section)),
        ready_probe,
        notifies_ready: section.flag("service.*.sd_notify"),
    }
}

fn watchdog(section: &Section) -> Watchdog {
    let first = section.has("service.*.watchdog.first.signal");
    let evidence = section.has("service.*.watchdog.evidence");
    Watchdog {
        interval: section.duration("service.*.watchdog.interval"),
        timeout: section.duration("service.*.watchdog.timeout"),
        failures: count(section, "service.*.watchdog.failures"),
        busy_grace: section.duration("service.*.watchdog.busy_grace"),
        degraded_kills: section.is("service.*.watchdog.degraded", "kill"),
        first_grace: first.then(|| section.duration("service.*.watchdog.first.grace")),
        mode: if section.is("service.*.watchdog.mode", "shadow") {
            Mode::Shadow
        } else {
            Mode::Kill
        },
        evidence_extra: if evidence {
            EVIDENCE_LIMIT
        } else {
            Duration::ZERO
        },
    }
}

fn log(section: &Section) -> Log {
    Log {
        to: match section.text("service.*.log.to").as_deref() {
            Some("file") => LogTo::File,
            Some("inherit") => LogTo::SuperviseSuccessor,
            Some("both") => LogTo::Both,
            _ => LogTo::Auto,
        },
        max_size_bytes: section.number("service.*.log.max_size").unwrap_or_default(),
        keep: count(section, "service.*.log.keep"),
    }
}

/// A number whose kind keeps it within 32 bits.
fn count(section: &Section, key: &str) -> u32 {
    section
        .number(key)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default()
}
