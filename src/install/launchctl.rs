//! Installs and removes the launchd job of an instance: writes the plist, loads and starts the job, and returns when stayd
//! answers.
//!
//! launchctl(1) documents the verbs. Its exit statuses are errno values and launchd's own numbers (`launchctl error N` names
//! them). Three of its ways shape the steps here, all of them seen on macOS 12 to 27:
//!
//! - `bootout` returns before the job has ended, and a `bootstrap` meanwhile fails with 5 or 37. So the absence of the job is
//!   awaited, and `bootstrap` is tried again for a while.
//! - A job that `disable` or `unload -w` switched off stays so when its plist is replaced. So `enable` comes before each
//!   `bootstrap`, and after a removal, so that no record is left behind.
//! - launchd may defer the starts that RunAtLoad and KeepAlive ask for, for minutes ("pended nondemand spawn"). So `kickstart`
//!   comes at the end. Without `-k`, which would kill a running job with SIGKILL.

use super::file::{self, Found};
use super::host::{Host, Plan, Ran, Running, StepError, StepErrorKind, last_lines, poll};
use super::inputs::{RenderInputs, Scope};
use super::launchd::render_launchd;
use super::systemctl::Installed;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the plist of each version of stayd contains, and no other.
const MARK: &str = "<key>STAYD_SUPERVISOR</key>";
const QUICK: Duration = Duration::from_secs(30);
/// Pause between two looks whether the job is gone.
const GONE_EVERY: Duration = Duration::from_millis(250);
/// Added to ExitTimeOut until the job is gone.
const GONE_MARGIN: Duration = Duration::from_secs(10);
/// Pause between two attempts of `bootstrap`, and how long it is tried: about five seconds were seen.
const RETRY_EVERY: Duration = Duration::from_millis(500);
const RETRY_WITHIN: Duration = Duration::from_secs(15);
/// ThrottleInterval, for which launchd may delay the start, and a margin.
const START_MARGIN: Duration = Duration::from_secs(25);
/// For a job whose time limits are not known.
const UNKNOWN_BUDGET: Duration = Duration::from_secs(600);
const ANSWER_EVERY: Duration = Duration::from_millis(250);

/// The job of an instance.
#[derive(Clone, Debug)]
pub struct Job {
    /// Such as `gui/501` or `system`.
    domain: String,
    label: String,
    path: PathBuf,
    text: String,
    log_folder: PathBuf,
    exit_timeout: Duration,
    start_budget: Duration,
}

/// What an exit status of launchctl means for an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It is done.
    Done,
    /// The job is not loaded in this domain.
    Absent,
    /// The job is loaded already, is still ending, or launchd says nothing more: another attempt may succeed.
    Busy,
    /// The job is switched off.
    Disabled,
    /// Another attempt cannot succeed; the cause and the cure.
    Lasting(&'static str),
}

/// The meaning of an exit status, the same for every verb.
const fn meaning(code: Option<i32>) -> Meaning {
    match code {
        Some(0) => Meaning::Done,
        Some(3 | 113) => Meaning::Absent,
        // EIO, EINPROGRESS, EALREADY
        Some(5 | 36 | 37) => Meaning::Busy,
        Some(119) => Meaning::Disabled,
        Some(1) => Meaning::Lasting(
            "this user may not manage the domain; run it as the user of the agent, or with sudo for --system",
        ),
        Some(64) => Meaning::Lasting(
            "this launchctl does not know the verb; stayd needs macOS 10.11 or later",
        ),
        Some(78) => Meaning::Lasting(
            "the job cannot start: its log cannot be opened, its program is missing, or it lies on a disk that jobs may not read",
        ),
        Some(109 | 133) => Meaning::Lasting("launchd cannot read the plist; see `stayd verify`"),
        Some(112 | 125) => Meaning::Lasting(
            "this user is not logged in at the screen, so there is no domain for agents; log in there, or use sudo and --system",
        ),
        Some(_) => Meaning::Lasting("see `launchctl error` with this number"),
        None => Meaning::Lasting("a signal ended launchctl; try again"),
    }
}

impl Job {
    /// The job of this instance in `folder`, such as ~/Library/LaunchAgents or /Library/LaunchDaemons. `uid` is the user of an
    /// agent.
    #[must_use]
    pub fn new(inputs: &RenderInputs, folder: &Path, uid: u32) -> Self {
        Self {
            domain: domain(inputs.scope, uid),
            path: folder.join(format!("{}.plist", inputs.label)),
            label: inputs.label.clone(),
            text: render_launchd(inputs),
            log_folder: inputs.log_folder().to_owned(),
            exit_timeout: inputs.stop_budget,
            start_budget: inputs.start_budget,
        }
    }

    /// The job with this label, to be removed: its configuration may not exist any more.
    #[must_use]
    pub fn to_remove(label: &str, scope: Scope, folder: &Path, uid: u32) -> Self {
        Self {
            domain: domain(scope, uid),
            label: label.to_owned(),
            path: folder.join(format!("{label}.plist")),
            text: String::new(),
            log_folder: PathBuf::new(),
            exit_timeout: UNKNOWN_BUDGET,
            start_budget: UNKNOWN_BUDGET,
        }
    }

    /// Its label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its plist.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What [`Self::install`] does where nothing is installed yet.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let (target, path) = (self.target(), self.path.display().to_string());
        let commands = [
            vec!["enable", &target],
            vec!["bootstrap", &self.domain, &path],
            vec!["kickstart", &target],
        ];
        Plan {
            folders: vec![self.log_folder.clone()],
            files: vec![(self.path.clone(), self.text.clone())],
            commands: commands.iter().map(|words| owned(words)).collect(),
            ..Plan::default()
        }
    }

    /// What [`Self::uninstall`] does.
    #[must_use]
    pub fn removal_plan(&self) -> Plan {
        let target = self.target();
        Plan {
            commands: ["bootout", "enable"]
                .map(|verb| owned(&[verb, &target]))
                .into(),
            removed: vec![self.path.clone()],
            ..Plan::default()
        }
    }

    /// Checks whether the job can be installed, and changes nothing.
    ///
    /// # Errors
    /// The obstacle, and what to do.
    pub fn check(&self, host: &mut dyn Host) -> Result<(), StepError> {
        self.is_written()?;
        let is_loaded = self.is_loaded(host)?;
        self.refuse_another_stayd(host, is_loaded)
    }

    /// Writes the plist, loads and starts the job, and returns when its stayd answers. Does nothing where all of that is so
    /// already. A loaded job is unloaded first if it or its configuration has changed: nothing else makes launchd read a plist
    /// again.
    ///
    /// # Errors
    /// The step that failed, and what to do.
    pub fn install(&self, host: &mut dyn Host) -> Result<Installed, StepError> {
        let is_same = self.is_written()?;
        let is_loaded = self.is_loaded(host)?;
        self.refuse_another_stayd(host, is_loaded)?;
        if let Some(running) = host.running()
            && is_same
            && !running.config_is_newer
        {
            return Ok(Installed {
                pid: running.pid,
                changed: false,
            });
        }
        if !is_same {
            file::make_folder(&self.log_folder)?;
            file::write(&self.path, &self.text, file::JOB_MODE)?;
            host.say(&format!("wrote {}", self.path.display()));
            if let Some(first) = host.verify(&self.path).first() {
                file::remove(&self.path)?;
                return Err(StepError::refused(format!(
                    "cannot install: the plist has an error: {first}"
                )));
            }
        }
        if is_loaded {
            self.unload(host)?;
        }
        self.expect(host, &["enable", &self.target()])?;
        self.bootstrap(host)?;
        self.expect(host, &["kickstart", &self.target()])?;
        let running = self.wait_for_answer(host)?;
        Ok(Installed {
            pid: running.pid,
            changed: true,
        })
    }

    /// Unloads the job, and returns when no stayd of it runs and its plist is removed. Returns false where nothing was
    /// installed.
    ///
    /// # Errors
    /// The step that failed, and what to do.
    pub fn uninstall(&self, host: &mut dyn Host) -> Result<bool, StepError> {
        let found = self.look()?;
        if matches!(found, Found::Masked | Found::Foreign) {
            return Err(self.foreign("remove"));
        }
        let is_loaded = self.is_loaded(host)?;
        if found == Found::Nothing && !is_loaded {
            return Ok(false);
        }
        if !is_loaded && host.has_claims() {
            // Services outlive a stayd that was killed. The next one adopts them, and stops them in order.
            host.say(
                "services of an earlier stayd may still run; starting it, so that it stops them",
            );
            self.expect(host, &["enable", &self.target()])?;
            self.bootstrap(host)?;
            self.expect(host, &["kickstart", &self.target()])?;
            self.wait_for_answer(host)?;
        }
        self.unload(host)?;
        if host.has_claims() {
            return Err(StepError::refused(format!(
                "cannot stop the services of {}: stayd has ended and the state folder still names processes of it; install it again, and \
                 read its log",
                self.label
            )));
        }
        file::remove(&self.path)?;
        host.say(&format!("removed {}", self.path.display()));
        self.expect(host, &["enable", &self.target()])?;
        Ok(true)
    }

    /// Whether the file holds the plist already. An error if stayd may not replace it.
    fn is_written(&self) -> Result<bool, StepError> {
        match self.look()? {
            Found::Same => Ok(true),
            Found::Nothing | Found::Ours => Ok(false),
            Found::Masked | Found::Foreign => Err(self.foreign("install")),
        }
    }

    /// Refuses where a stayd runs the instance that is not of the job: the new one would wait for its end.
    fn refuse_another_stayd(&self, host: &mut dyn Host, is_loaded: bool) -> Result<(), StepError> {
        match host.running() {
            Some(running) if !is_loaded => Err(StepError {
                kind: StepErrorKind::Held,
                message: format!(
                    "cannot install {}: another stayd, pid {}, runs this instance; stop that one first",
                    self.label, running.pid
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn look(&self) -> Result<Found, StepError> {
        file::look(&self.path, &self.text, |text| text.contains(MARK))
    }

    /// Whether the job is loaded. Apple calls the output of `print` no interface, so that only its status counts.
    fn is_loaded(&self, host: &mut dyn Host) -> Result<bool, StepError> {
        let target = self.target();
        let ran = launchctl(host, &["print", &target])?;
        match meaning(ran.code) {
            Meaning::Done => Ok(true),
            Meaning::Absent => Ok(false),
            Meaning::Busy | Meaning::Disabled | Meaning::Lasting(_) => {
                Err(failed(&["print", &target], &ran))
            }
        }
    }

    /// Unloads the job and waits until it has ended.
    fn unload(&self, host: &mut dyn Host) -> Result<(), StepError> {
        let target = self.target();
        let ran = launchctl(host, &["bootout", &target])?;
        if let Meaning::Disabled | Meaning::Lasting(_) = meaning(ran.code) {
            return Err(failed(&["bootout", &target], &ran));
        }
        let within = self.exit_timeout + GONE_MARGIN;
        let gone = poll(host, GONE_EVERY, within, |host| {
            Ok((!self.is_loaded(host)?).then_some(()))
        })?;
        gone.ok_or_else(|| {
            StepError::refused(format!(
                "cannot unload {}: it has not ended within {} s; see `launchctl print {target}`",
                self.label,
                within.as_secs()
            ))
        })?;
        host.say(&format!("launchctl bootout {target}"));
        Ok(())
    }

    /// Loads the job. What is loaded already by then was loaded by another program from the same plist.
    fn bootstrap(&self, host: &mut dyn Host) -> Result<(), StepError> {
        let path = self.path.display().to_string();
        let words = ["bootstrap", self.domain.as_str(), path.as_str()];
        let mut last = Ran::default();
        let loaded = poll(host, RETRY_EVERY, RETRY_WITHIN, |host| {
            last = launchctl(host, &words)?;
            match meaning(last.code) {
                Meaning::Done => Ok(Some(())),
                Meaning::Busy => Ok(self.is_loaded(host)?.then_some(())),
                Meaning::Disabled => {
                    self.expect(host, &["enable", &self.target()])?;
                    Ok(None)
                }
                Meaning::Absent | Meaning::Lasting(_) => Err(failed(&words, &last)),
            }
        })?;
        if loaded.is_none() {
            return Err(StepError::refused(format!(
                "cannot load {}: launchd refuses it again and again ({}); usual causes: the plist can be written by others, it is switched off in \
                 the system settings (Login Items), no user is logged in at the screen, or the home folder is on another volume; `sudo launchctl \
                 bootstrap` and the log of launchd say more",
                self.label,
                said(&last)
            )));
        }
        host.say(&shown(&words));
        Ok(())
    }

    fn wait_for_answer(&self, host: &mut dyn Host) -> Result<Running, StepError> {
        let within = self.start_budget + START_MARGIN;
        let answer = poll(host, ANSWER_EVERY, within, |host| {
            Ok(host.running().filter(|running| running.supervised))
        })?;
        answer.ok_or_else(|| {
            StepError::refused(format!(
                "cannot reach the stayd of {}: launchd has loaded it and it does not answer; `launchctl print {}` has its last exit code (78: its log \
                 in {} cannot be opened, or its program lies on a disk that jobs may not read), and its log may say why",
                self.label,
                self.target(),
                self.log_folder.display()
            ))
        })
    }

    /// Runs a command that has to succeed, and reports it.
    fn expect(&self, host: &mut dyn Host, words: &[&str]) -> Result<(), StepError> {
        let ran = launchctl(host, words)?;
        if meaning(ran.code) != Meaning::Done {
            return Err(failed(words, &ran));
        }
        host.say(&shown(words));
        Ok(())
    }

    fn foreign(&self, what: &str) -> StepError {
        StepError::conflict(format!(
            "cannot {what} {}: stayd did not write this file; move it away, or choose another --label",
            self.path.display()
        ))
    }

    fn target(&self) -> String {
        format!("{}/{}", self.domain, self.label)
    }
}

/// The domain of a job: that of the user's graphical login, or that of the machine.
fn domain(scope: Scope, uid: u32) -> String {
    match scope {
        Scope::User => format!("gui/{uid}"),
        Scope::System => "system".to_owned(),
    }
}

fn launchctl(host: &mut dyn Host, words: &[&str]) -> Result<Ran, StepError> {
    let argv: Vec<_> = std::iter::once("launchctl")
        .chain(words.iter().copied())
        .collect();
    host.run(&argv, QUICK).map_err(|error| {
        let cause = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no launchctl: this machine is not run by launchd".to_owned()
            }
            io::ErrorKind::TimedOut => {
                format!("it has not ended within {} s; try again", QUICK.as_secs())
            }
            _ => error.to_string(),
        };
        StepError::refused(format!("cannot run `{}`: {cause}", shown(words)))
    })
}

/// The error for a command with this outcome.
fn failed(words: &[&str], ran: &Ran) -> StepError {
    let (kind, cure) = match meaning(ran.code) {
        Meaning::Lasting(cure) if ran.code == Some(1) => (StepErrorKind::Permission, cure),
        Meaning::Lasting(cure) => (StepErrorKind::Refused, cure),
        Meaning::Absent => (
            StepErrorKind::Refused,
            "launchd does not have the job; try again",
        ),
        Meaning::Disabled => (
            StepErrorKind::Refused,
            "the job is switched off; allow it in the system settings, under Login Items",
        ),
        Meaning::Done | Meaning::Busy => (
            StepErrorKind::Refused,
            "launchd is busy with the job; try again in a minute",
        ),
    };
    StepError {
        kind,
        message: format!("cannot carry out `{}`: {}; {cure}", shown(words), said(ran)),
    }
}

fn said(ran: &Ran) -> String {
    let said = last_lines(&ran.output, 2);
    match ran.code {
        Some(code) if said.is_empty() => format!("status {code}"),
        Some(code) => format!("status {code}: {said}"),
        None => "ended by a signal".to_owned(),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    std::iter::once("launchctl")
        .chain(words.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn shown(words: &[&str]) -> String {
    owned(words).join(" ")
}
