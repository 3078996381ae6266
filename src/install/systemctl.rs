//! Installs and removes the unit of an instance: writes it, enables and starts it, and returns when stayd answers.
//!
//! systemctl(1), systemd.unit(5). `systemctl start` returns when the unit is ready, because it is of Type=notify.

use super::file::{self, Found};
use super::host::{Host, Plan, Ran, Running, StepError, StepErrorKind, last_lines, poll};
use super::inputs::{RenderInputs, Scope};
use super::systemd::render_systemd;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first words of a rendered unit.
const MARK: &str = "# Rendered by `stayd render systemd";
/// The most time of a command that waits for nothing.
const QUICK: Duration = Duration::from_secs(30);
/// Added to the time limits of the unit for a command that waits for them.
const MARGIN: Duration = Duration::from_secs(30);
/// stayd answers before it reports READY=1, so this is for a machine under load.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// For a unit whose time limits are not known. systemd itself ends the wait.
const UNKNOWN_BUDGET: Duration = Duration::from_secs(3600);
const POLL_EVERY: Duration = Duration::from_millis(200);
/// The last lines of the unit's log in a message.
const LOG_LINES: usize = 3;

/// The unit of an instance.
#[derive(Clone, Debug)]
pub struct Unit {
    scope: Scope,
    /// Such as `stayd-studio.service`.
    name: String,
    path: PathBuf,
    text: String,
    config: String,
    start_budget: Duration,
    stop_budget: Duration,
}

/// What [`Unit::install`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The pid of the stayd that answers.
    pub pid: i32,
    /// Whether anything had to be changed or started.
    pub changed: bool,
}

impl Unit {
    /// The unit of this instance in `folder`, where systemd looks for it: /etc/systemd/system, or ~/.config/systemd/user.
    #[must_use]
    pub fn new(inputs: &RenderInputs, folder: &Path) -> Self {
        let name = unit_name(&inputs.name);
        Self {
            scope: inputs.scope,
            path: folder.join(&name),
            name,
            text: render_systemd(inputs),
            config: inputs.config.clone(),
            start_budget: inputs.start_budget,
            stop_budget: inputs.stop_budget,
        }
    }

    /// The unit of the instance `name`, to be removed: its configuration may not exist any more.
    #[must_use]
    pub fn to_remove(name: &str, scope: Scope, folder: &Path) -> Self {
        let name = unit_name(name);
        Self {
            scope,
            path: folder.join(&name),
            name,
            text: String::new(),
            config: String::new(),
            start_budget: UNKNOWN_BUDGET,
            stop_budget: UNKNOWN_BUDGET,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What [`Self::install`] does where nothing is installed yet.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let commands = [
            vec!["daemon-reload"],
            vec!["enable", &self.name],
            vec!["start", &self.name],
        ];
        Plan {
            files: vec![(self.path.clone(), self.text.clone())],
            commands: commands.iter().map(|words| self.owned(words)).collect(),
            ..Plan::default()
        }
    }

    /// What [`Self::uninstall`] does.
    #[must_use]
    pub fn removal_plan(&self) -> Plan {
        Plan {
            commands: vec![self.owned(&["disable", "--now", &self.name])],
            removed: vec![self.path.clone()],
            ..Plan::default()
        }
    }

    /// Checks whether the unit can be installed, and changes nothing. `patience` is how long systemd may take until it answers.
    ///
    /// # Errors
    /// The obstacle, and what to do.
    pub fn check(&self, host: &mut dyn Host, patience: Duration) -> Result<(), StepError> {
        self.check_reachable(host, patience)?;
        self.refuse_another_stayd(host)?;
        self.is_written().map(drop)
    }

    /// Writes the unit, enables and starts it, and returns when its stayd answers. Does nothing where all of that is so
    /// already. A running unit is restarted if it or its configuration has changed.
    ///
    /// # Errors
    /// The step that failed, and what to do.
    pub fn install(&self, host: &mut dyn Host) -> Result<Installed, StepError> {
        self.check(host, Duration::ZERO)?;
        let is_same = self.is_written()?;
        if !is_same {
            file::write(&self.path, &self.text, file::JOB_MODE)?;
            host.say(&format!("wrote {}", self.path.display()));
            let errors = host.verify(&self.path);
            if let Some(first) = errors.first() {
                file::remove(&self.path)?;
                return Err(StepError::refused(format!(
                    "cannot install: the unit has an error: {first}"
                )));
            }
        }
        let is_enabled = self.property(host, "UnitFileState")? == "enabled";
        if !is_same {
            self.step(host, &["daemon-reload"], QUICK)?;
        }
        if !is_enabled {
            self.step(host, &["enable", &self.name], QUICK)?;
        }
        let started = self.start(host, is_same)?;
        let running = self.wait_for_answer(host)?;
        Ok(Installed {
            pid: running.pid,
            changed: !is_same || !is_enabled || started,
        })
    }

    /// Stops and disables the unit, removes its file, and returns when no stayd and no service of it runs. Returns false where
    /// nothing was installed.
    ///
    /// # Errors
    /// The step that failed, and what to do.
    pub fn uninstall(&self, host: &mut dyn Host) -> Result<bool, StepError> {
        self.check_reachable(host, Duration::ZERO)?;
        match self.look()? {
            Found::Same | Found::Ours => {}
            Found::Masked => return Err(self.masked()),
            Found::Foreign => return Err(self.foreign("remove")),
            Found::Nothing => {
                if !self.is_active(host)? {
                    return Ok(false);
                }
            }
        }
        if !self.is_active(host)? && host.has_claims() {
            // Services outlive a stayd that was killed. The next one adopts them, and stops them in order.
            host.say(
                "services of an earlier stayd may still run; starting it, so that it stops them",
            );
            self.step(host, &["start", &self.name], self.start_budget + MARGIN)?;
        }
        self.step(
            host,
            &["disable", "--now", &self.name],
            self.stop_budget + MARGIN,
        )?;
        if self.is_active(host)? {
            return Err(StepError::refused(format!(
                "cannot stop {}: systemd still runs it; see `{}`",
                self.name,
                self.shown(&["status", &self.name])
            )));
        }
        if host.has_claims() {
            return Err(StepError::refused(format!(
                "cannot stop the services of {}: stayd has ended and the state folder still names processes of it; start it again with `{}`, \
                 and read its log",
                self.name,
                self.shown(&["start", &self.name])
            )));
        }
        file::remove(&self.path)?;
        host.say(&format!("removed {}", self.path.display()));
        self.step(host, &["daemon-reload"], QUICK)?;
        // Fails where the unit has not failed.
        let _ = self.systemctl(host, &["reset-failed", &self.name], QUICK)?;
        Ok(true)
    }

    /// Whether the file holds the unit already. An error if stayd may not replace it.
    fn is_written(&self) -> Result<bool, StepError> {
        match self.look()? {
            Found::Same => Ok(true),
            Found::Nothing | Found::Ours => Ok(false),
            Found::Masked => Err(self.masked()),
            Found::Foreign => Err(self.foreign("install")),
        }
    }

    fn look(&self) -> Result<Found, StepError> {
        file::look(&self.path, &self.text, |text| text.starts_with(MARK))
    }

    /// Starts the unit, or restarts it if it runs something else. Returns whether it did.
    fn start(&self, host: &mut dyn Host, is_same: bool) -> Result<bool, StepError> {
        let verb = if !self.is_active(host)? {
            // Fails where the unit has not failed.
            let _ = self.systemctl(host, &["reset-failed", &self.name], QUICK)?;
            "start"
        } else if !is_same
            || host
                .running()
                .is_some_and(|running| running.config_is_newer)
        {
            "restart"
        } else {
            return Ok(false);
        };
        let within = self.stop_budget + self.start_budget + MARGIN;
        let ran = self.systemctl(host, &[verb, &self.name], within)?;
        if !ran.succeeded() {
            return Err(self.not_started(host, &ran));
        }
        host.say(&self.shown(&[verb, &self.name]));
        Ok(true)
    }

    fn wait_for_answer(&self, host: &mut dyn Host) -> Result<Running, StepError> {
        let answer = poll(host, POLL_EVERY, ANSWERS_WITHIN, |host| {
            let main = self.property(host, "MainPID")?;
            let running = host
                .running()
                .filter(|running| running.pid.to_string() == main);
            Ok(running)
        })?;
        if let Some(running) = answer {
            return Ok(running);
        }
        let text = self.property(host, "StatusText")?;
        let said = if text.is_empty() {
            String::new()
        } else {
            format!(" ({text})")
        };
        Err(StepError::refused(format!(
            "cannot reach the stayd of {}: systemd has started it{said} and it does not answer; see `{}`",
            self.name,
            self.journalctl().join(" ")
        )))
    }

    /// Refuses where a stayd that is not of this unit runs the instance: the new one would wait for its end.
    fn refuse_another_stayd(&self, host: &mut dyn Host) -> Result<(), StepError> {
        let Some(running) = host.running() else {
            return Ok(());
        };
        if self.property(host, "MainPID")? == running.pid.to_string() {
            return Ok(());
        }
        Err(StepError {
            kind: StepErrorKind::Held,
            message: format!(
                "cannot install {}: another stayd, pid {}, runs this instance; stop that one first",
                self.name, running.pid
            ),
        })
    }

    fn check_reachable(&self, host: &mut dyn Host, patience: Duration) -> Result<(), StepError> {
        let mut said = String::new();
        let reached = poll(host, POLL_EVERY, patience, |host| {
            let ran = self.systemctl(host, &["show", "--property=Version"], QUICK)?;
            said = last_lines(&ran.output, 1);
            Ok(ran.succeeded().then_some(()))
        })?;
        if reached.is_some() {
            return Ok(());
        }
        let cure = match self.scope {
            Scope::System => {
                "this machine is not run by systemd; let its own init run `stayd --foreground -c FILE`"
            }
            Scope::User => {
                "this user has no systemd of its own in this session: log in instead of using su, or run `loginctl enable-linger` first"
            }
        };
        Err(StepError::refused(format!(
            "cannot reach systemd: {said}; {cure}"
        )))
    }

    fn masked(&self) -> StepError {
        StepError::conflict(format!(
            "cannot install {}: it is masked (a link to /dev/null); allow it with `{}`",
            self.name,
            self.shown(&["unmask", &self.name])
        ))
    }

    fn foreign(&self, what: &str) -> StepError {
        StepError::conflict(format!(
            "cannot {what} {}: stayd did not write this file; move it away",
            self.path.display()
        ))
    }

    fn is_active(&self, host: &mut dyn Host) -> Result<bool, StepError> {
        let state = self.property(host, "ActiveState")?;
        Ok(!["inactive", "failed", ""].contains(&state.as_str()))
    }

    fn property(&self, host: &mut dyn Host, name: &str) -> Result<String, StepError> {
        let option = format!("--property={name}");
        let ran = self.systemctl(host, &["show", "--value", &option, &self.name], QUICK)?;
        if !ran.succeeded() {
            return Err(self.failed(&["show", &self.name], &ran));
        }
        Ok(ran.output.trim().to_owned())
    }

    /// Runs a command that has to succeed, and reports it.
    fn step(&self, host: &mut dyn Host, words: &[&str], within: Duration) -> Result<(), StepError> {
        let ran = self.systemctl(host, words, within)?;
        if !ran.succeeded() {
            return Err(self.failed(words, &ran));
        }
        host.say(&self.shown(words));
        Ok(())
    }

    fn systemctl(
        &self,
        host: &mut dyn Host,
        words: &[&str],
        within: Duration,
    ) -> Result<Ran, StepError> {
        let owned = self.owned(words);
        let argv: Vec<_> = owned.iter().map(String::as_str).collect();
        host.run(&argv, within).map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::NotFound => {
                    "there is no systemctl: this machine is not run by systemd; let its own init run `stayd --foreground -c FILE`"
                        .to_owned()
                }
                io::ErrorKind::TimedOut => format!("it has not ended within {} s; see `{}`", within.as_secs(), self.journalctl().join(" ")),
                _ => error.to_string(),
            };
            StepError::refused(format!("cannot run `{}`: {cause}", self.shown(words)))
        })
    }

    fn failed(&self, words: &[&str], ran: &Ran) -> StepError {
        let said = last_lines(&ran.output, LOG_LINES);
        let is_permission = [
            "Access denied",
            "authentication required",
            "Permission denied",
        ]
        .iter()
        .any(|words| said.contains(words));
        StepError {
            kind: if is_permission {
                StepErrorKind::Permission
            } else {
                StepErrorKind::Refused
            },
            message: format!(
                "cannot carry out `{}`: {said}; {}",
                self.shown(words),
                if is_permission {
                    "run it with sudo, or install for this user with --user"
                } else {
                    "see systemctl(1)"
                }
            ),
        }
    }

    /// The unit did not become ready. systemd.exec(5), "Process exit codes", has the numbers from 200.
    fn not_started(&self, host: &mut dyn Host, ran: &Ran) -> StepError {
        let property = |host: &mut dyn Host, name| self.property(host, name).unwrap_or_default();
        let result = property(host, "Result");
        let status = property(host, "ExecMainStatus");
        let cause = match (result.as_str(), status.as_str()) {
            ("timeout", _) => "its services were not ready in time; `stayd status` says which".to_owned(),
            (_, "78") => format!("its configuration is wrong; `stayd config check -c {}` says where", self.config),
            (_, "200") => "systemd cannot enter its working folder".to_owned(),
            (_, "203") => "systemd cannot execute the program of the unit; install stayd at a path that every user may execute, such as /usr/bin".to_owned(),
            (_, "226") => "this kernel or container cannot isolate it as the unit asks; remove the Protect lines with a drop-in".to_owned(),
            (_, "233" | "238") => "systemd cannot make its runtime or state folder; look who owns /run/stayd and /var/lib/stayd".to_owned(),
            _ => format!("{} (result {result}, status {status})", last_lines(&ran.output, 1)),
        };
        let argv = self.journalctl();
        let argv: Vec<_> = argv.iter().map(String::as_str).collect();
        let log = host
            .run(&argv, QUICK)
            .map(|ran| last_lines(&ran.output, LOG_LINES));
        let log = log
            .ok()
            .filter(|log| !log.is_empty())
            .map_or_else(String::new, |log| format!("; its log: {log}"));
        StepError::refused(format!("cannot start {}: {cause}{log}", self.name))
    }

    fn journalctl(&self) -> Vec<String> {
        let mut argv = vec!["journalctl".to_owned()];
        if self.scope == Scope::User {
            argv.push("--user".into());
        }
        argv.extend(
            [
                "--unit",
                &self.name,
                "--lines=20",
                "--output=cat",
                "--no-pager",
            ]
            .map(String::from),
        );
        argv
    }

    fn owned(&self, words: &[&str]) -> Vec<String> {
        let mut argv = vec!["systemctl".to_owned()];
        if self.scope == Scope::User {
            argv.push("--user".into());
        }
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    }

    fn shown(&self, words: &[&str]) -> String {
        self.owned(words).join(" ")
    }
}

/// The name of an instance's unit. systemd.unit(5) allows letters, digits and `:-_.\`, which is more than instance names have.
fn unit_name(instance: &str) -> String {
    format!("stayd-{instance}.service")
}
