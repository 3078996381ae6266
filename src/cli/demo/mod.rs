//! `stayd demo`: a real daemon, a real service with a real bug, and a viewer on the control socket, in one terminal.

mod ask;
mod service;
mod terminal;
mod viewer;

pub(super) use service::serve;

use super::exit::{Exit, Failure, Outcome};
use super::screen::Screen;
use crate::sys;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;
use viewer::{End, Viewer};

/// The service's name in the demo.
const SERVICE: &str = "shop";
/// Tries to remove the demo's folder.
const REMOVE_TRIES: usize = 100;

/// Shows it. `daemon` runs the real daemon with this configuration and state directory on the calling thread, until it
/// is told to end by SIGTERM or SIGINT, and gives its exit status.
pub(super) fn show(screen: Screen, daemon: impl FnOnce(&Path, &Path) -> Outcome) -> Outcome {
    let cannot = |error: io::Error| Failure::system("set the demo up", &error);
    let stage = Stage::build().map_err(cannot)?;
    let viewer = Viewer::new(screen, stage.port, stage.socket());
    let (running, over) = oneshot::channel();
    let watching = std::thread::Builder::new()
        .name("viewer".to_owned())
        .spawn(move || {
            let end = viewer.watch(over);
            if end != End::Over {
                // The same way out as Ctrl-C: an ordered stop of everything.
                let _cannot_fail = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM);
            }
            end
        });
    let watching = watching.map_err(cannot)?;
    let exit = daemon(&stage.config(), &stage.state());
    drop(running);
    let exit = exit?;
    match watching.join() {
        Ok(End::Shown | End::Left | End::Over) => Ok(exit),
        Ok(End::Failed(message)) => Err(Failure::new(Exit::No, message)),
        Err(_panicked) => Err(Failure::new(
            Exit::Bug,
            "cannot go on with the demo: the viewer broke",
        )),
    }
}

/// A folder for everything the demo makes; gone with it.
struct Stage {
    folder: PathBuf,
    port: u16,
}

impl Stage {
    fn build() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("stayd-demo-{}", sys::identity::pid()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let stage = Self {
            folder,
            port: free_port()?,
        };
        DirBuilder::new().mode(0o700).create(stage.state())?;
        fs::write(
            stage.config(),
            stage.as_toml(&sys::identity::own_program()?),
        )?;
        Ok(stage)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("demo.toml")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn socket(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    /// What a person would write for this service.
    fn as_toml(&self, program: &Path) -> String {
        let port = self.port;
        let program = quoted(&program.display().to_string());
        let database = quoted(&self.folder.join("shop.db").display().to_string());
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

impl Drop for Stage {
    fn drop(&mut self) {
        // A thread that is still closing its files may be in the way for a moment. What cannot be removed lies in the
        // system's temporary folder, which is emptied anyway.
        for _ in 0..REMOVE_TRIES {
            if fs::remove_dir_all(&self.folder).is_ok() {
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
