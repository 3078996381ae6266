//! Simulates what launchd does with one job, so that its rules can be tested without a Mac.
//!
//! The rules: only the direct child is the job. KeepAlive starts it again, at most once in ThrottleInterval seconds,
//! counted from the last start. A stop is SIGTERM to the child, and SIGKILL after ExitTimeOut (five seconds where the key
//! is missing); then the rest of the job's process group gets SIGTERM. If the log cannot be opened, the job has status 78
//! and its program never runs. A job has cwd `/`, stdin /dev/null, 256 open files and a bare environment unless the plist
//! sets them. launchd is pid 1: a test whose job reads the pid of its parent runs in `alone_as_pid_1`.

use libc::{SIGKILL, SIGTERM};
use plist::{Dictionary, Value};
use stayd::sys::process::{self, Handle};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// ThrottleInterval where the key is missing.
const THROTTLE_DEFAULT: Duration = Duration::from_secs(10);
/// ExitTimeOut where the key is missing; observed, not documented.
const EXIT_TIME_OUT_DEFAULT: Duration = Duration::from_secs(5);
/// launchd's soft limit of open files.
const OPEN_FILES_DEFAULT: u64 = 256;
/// How often the simulator checks for an exit or a bootout.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// A job as its plist describes it.
#[derive(Clone, Debug)]
struct Job {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    cwd: String,
    log: Option<String>,
    umask: u64,
    open_files: u64,
    keep_alive: bool,
    throttle: Duration,
    exit_time_out: Duration,
}

/// One start of the job.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The child's pid; none where its log could not be opened (78).
    pub(crate) pid: Option<i32>,
    /// When it started.
    pub(crate) started: Instant,
    /// How it ended; none while it runs.
    pub(crate) ended: Option<ExitStatus>,
}

/// How a job that was booted out ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After SIGTERM, within ExitTimeOut.
    Orderly,
    /// After SIGKILL, because it ran longer than ExitTimeOut.
    Killed,
    /// It was not running.
    NotRunning,
}

/// A loaded job. Dropping it boots it out.
#[derive(Debug)]
pub(crate) struct SimulatedJob {
    runs: Arc<Mutex<Vec<Run>>>,
    bootout: Option<Sender<()>>,
    launchd: Option<JoinHandle<End>>,
}

impl SimulatedJob {
    /// `launchctl bootstrap`: loads the plist and starts the job, as RunAtLoad requires.
    pub(crate) fn bootstrap(plist: &[u8]) -> Self {
        let job = Job::read(plist);
        let runs = Arc::new(Mutex::new(Vec::new()));
        let (bootout, request) = channel();
        let kept = Arc::clone(&runs);
        let launchd = std::thread::spawn(move || {
            Launchd {
                job,
                runs: kept,
                request,
            }
            .run()
        });
        Self {
            runs,
            bootout: Some(bootout),
            launchd: Some(launchd),
        }
    }

    /// Every start so far, the last one at the end.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.runs.lock().unwrap().clone()
    }

    /// The pid of the job, if it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        let runs = self.runs();
        let last = runs.last()?;
        last.pid.filter(|_| last.ended.is_none())
    }

    /// `launchctl bootout`; waits for the end of the job.
    pub(crate) fn bootout(mut self) -> End {
        self.end().expect("booted out once")
    }

    fn end(&mut self) -> Option<End> {
        self.bootout.take();
        self.launchd.take()?.join().ok()
    }
}

impl Drop for SimulatedJob {
    fn drop(&mut self) {
        self.end();
    }
}

impl Job {
    fn read(plist: &[u8]) -> Self {
        let root = Value::from_reader_xml(plist).expect("a property list");
        let job = root.as_dictionary().expect("its root is a dictionary");
        let text = |key: &str| Some(job.get(key)?.as_string()?.to_owned());
        let number = |key: &str| job.get(key)?.as_unsigned_integer();
        let seconds = |key: &str| Some(Duration::from_secs(number(key)?));
        let arguments = job["ProgramArguments"].as_array().expect("an array");
        Self {
            arguments: arguments
                .iter()
                .map(|word| word.as_string().expect("strings").to_owned())
                .collect(),
            environment: environment(job, &text("Label").expect("a label")),
            cwd: text("WorkingDirectory").unwrap_or_else(|| "/".into()),
            log: text("StandardErrorPath"),
            umask: number("Umask").unwrap_or(0o022),
            open_files: soft_limit(job).unwrap_or(OPEN_FILES_DEFAULT),
            keep_alive: job.get("KeepAlive").and_then(Value::as_boolean) == Some(true),
            throttle: seconds("ThrottleInterval").unwrap_or(THROTTLE_DEFAULT),
            exit_time_out: seconds("ExitTimeOut").unwrap_or(EXIT_TIME_OUT_DEFAULT),
        }
    }

    /// Starts the child in a process group of its own; none when its log cannot be opened.
    fn start(&self) -> Option<Child> {
        let output = || -> Option<Stdio> {
            let Some(path) = &self.log else {
                return Some(Stdio::null());
            };
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.ok().map(Stdio::from)
        };
        let arrange = format!(
            "umask {:o}; ulimit -S -n {}; exec \"$@\"",
            self.umask, self.open_files
        );
        let child = Command::new("/bin/sh")
            .args(["-c", &arrange, "launchd"])
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .process_group(0)
            .spawn();
        Some(child.expect("/bin/sh starts"))
    }
}

/// The environment of a job: launchd's few variables, and those of the plist.
fn environment(job: &Dictionary, label: &str) -> Vec<(String, String)> {
    let bare = [
        ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
        ("XPC_SERVICE_NAME", label),
        ("XPC_FLAGS", "0x0"),
        ("OSLogRateLimit", "64"),
    ];
    let own = job
        .get("EnvironmentVariables")
        .and_then(Value::as_dictionary);
    let own = own.into_iter().flatten().filter_map(|(name, value)| {
        // launchd ignores values that are not strings
        Some((name.clone(), value.as_string()?.to_owned()))
    });
    let bare = bare.map(|(name, value)| (name.to_owned(), value.to_owned()));
    bare.into_iter().chain(own).collect()
}

fn soft_limit(job: &Dictionary) -> Option<u64> {
    let limits = job.get("SoftResourceLimits")?.as_dictionary()?;
    limits.get("NumberOfFiles")?.as_unsigned_integer()
}

/// The thread that acts as launchd for one job.
struct Launchd {
    job: Job,
    runs: Arc<Mutex<Vec<Run>>>,
    request: Receiver<()>,
}

impl Launchd {
    fn run(self) -> End {
        loop {
            let started = Instant::now();
            let child = self.job.start();
            let pid = child
                .as_ref()
                .map(|child| i32::try_from(child.id()).expect("a pid"));
            self.runs.lock().unwrap().push(Run {
                pid,
                started,
                ended: None,
            });
            if let Some(mut child) = child
                && let Some(end) = self.watch(&mut child)
            {
                return end;
            }
            if !self.job.keep_alive || self.is_booted_out_by(started + self.job.throttle) {
                return End::NotRunning;
            }
        }
    }

    /// Waits for the end of the child; None if it ended by itself, and not after a bootout.
    fn watch(&self, child: &mut Child) -> Option<End> {
        let pid = i32::try_from(child.id()).expect("a pid");
        let mut end = None;
        let mut kill_at = None;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            match kill_at {
                None if self.is_booted_out_by(Instant::now() + CHECK_EVERY) => {
                    signal(pid, SIGTERM);
                    end = Some(End::Orderly);
                    kill_at = Some(Instant::now() + self.job.exit_time_out);
                }
                None => {}
                Some(at) if Instant::now() >= at => {
                    signal(pid, SIGKILL);
                    end = Some(End::Killed);
                }
                Some(_) => std::thread::sleep(CHECK_EVERY),
            }
        };
        self.runs
            .lock()
            .unwrap()
            .last_mut()
            .expect("this run")
            .ended = Some(status);
        for left in group(pid) {
            signal(left, SIGTERM);
        }
        end
    }

    /// Waits until then for a bootout.
    fn is_booted_out_by(&self, until: Instant) -> bool {
        let wait = until.saturating_duration_since(Instant::now());
        self.request.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
    }
}

/// The members of a process group.
fn group(pgid: i32) -> Vec<i32> {
    let all = process::all().expect("the processes");
    let member = |pid: &i32| process::stat(*pid).is_ok_and(|stat| stat.pgid == pgid);
    all.into_iter().filter(member).collect()
}

fn signal(pid: i32, signal: i32) {
    let handle = process::stat(pid).and_then(|stat| Handle::open(stat.process));
    // the process may have ended in between
    let _ = handle.and_then(|handle| handle.signal(signal));
}

/// A plist with a label, these keys, and `/bin/sh -c SCRIPT` as the program.
pub(crate) fn shell_job(script: &str, log: &Path, keys: &[(&str, Value)]) -> Vec<u8> {
    let mut job = Dictionary::new();
    job.insert("Label".into(), "org.example.simulated".into());
    let words = ["/bin/sh", "-c", script].map(Value::from);
    job.insert("ProgramArguments".into(), Value::Array(words.into()));
    job.insert(
        "StandardErrorPath".into(),
        log.to_str().expect("UTF-8").into(),
    );
    for (key, value) in keys {
        job.insert((*key).into(), value.clone());
    }
    let mut xml = Vec::new();
    Value::Dictionary(job)
        .to_writer_xml(&mut xml)
        .expect("written");
    xml
}
