//! The machine that `install` changes: its commands, and the stayd that answers.

use crate::api::client::Client;
use crate::api::wire::Status;
use crate::cli::block_on;
use crate::cli::console::print_stderr;
use crate::cli::exit::Failure;
use crate::cli::paths::variable;
use crate::install::{Host, Ran, Running};
use crate::lint::{self, Level};
use crate::sys::{clock, identity};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// An answer of stayd takes milliseconds; a stopped one never answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";
/// The most bytes of a command's output that are kept.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// This machine, for one instance.
pub(super) struct ThisHost {
    /// The state folder of the instance.
    pub(super) state: PathBuf,
    /// Its control socket.
    pub(super) socket: PathBuf,
}

impl Host for ThisHost {
    fn run(&mut self, argv: &[&str], within: Duration) -> io::Result<Ran> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(runtime_folder_of_user())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (send, ended) = mpsc::channel();
        // A pager or a helper of the command may keep the pipes open after its end, so the wait has a deadline of its own.
        thread::spawn(move || {
            let errors = thread::spawn(move || read(stderr.as_mut()));
            let output = read(stdout.as_mut());
            let errors = errors.join().unwrap_or_default();
            // The receiver is gone when the time is over.
            let _late = send.send([output, errors]);
        });
        let output = match ended.recv_timeout(within) {
            Ok([output, errors]) => [output, errors].concat(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // It may have ended by itself.
                let _ended = child.kill();
                let _status = child.wait();
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        Ok(Ran {
            code: child.wait()?.code(),
            output: output.trim_end().to_owned(),
        })
    }

    fn running(&mut self) -> Option<Running> {
        let client = Client::new(&self.socket);
        let status = block_on(async {
            let asked = tokio::time::timeout(ANSWER_WITHIN, client.get::<Status>("/v1/status"));
            Ok(asked.await.ok().and_then(Result::ok))
        });
        let daemon = status.ok()??.daemon;
        let modified = |file: &Path| fs::metadata(file).ok()?.modified().ok();
        // stayd writes its pid into the lock right after it has read the configuration. Both times are those of files.
        let started = modified(&self.state.join("lock"));
        let changed = daemon.config.and_then(|file| modified(Path::new(&file)));
        Some(Running {
            pid: daemon.pid,
            supervised: ["systemd", "launchd"].contains(&daemon.supervisor.as_str()),
            config_is_newer: changed
                .zip(started)
                .is_some_and(|(changed, started)| changed > started),
        })
    }

    fn verify(&mut self, file: &Path) -> Vec<String> {
        let source = match lint::read(file) {
            Ok(source) => source,
            Err(error) => return vec![error.to_string()],
        };
        let findings = lint::check(&source).into_iter();
        let errors = findings.filter(|finding| finding.code.level == Level::Error);
        errors
            .map(|finding| format!("{}; {}", finding.message, finding.cure))
            .collect()
    }

    fn has_claims(&mut self) -> bool {
        let entries = fs::read_dir(self.state.join("claims"));
        let mut names = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        names.any(|path| path.extension().is_some_and(|end| end == "json"))
    }

    fn now(&self) -> Duration {
        clock::sample().awake
    }

    fn pause(&mut self, length: Duration) {
        // An error means that no runtime can be made, and the deadline ends the wait.
        let _unpaused: Result<(), Failure> = block_on(async {
            tokio::time::sleep(length).await;
            Ok(())
        });
    }

    fn say(&mut self, step: &str) {
        print_stderr(step);
    }
}

/// The variable by which systemctl finds the user's systemd, where su or cron has not set it. The folder appears when that systemd
/// starts.
fn runtime_folder_of_user() -> Option<(&'static str, PathBuf)> {
    let folder = PathBuf::from(format!("/run/user/{}", identity::euid()));
    let is_missing = variable(RUNTIME_FOLDER).is_none() && folder.is_dir();
    is_missing.then_some((RUNTIME_FOLDER, folder))
}

/// What a pipe holds, up to a bound, as text. The rest is read and dropped, so that the writer is not blocked.
fn read(pipe: Option<&mut impl io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read until an error is what the command said.
        let _partly = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        let _rest = io::copy(pipe, &mut io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
