//! The launchd job: a LaunchAgent for a person, a LaunchDaemon for the machine.
//!
//! Why the keys are as they are:
//!
//! - `KeepAlive` is plain `true`. Every conditional form leaves stayd down after some end (a SIGKILL is no "crash",
//!   an exit 0 after SIGHUP is a "success").
//! - `ExitTimeOut` is always there: without it macOS sends SIGKILL five seconds after SIGTERM, whatever a service's
//!   grace. The same number is in the environment, so that a stayd whose configuration has grown since knows it.
//! - `ProcessType` is `Interactive`: anything less throttles CPU, I/O and timers of servers under load.
//! - `NumberOfFiles` is set twice, because the soft limit of a job is 256 and only the hard one does not help.
//! - `WorkingDirectory` is `/`: launchd enters it before the program runs, and a folder on a volume that is away, or
//!   that macOS guards, keeps the job from starting.
//! - `AbandonProcessGroup`, `EnableTransactions`, `EnablePressuredExit`, `LaunchOnlyOnce` and
//!   `LimitLoadToSessionType` are left out: each makes launchd end, skip or refuse the job in some state.

use super::inputs::{RenderInputs, Scope};
use launchd::{Launchd, ProcessType, ResourceLimits};
use plist::{Dictionary, Value};

/// launchd starts a job at most once in this many seconds, counted from the last start.
const THROTTLE_SECONDS: u32 = 10;
/// 0077 in octal; the key takes decimals.
const UMASK: u16 = 0o077;
/// A daemon's `NumberOfFiles` also sets the limits of the whole machine (launchd.plist(5)): never below its default.
const DAEMON_OPEN_FILES_MIN: u64 = 524_288;
/// Where an agent's services find programs: Homebrew's folders too, which launchd leaves out.
const AGENT_PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// The same for root, without folders in which somebody else may put programs.
const DAEMON_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// Root daemons get no HOME from launchd.
const DAEMON_HOME: &str = "/var/root";

/// The property list of this instance, as XML.
#[must_use]
pub fn render_launchd(inputs: &RenderInputs) -> String {
    let mut dictionary = dictionary_of(&job(inputs));
    dictionary.insert("EnvironmentVariables".into(), environment(inputs).into());
    for stream in ["StandardErrorPath", "StandardOutPath"] {
        let file = format!("{}/{}.log", inputs.log_folder, inputs.name);
        dictionary.insert(stream.into(), file.into());
    }
    dictionary.insert("WorkingDirectory".into(), "/".into());
    dictionary.sort_keys();
    let mut xml = Vec::new();
    Value::Dictionary(dictionary)
        .to_writer_xml(&mut xml)
        .expect("a dictionary of strings and numbers is written to memory");
    xml.push(b'\n');
    String::from_utf8(xml).expect("XML is written as UTF-8")
}

fn job(inputs: &RenderInputs) -> Launchd {
    let arguments = [&inputs.program, "--foreground", "-c", &inputs.config];
    let files = match inputs.scope {
        Scope::User => inputs.open_files,
        Scope::System => inputs.open_files.max(DAEMON_OPEN_FILES_MIN),
    };
    let limits = ResourceLimits::new().with_number_of_files(files);
    let job = Launchd::default()
        .with_label(&inputs.label)
        .with_program_arguments(arguments.map(String::from).into())
        .with_run_at_load(true)
        .with_keep_alive(true.into())
        .with_throttle_interval(THROTTLE_SECONDS)
        .with_exit_timeout(exit_timeout_seconds(inputs))
        .with_process_type(ProcessType::Interactive)
        .with_umask(UMASK)
        .with_soft_resource_limits(limits.clone())
        .with_hard_resource_limits(limits);
    match inputs.scope {
        Scope::User => job,
        Scope::System => job.with_user_name("root").with_group_name("wheel"),
    }
}

fn dictionary_of(job: &Launchd) -> Dictionary {
    plist::to_value(job)
        .ok()
        .and_then(Value::into_dictionary)
        .expect("a launchd job is a dictionary of plain values")
}

/// What the job finds in its environment: nothing in a plist is expanded, so everything is written out.
fn environment(inputs: &RenderInputs) -> Dictionary {
    let mut environment = Dictionary::new();
    let path = match inputs.scope {
        Scope::User => AGENT_PATH,
        Scope::System => {
            environment.insert("HOME".into(), DAEMON_HOME.into());
            DAEMON_PATH
        }
    };
    environment.insert("PATH".into(), path.into());
    let budget = exit_timeout_seconds(inputs).to_string();
    environment.insert("STAYD_STOP_BUDGET".into(), budget.into());
    let marker = format!("launchd:{}", inputs.label);
    environment.insert("STAYD_SUPERVISOR".into(), marker.into());
    environment
}

/// Whole seconds, and never 0: that would mean "for ever" and stall the machine's shutdown.
fn exit_timeout_seconds(inputs: &RenderInputs) -> u32 {
    let span = inputs.stop_budget;
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
