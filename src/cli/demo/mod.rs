//! `stayd demo`: runs a real daemon, a service with a bug, and a viewer on the control socket, in one terminal.

mod http;
mod keyboard;
mod service;
mod viewer;

pub(super) use service::serve;

use super::args::CommonOptions;
use super::console::Console;
use super::daemon::run_loop;
use super::exit::{Exit, Failure, Outcome};
use super::load_config::from_file;
use super::paths::InstanceFolders;
use crate::config::Loaded;
use crate::sys;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;
use viewer::{Viewer, ViewerEnd};

/// The service's name in the demo.
const SERVICE: &str = "shop";
/// How often the removal of the demo's folder is tried.
const REMOVE_TRIES: usize = 100;

/// Runs the demo to its end, or until SIGTERM or SIGINT. The daemon runs on this thread, the viewer on its own.
pub(super) fn run(console: Console) -> Outcome {
    let cannot = |error: io::Error| Failure::system("set up the demo", &error);
    let folder = DemoFolder::create().map_err(cannot)?;
    let viewer = Viewer::new(console, folder.port, folder.socket());
    let (daemon_runs, daemon_ended) = oneshot::channel();
    let viewer_thread = std::thread::Builder::new()
        .name("viewer".to_owned())
        .spawn(move || {
            let end = viewer.watch(daemon_ended);
            if end != ViewerEnd::DaemonEnded {
                // Stop the daemon in order, as Ctrl-C does.
                let _cannot_fail = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM);
            }
            end
        });
    let viewer_thread = viewer_thread.map_err(cannot)?;
    let exit = run_daemon(&folder);
    drop(daemon_runs);
    let exit = exit?;
    match viewer_thread.join() {
        Ok(ViewerEnd::Completed | ViewerEnd::Left | ViewerEnd::DaemonEnded) => Ok(exit),
        Ok(ViewerEnd::Failed(message)) => Err(Failure::new(Exit::No, message)),
        Err(_panicked) => Err(Failure::new(
            Exit::Bug,
            "cannot continue the demo: the viewer panicked",
        )),
    }
}

/// Runs the daemon without a log of its own: the viewer reports what happens.
fn run_daemon(folder: &DemoFolder) -> Outcome {
    let common = CommonOptions {
        config: Some(folder.config()),
        ..CommonOptions::default()
    };
    let Loaded { config, .. } = from_file(&common)?;
    let folders = InstanceFolders {
        socket: folder.socket(),
        runtime: folder.state(),
        state: folder.state(),
    };
    let exit = run_loop(config, &folders)?;
    if exit == Exit::Done {
        return Ok(exit);
    }
    Err(Failure::new(
        exit,
        "cannot run the demo's daemon: the operating system refused; `stayd --foreground` shows the cause",
    ))
}

/// The temporary folder that holds everything the demo creates. Dropping it removes the folder.
struct DemoFolder {
    path: PathBuf,
    port: u16,
}

impl DemoFolder {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("stayd-demo-{}", sys::identity::pid()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self {
            path,
            port: free_port()?,
        };
        DirBuilder::new().mode(0o700).create(folder.state())?;
        fs::write(
            folder.config(),
            folder.as_toml(&sys::identity::own_program()?),
        )?;
        Ok(folder)
    }

    fn config(&self) -> PathBuf {
        self.path.join("demo.toml")
    }

    fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    fn socket(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    /// The configuration of the demo, as a user would write it.
    fn as_toml(&self, program: &Path) -> String {
        let port = self.port;
        let program = quoted(&program.display().to_string());
        let database = quoted(&self.path.join("shop.db").display().to_string());
        format!(
            "name = \"demo\"\n\n\
             [service.{SERVICE}]\n\
             command = [{program}, \"__demo-service\", \"--port\", \"{port}\", \"--db\", {database}]\n\
             port = {port}\n\
             stop = {{ grace = \"1s\" }}\n\
             backoff = {{ stable_after = \"2s\" }}\n\
             log = {{ to = \"file\" }}\n\n\
             [service.{SERVICE}.watchdog]\n\
             probe = \"http://127.0.0.1:{port}/query\"\n\
             interval = \"1s\"\n\
             timeout = \"1s\"\n\
             failures = 3\n\
             busy_grace = \"1s\"\n"
        )
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // A thread that still closes its files can make a removal fail. If all tries fail, the folder stays in the
        // system's temporary folder, which the system empties.
        for _ in 0..REMOVE_TRIES {
            if fs::remove_dir_all(&self.path).is_ok() {
                break;
            }
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
