//! Builds a service from its section: resolves values, applies defaults, and checks combinations of keys.

use super::finding::{Findings, Location};
use super::listen;
use super::probe_url::{self, ParsedUrl, UrlContext};
use super::runtime;
use super::secret::{self, Secrets, has_reference};
use super::section::Section;
use super::value::ValueError;
use super::{Endpoint, InheritEnv, Log, LogTo, Probe, Service, Signal, Target};
use crate::decide::policy::{
    Backoff, GiveUp, Mode, OnLeftover, OnStranger, Policy, Restart, StoppedIs, Watchdog,
};
use crate::sys::limits::OpenFilesLimit;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time limit of an evidence command.
pub const EVIDENCE_LIMIT: Duration = Duration::from_secs(5);
/// The PostgreSQL role if neither the URL, `user` nor the environment names one.
const FALLBACK_ROLE: &str = "postgres";
/// The startup budget with all its extensions, as a multiple of the one without.
const STARTUP_EXTENSION: u32 = 10;

/// What is needed to build a service besides its section.
pub(super) struct ServiceBuilder<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder of the configuration; absolute.
    pub(super) folder: &'a Path,
    /// Whether the values come from a command line.
    pub(super) from_command_line: bool,
    pub(super) findings: &'a mut Findings,
}

impl ServiceBuilder<'_> {
    /// Builds the service. Errors are added to the findings; returns none if it cannot be built.
    pub(super) fn service(&mut self, section: &Section) -> Option<Service> {
        let probe = self.probe(section, "service.*.watchdog.probe");
        let ready = self.probe(section, "service.*.ready.probe");
        self.check_probe_fits(section, probe.as_ref(), ready.as_ref());
        self.check_stranger(section, probe.as_ref());
        self.check_commands(section);
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
            inherit_env: inherit_env(section),
            secret_variables: secret_variables(section),
            user: section.text("service.*.user"),
            umask: self.umask(section)?,
            limit_nofile: self.limit_nofile(section),
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

    /// The file mode creation mask, written as umask(1) takes it.
    fn umask(&mut self, section: &Section) -> Option<u32> {
        const KEY: &str = "service.*.umask";
        const ALL: u32 = 0o777;
        let text = section.text(KEY)?;
        let umask = u32::from_str_radix(&text, 8).ok();
        let umask = umask.filter(|umask| *umask <= ALL && !text.starts_with('+'));
        if umask.is_none() {
            let what = format!("{text:?} is no mask of octal digits");
            self.report(
                section,
                KEY,
                &ValueError::new(what, "write it like \"022\""),
            );
        }
        umask
    }

    /// The limit of open files, written as systemd takes it (systemd.exec(5), LimitNOFILE=).
    fn limit_nofile(&mut self, section: &Section) -> Option<OpenFilesLimit> {
        const KEY: &str = "service.*.limit_nofile";
        let text = section.text(KEY)?;
        let limit = parse_limit(&text);
        if limit.is_none() {
            let what = format!("{text:?} is no limit of open files");
            let cure = "write a number, or soft and hard limit like \"1024:524288\"";
            self.report(section, KEY, &ValueError::new(what, cure));
        }
        limit
    }

    fn report(&mut self, section: &Section, key: &str, error: &ValueError) {
        let leaf = key.rsplit('.').next().unwrap_or(key);
        self.findings.error(
            section.location(key),
            format!("cannot use `{leaf}`: {error}"),
        );
    }

    fn probe(&mut self, section: &Section, key: &str) -> Option<Probe> {
        let url = section.text(key)?;
        let user = section
            .text("service.*.user")
            .or_else(|| (self.env)("USER"));
        let context = UrlContext {
            secrets: Secrets {
                env: self.env,
                folder: self.folder,
            },
            from_command_line: self.from_command_line,
            default_user: user.unwrap_or_else(|| FALLBACK_ROLE.into()),
        };
        let ParsedUrl { shown, target } = match probe_url::parse(&url, &context) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.report(section, key, &error);
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
            Err(error) => {
                self.report(section, "service.*.watchdog.query", &error);
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

    /// Checks that the probe supports `query` and `expect` if they are set, and that `notify` is a liveness probe.
    fn check_probe_fits(
        &mut self,
        section: &Section,
        probe: Option<&Probe>,
        ready: Option<&Probe>,
    ) {
        let target = probe.map(|probe| &probe.target);
        let has_query = matches!(
            target,
            Some(Target::Postgres { .. } | Target::Sqlite { .. })
        );
        if section.has("service.*.watchdog.query") && target.is_some() && !has_query {
            let cause = "the probe's protocol has no query";
            let error = ValueError::new(cause, "remove it, or probe with postgres: or sqlite:");
            self.report(section, "service.*.watchdog.query", &error);
        }
        let http = matches!(target, Some(Target::Http { .. }));
        if section.has("service.*.watchdog.expect") && target.is_some() && !http {
            let error = ValueError::new(
                "the probe's protocol has no HTTP statuses",
                "remove it, or probe with http:",
            );
            self.report(section, "service.*.watchdog.expect", &error);
        }
        if ready.is_some_and(|ready| ready.target == Target::Notify) {
            let cause = "`notify` can only be the watchdog's probe";
            let error = ValueError::new(
                cause,
                "write `sd_notify = true`: readiness then waits for READY=1",
            );
            self.report(section, "service.*.ready.probe", &error);
        }
    }

    /// Checks the requirements of `stranger = "attach"`: stayd finds the foreign process by the port, and the process does not
    /// send notifications to stayd.
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
            let advice = format!("add `port = {asked}`");
            self.report(
                section,
                KEY,
                &ValueError::new(
                    "without `port` stayd cannot find the foreign process",
                    advice,
                ),
            );
        }
        if target == Some(&Target::Notify) {
            let cause = "only a process that stayd has started can send WATCHDOG=1";
            let error = ValueError::new(
                cause,
                "probe over the network, or write `stranger = \"report\"`",
            );
            self.report(section, KEY, &error);
        }
    }

    /// Refuses references in commands: every user can read a command line.
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
                let error = ValueError::new(
                    "stayd does not replace `${NAME}` in a command, because every user can read a command line",
                    "put the value into `env` and let the program read it there",
                );
                self.report(section, key, &error);
            }
        }
    }

    /// Refuses signals that a process cannot handle; only `stop.signal` may be KILL.
    fn check_signals(&mut self, section: &Section) {
        let not_catchable = [Signal::named("KILL"), Signal::named("STOP")];
        for key in [
            "service.*.stop.signal",
            "service.*.reload.signal",
            "service.*.watchdog.first.signal",
        ] {
            let Some(signal) = section.signal(key) else {
                continue;
            };
            let is_immediate_stop = key == "service.*.stop.signal" && signal.name() == "KILL";
            if not_catchable.contains(&Some(signal)) && !is_immediate_stop {
                let cause = format!("a process cannot catch {}", signal.name());
                self.report(section, key, &ValueError::new(cause, "name another signal"));
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
                "`min` ({}) is greater than `max` ({})",
                humantime::format_duration(policy.backoff.min),
                humantime::format_duration(policy.backoff.max),
            );
            let error = ValueError::new(cause, "raise `max` or lower `min`");
            self.report(section, &format!("service.*.backoff.{key}"), &error);
        }
    }

    fn environment(&mut self, section: &Section) -> std::collections::BTreeMap<String, String> {
        let secrets = Secrets {
            env: self.env,
            folder: self.folder,
        };
        let location: Location = section.location("service.*.env").clone();
        let mut env = std::collections::BTreeMap::new();
        for (name, text) in section.env("service.*.env") {
            match secrets.value(&text) {
                Ok(value) => {
                    env.insert(name, value);
                }
                Err(error) => {
                    self.findings
                        .error(&location, format!("cannot fill in `env.{name}`: {error}"));
                }
            }
        }
        env
    }
}

/// The path without `.` components; `..` remains, because it may follow a symbolic link.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// The port that the service must own, if set.
pub(super) fn port(section: &Section) -> Option<u16> {
    section
        .number("service.*.port")
        .and_then(|number| u16::try_from(number).ok())
}

/// Whether the command is a shell, which expands `${NAME}` itself.
pub(super) fn is_shell(words: &[String]) -> bool {
    const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish", "busybox"];
    let program = words.first().and_then(|word| Path::new(word).file_name());
    program.is_some_and(|name| SHELLS.iter().any(|shell| name == *shell))
}

fn inherit_env(section: &Section) -> InheritEnv {
    const KEY: &str = "service.*.inherit_env";
    match section.texts(KEY) {
        Some(names) => InheritEnv::Named(names),
        None if section.flag(KEY) => InheritEnv::All,
        None => InheritEnv::Nothing,
    }
}

/// The variables that the probe URLs refer to. They are meant for stayd.
fn secret_variables(section: &Section) -> Vec<String> {
    let keys = ["service.*.watchdog.probe", "service.*.ready.probe"];
    let urls = keys.iter().filter_map(|key| section.text(key));
    let names = urls.flat_map(|url| secret::variables(&url));
    names.collect()
}

/// At least the budget without extensions.
fn startup_max(section: &Section) -> Duration {
    let within = section.duration("service.*.startup.within");
    if section.has("service.*.startup.max") {
        section.duration("service.*.startup.max").max(within)
    } else {
        within.saturating_mul(STARTUP_EXTENSION)
    }
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
        startup_max: startup_max(section),
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
            Some("inherit") => LogTo::Inherit,
            Some("both") => LogTo::Both,
            _ => LogTo::Auto,
        },
        max_size_bytes: section.number("service.*.log.max_size").unwrap_or_default(),
        keep: count(section, "service.*.log.keep"),
    }
}

/// The value of a key whose kind limits it to 32 bits.
fn count(section: &Section, key: &str) -> u32 {
    section
        .number(key)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default()
}

/// One number for both limits, or `SOFT:HARD`.
fn parse_limit(text: &str) -> Option<OpenFilesLimit> {
    let number = |text: &str| match text {
        "infinity" => Some(OpenFilesLimit::INFINITY),
        _ if text.starts_with('+') => None,
        _ => text.parse().ok(),
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (soft, hard) = (number(soft)?, number(hard)?);
    (soft <= hard).then_some(OpenFilesLimit { soft, hard })
}

#[cfg(test)]
mod tests {
    use super::{OpenFilesLimit, parse_limit};

    #[test]
    fn a_limit_is_written_as_systemd_takes_it() {
        let limit = |soft, hard| Some(OpenFilesLimit { soft, hard });
        assert_eq!(parse_limit("4096"), limit(4096, 4096));
        assert_eq!(parse_limit("1024:524288"), limit(1024, 524_288));
        let infinity = OpenFilesLimit::INFINITY;
        assert_eq!(parse_limit("infinity"), limit(infinity, infinity));
        assert_eq!(parse_limit("1024:infinity"), limit(1024, infinity));
        for wrong in [
            "",
            "x",
            "-1",
            "+1",
            "2:1",
            "1:",
            ":1",
            "1:2:3",
            "infinity:1",
        ] {
            assert_eq!(parse_limit(wrong), None, "{wrong}");
        }
    }
}
