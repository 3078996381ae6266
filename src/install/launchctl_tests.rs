//! The steps of an installation under launchd, for each way in which launchctl can answer.

use super::host::{Running, StepErrorKind};
use super::inputs::{RenderInputs, Scope};
use super::launchctl::Job;
use super::scripted_host::{Answer, ScriptedHost};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

const PRINT: &str = "launchctl print gui/501/stayd.studio";
const BOOTOUT: &str = "launchctl bootout gui/501/stayd.studio";
const ENABLE: &str = "launchctl enable gui/501/stayd.studio";
const KICKSTART: &str = "launchctl kickstart gui/501/stayd.studio";

/// A home folder, the job of an agent in it, and its `bootstrap` command.
struct Home {
    folder: TempDir,
    job: Job,
    bootstrap: &'static str,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().display().to_string();
        let job = Job::new(
            &RenderInputs::sample(Scope::User, &home),
            &folder.path().join("Library/LaunchAgents"),
            501,
        );
        let bootstrap = format!("launchctl bootstrap gui/501 {}", job.path().display());
        Self {
            folder,
            job,
            bootstrap: bootstrap.leak(),
        }
    }

    /// A host on which these commands end so, and everything else succeeds in the end.
    fn host(&self, script: &[Answer]) -> ScriptedHost {
        let usual = [
            (BOOTOUT, 0, ""),
            (ENABLE, 0, ""),
            (self.bootstrap, 0, ""),
            (KICKSTART, 0, ""),
        ];
        let is_scripted = |command: &str| script.iter().any(|(known, ..)| *known == command);
        let usual = usual
            .into_iter()
            .filter(|(command, ..)| !is_scripted(command));
        ScriptedHost::new(&script.iter().copied().chain(usual).collect::<Vec<_>>())
    }

    /// The same, and stayd answers once it is kickstarted.
    fn installing(&self, script: &[Answer]) -> ScriptedHost {
        let mut host = self.host(script);
        // After the steps that wait for nothing.
        host.answering = Some((
            Duration::from_millis(1),
            Running {
                pid: 7,
                supervised: true,
                config_is_newer: false,
            },
        ));
        host
    }
}

#[test]
fn a_first_installation_enables_loads_and_starts_the_job_and_waits_for_an_answer() {
    let home = Home::new();
    let mut host = home.installing(&[(PRINT, 113, "Could not find service")]);
    let installed = home.job.install(&mut host).expect("installed");
    assert_eq!((installed.pid, installed.changed), (7, true));
    assert_eq!(host.steps(), [PRINT, ENABLE, home.bootstrap, KICKSTART]);
    let plist = fs::read_to_string(home.job.path()).expect("the plist");
    assert!(plist.contains("<string>stayd.studio</string>"), "{plist}");
    assert!(home.folder.path().join("Library/Logs/stayd").is_dir());
}

#[test]
fn a_second_installation_changes_nothing() {
    let home = Home::new();
    home.job
        .install(&mut home.installing(&[(PRINT, 113, "")]))
        .expect("installed");
    let mut host = home.host(&[(PRINT, 0, "")]).answers(7);
    let installed = home.job.install(&mut host).expect("installed");
    assert_eq!((installed.pid, installed.changed), (7, false));
    assert_eq!(host.steps(), [PRINT]);
}

#[test]
fn a_loaded_job_is_unloaded_and_its_end_awaited_before_the_new_plist_is_loaded() {
    let home = Home::new();
    let script = [
        (PRINT, 0, ""),
        (PRINT, 0, ""),
        (PRINT, 0, ""),
        (PRINT, 113, ""),
        (BOOTOUT, 36, "Operation now in progress"),
    ];
    let mut host = home.installing(&script);
    home.job.install(&mut host).expect("installed");
    assert_eq!(
        host.steps(),
        [PRINT, BOOTOUT, PRINT, ENABLE, home.bootstrap, KICKSTART]
    );
    assert!(host.waited() >= Duration::from_millis(500), "two looks");
}

#[test]
fn a_job_that_does_not_end_is_named_and_nothing_is_loaded() {
    let home = Home::new();
    let mut host = home.installing(&[(PRINT, 0, "")]);
    let error = home.job.install(&mut host).expect_err("it never ends");
    assert!(
        error.message.contains("has not ended within 25 s"),
        "{error}"
    );
    assert!(!host.steps().contains(&home.bootstrap));
}

#[test]
fn a_bootstrap_that_meets_the_end_of_the_old_job_is_tried_again() {
    for code in [5, 36, 37] {
        let home = Home::new();
        let bootstrap = home.bootstrap;
        let script = [
            (PRINT, 113, ""),
            (bootstrap, code, "Input/output error"),
            (bootstrap, code, ""),
            (bootstrap, 0, ""),
        ];
        let mut host = home.installing(&script);
        home.job.install(&mut host).expect("installed");
        let tries = host.commands.iter().filter(|command| *command == bootstrap);
        assert_eq!(
            (tries.count(), host.waited()),
            (3, Duration::from_secs(1)),
            "{code}"
        );
    }
}

#[test]
fn a_bootstrap_of_a_job_that_is_loaded_by_then_goes_on() {
    let home = Home::new();
    let script = [
        (PRINT, 113, ""),
        (PRINT, 0, ""),
        (home.bootstrap, 5, "already loaded"),
    ];
    let mut host = home.installing(&script);
    home.job.install(&mut host).expect("installed");
    assert_eq!(host.steps().last(), Some(&KICKSTART));
}

#[test]
fn a_disabled_job_is_enabled_again_and_loaded() {
    let home = Home::new();
    let script = [
        (PRINT, 113, ""),
        (home.bootstrap, 119, "Service is disabled"),
        (home.bootstrap, 0, ""),
    ];
    let mut host = home.installing(&script);
    home.job.install(&mut host).expect("installed");
    assert_eq!(
        host.steps(),
        [
            PRINT,
            ENABLE,
            home.bootstrap,
            ENABLE,
            home.bootstrap,
            KICKSTART
        ]
    );
}

#[test]
fn errors_that_no_other_attempt_can_cure_end_at_once_with_their_cure() {
    for (code, kind, cure) in [
        (1, StepErrorKind::Permission, "may not manage the domain"),
        (64, StepErrorKind::Refused, "does not know the verb"),
        (78, StepErrorKind::Refused, "its log cannot be opened"),
        (109, StepErrorKind::Refused, "cannot read the plist"),
        (133, StepErrorKind::Refused, "cannot read the plist"),
        (112, StepErrorKind::Refused, "not logged in at the screen"),
        (125, StepErrorKind::Refused, "not logged in at the screen"),
        (200, StepErrorKind::Refused, "launchctl error"),
    ] {
        let home = Home::new();
        let mut host = home.installing(&[(PRINT, 113, ""), (home.bootstrap, code, "no\n")]);
        let error = home.job.install(&mut host).expect_err("it fails");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(cure), "{error}");
        assert!(
            error.message.contains(&format!("status {code}: no")),
            "{error}"
        );
        assert_eq!(host.waited(), Duration::ZERO, "{error}");
    }
}

#[test]
fn a_bootstrap_that_fails_again_and_again_names_the_usual_causes() {
    let home = Home::new();
    let mut host = home.installing(&[(PRINT, 113, ""), (home.bootstrap, 5, "Input/output error")]);
    let error = home.job.install(&mut host).expect_err("it fails");
    assert!(
        error.message.contains("status 5: Input/output error"),
        "{error}"
    );
    assert!(error.message.contains("Login Items"), "{error}");
    assert_eq!(host.waited(), Duration::from_secs(15));
}

#[test]
fn a_job_whose_stayd_never_answers_is_an_error() {
    let home = Home::new();
    let mut host = home.host(&[(PRINT, 113, "")]);
    let error = home.job.install(&mut host).expect_err("nothing answers");
    assert!(error.message.contains("does not answer"), "{error}");
    assert!(
        host.waited() > Duration::from_secs(90),
        "the startup budget"
    );
}

#[test]
fn an_instance_that_another_stayd_runs_is_left_alone() {
    let home = Home::new();
    let mut host = home.host(&[(PRINT, 113, "")]).answers(42);
    let error = home.job.install(&mut host).expect_err("it is held");
    assert_eq!(error.kind, StepErrorKind::Held);
    assert!(error.message.contains("pid 42"), "{error}");
    assert_eq!(host.steps(), [PRINT]);
    assert!(!home.job.path().exists());
}

#[test]
fn a_plist_of_another_program_is_neither_replaced_nor_removed() {
    let home = Home::new();
    fs::create_dir_all(home.job.path().parent().expect("its folder")).expect("made");
    fs::write(home.job.path(), "<plist/>").expect("written");
    let mut host = home.installing(&[(PRINT, 113, "")]);
    home.job.install(&mut host).expect_err("it is foreign");
    home.job.uninstall(&mut host).expect_err("it is foreign");
    assert!(host.commands.is_empty());
    assert_eq!(fs::read_to_string(home.job.path()).expect("it"), "<plist/>");
}

#[test]
fn a_removal_unloads_the_job_and_leaves_no_plist_and_no_record() {
    let home = Home::new();
    home.job
        .install(&mut home.installing(&[(PRINT, 113, "")]))
        .expect("installed");
    let mut host = home.host(&[(PRINT, 0, ""), (PRINT, 0, ""), (PRINT, 113, "")]);
    assert_eq!(home.job.uninstall(&mut host), Ok(true));
    assert_eq!(host.steps(), [PRINT, BOOTOUT, PRINT, ENABLE]);
    assert!(!home.job.path().exists());
    let mut host = home.host(&[(PRINT, 113, "")]);
    assert_eq!(home.job.uninstall(&mut host), Ok(false), "nothing is there");
    assert_eq!(host.steps(), [PRINT]);
}

/// stayd was killed while it was unloaded, and its services run on.
#[test]
fn a_removal_starts_stayd_again_where_its_services_may_still_run() {
    let home = Home::new();
    home.job
        .install(&mut home.installing(&[(PRINT, 113, "")]))
        .expect("installed");
    let mut host = home.host(&[(PRINT, 113, "")]).answers(7);
    host.claims_until = Some("bootout");
    assert_eq!(home.job.uninstall(&mut host), Ok(true));
    assert_eq!(
        host.steps(),
        [
            PRINT,
            ENABLE,
            home.bootstrap,
            KICKSTART,
            BOOTOUT,
            PRINT,
            ENABLE
        ]
    );
}
