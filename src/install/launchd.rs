//! Renders the launchd job: a LaunchAgent for a user, a LaunchDaemon for the machine.
//!
//! Reasons for the keys (launchd.plist(5)):
//!
//! - `KeepAlive` is plain `true`. Every conditional form leaves stayd down after some exits (launchd does not count a SIGKILL
//!   as a "crash", and counts an exit 0 after SIGHUP as a "success").
//! - `ExitTimeOut` is always set. Without it macOS sends SIGKILL five seconds after SIGTERM, whatever the grace of a service.
//!   The same number is in the environment, so that stayd can keep within the limit if its configuration later needs more time.
//! - `ProcessType` is `Interactive`. All other types throttle CPU, I/O and timers of servers under load.
//! - `NumberOfFiles` is not set: services would inherit it, and in a LaunchDaemon it also sets the limit of the whole machine.
//!   stayd raises its own soft limit, and `limit_nofile` that of a service.
//! - `WorkingDirectory` is `/`. launchd enters it before it runs the program, and a folder on an unmounted volume, or one that
//!   macOS protects, prevents the start.
//! - `AbandonProcessGroup`, `EnableTransactions`, `EnablePressuredExit`, `LaunchOnlyOnce` and `LimitLoadToSessionType` are not
//!   set. Each makes launchd end, skip or refuse the job in some state.

use super::inputs::{RenderInputs, Scope};
use launchd::{Launchd, ProcessType};
use plist::{Dictionary, Value};

/// launchd waits at least this many seconds between two starts of the job.
const THROTTLE_SECONDS: u32 = 10;
/// 0077 in octal; the key takes a decimal number.
const UMASK: u16 = 0o077;
/// PATH of a LaunchAgent. It has the folders of Homebrew, which launchd's default lacks.
const AGENT_PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// PATH of a LaunchDaemon. It has only folders that only root can write.
const DAEMON_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// HOME of a LaunchDaemon, because launchd does not set it.
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
    let job = Launchd::default()
        .with_label(&inputs.label)
        .with_program_arguments(arguments.map(String::from).into())
        .with_run_at_load(true)
        .with_keep_alive(true.into())
        .with_throttle_interval(THROTTLE_SECONDS)
        .with_exit_timeout(exit_timeout_seconds(inputs))
        .with_process_type(ProcessType::Interactive)
        .with_umask(UMASK);
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

/// The environment of the job. launchd expands nothing in a plist, so all values are literal.
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

/// The stop budget in whole seconds. Never 0: launchd takes 0 for "no limit", which would block the shutdown of the machine.
fn exit_timeout_seconds(inputs: &RenderInputs) -> u32 {
    let budget = inputs.stop_budget;
    let seconds = budget.as_secs() + u64::from(budget.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
