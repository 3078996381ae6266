//! Runs the server of the control socket on the loop's thread, and receives its commands.

use super::journal::ApiJournal;
use super::parts::Parts;
use crate::act::off_loop::{OffLoopError, OneAtATime};
use crate::act::output;
use crate::api::backend::{
    ApiError, ApiErrorKind, Backend, LocalFuture, Logs, PendingRequest, PendingUpgrade,
};
use crate::api::connections::Connections;
use crate::api::latest_requests::LatestRequests;
use crate::api::listen::ControlSocket;
use crate::api::routes::AccessControl;
use crate::api::{listen, server};
use crate::config::Config;
use crate::decide::fleet::Machine;
use crate::sys::identity;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Commands that may wait for the loop.
const REQUESTS_MAX: usize = 64;
/// Upgrade requests that may wait for the loop.
const UPGRADES_MAX: usize = 4;
/// The most time to read captured output, the wait for other requests that read included.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// The server of an inherited socket starts after this time even if recovery is not complete.
const RECOVERY_MAX: Duration = Duration::from_secs(2);

/// The open control socket, its server, and the commands that arrive over it.
pub(super) struct ControlServer {
    pub(super) requests: mpsc::Receiver<PendingRequest>,
    pub(super) upgrades: mpsc::Receiver<PendingUpgrade>,
    pub(super) connections: Connections,
    listener: Rc<UnixListener>,
    /// Removes the socket's file when dropped; `None` after [`close`](Self::close).
    socket: Option<ControlSocket>,
    group: Option<u32>,
    server: JoinHandle<()>,
}

/// A listening control socket that the previous version handed over.
#[derive(Debug)]
pub(super) struct InheritedSocket {
    pub(super) listener: OwnedFd,
    pub(super) path: PathBuf,
    /// The gid of the control group that has access to it.
    pub(super) group: Option<u32>,
}

impl ControlServer {
    /// Whether no server runs.
    fn is_closed(&self) -> bool {
        self.server.is_finished()
    }

    /// Whether clients cannot reach the server: its file was deleted or replaced, or the server has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.is_closed() || self.socket.as_ref().is_none_or(ControlSocket::is_lost)
    }

    /// Stops the server, closes the socket and removes its file.
    pub(super) async fn close(&mut self) {
        if !self.is_closed() {
            self.server.abort();
            let _aborted = (&mut self.server).await;
        }
        self.socket = None;
    }

    /// A duplicate of the listening socket, for the next version.
    pub(super) fn duplicate_listener(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Keeps the socket's file for the next version, and returns its path and group.
    pub(super) fn hand_over(mut self) -> (PathBuf, Option<u32>) {
        let path = self.socket.take().map(ControlSocket::hand_over);
        (path.unwrap_or_default(), self.group)
    }
}

/// Binds the control socket and starts its server.
pub(super) async fn open(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
) -> io::Result<ControlServer> {
    let access = access(&parts.config)?;
    let (listener, socket) = listen::bind(&parts.options.control_socket, access.group()).await?;
    Ok(serve(parts, machine, access, listener, socket, None))
}

/// Starts the server of a socket that the previous version handed over, once `recovered` resolves or after
/// [`RECOVERY_MAX`]. If the path or the group has changed, it binds a new socket instead.
pub(super) async fn resume(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
    inherited: InheritedSocket,
    recovered: oneshot::Receiver<()>,
) -> io::Result<ControlServer> {
    let access = access(&parts.config)?;
    let socket = ControlSocket::inherited(inherited.path.clone());
    if inherited.path != parts.options.control_socket || inherited.group != access.group() {
        drop((inherited, socket));
        return open(parts, machine).await;
    }
    let listener = UnixListener::from_std(inherited.listener.into())?;
    Ok(serve(
        parts,
        machine,
        access,
        listener,
        socket,
        Some(recovered),
    ))
}

fn access(config: &Config) -> io::Result<AccessControl> {
    AccessControl::new(identity::euid(), config.control_group.as_deref())
}

fn serve(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
    access: AccessControl,
    listener: UnixListener,
    socket: ControlSocket,
    recovered: Option<oneshot::Receiver<()>>,
) -> ControlServer {
    let (to_requests, requests) = mpsc::channel(REQUESTS_MAX);
    let (to_upgrades, upgrades) = mpsc::channel(UPGRADES_MAX);
    let backend = backend(parts, machine, to_requests, to_upgrades);
    let (listener, connections) = (Rc::new(listener), Connections::default());
    let (served, tracked) = (Rc::clone(&listener), connections.clone());
    let server = tokio::task::spawn_local(async move {
        if let Some(recovered) = recovered {
            // After the timeout the status shows the state that recovery has reached by then.
            let _ = timeout(RECOVERY_MAX, recovered).await;
        }
        server::serve(&served, backend, access, tracked).await;
    });
    ControlServer {
        requests,
        upgrades,
        connections,
        listener,
        socket: Some(socket),
        group: access.group(),
        server,
    }
}

fn backend(
    parts: &Parts,
    machine: Rc<RefCell<Machine>>,
    requests: mpsc::Sender<PendingRequest>,
    upgrades: mpsc::Sender<PendingUpgrade>,
) -> Backend {
    let (status, refreshed) = (parts.status.clone(), parts.status.clone());
    let shown = Rc::clone(&machine);
    Backend {
        status: Rc::new(move || status.status(&shown.borrow())),
        refresh: Rc::new(move || {
            let (status, machine) = (refreshed.clone(), Rc::clone(&machine));
            Box::pin(async move { status.refresh(&machine).await })
        }),
        requests,
        latest_requests: LatestRequests::default(),
        upgrades,
        journal: Rc::new(ApiJournal::new(parts.journal.clone())),
        logs: Rc::new(CapturedLogs {
            folder: parts.lock.state().logs(),
            reader: OneAtATime::default(),
        }),
    }
}

/// Reads the captured output from the files in this folder. How long that takes depends on how much a service has written
/// and on its disk.
struct CapturedLogs {
    folder: PathBuf,
    reader: OneAtATime,
}

impl Logs for CapturedLogs {
    fn tail(&self, service: &str, lines: usize) -> LocalFuture<'_, Result<Vec<String>, ApiError>> {
        let dir = self.folder.join(service);
        Box::pin(async move {
            let shown = dir.display().to_string();
            let reading = move || output::tail(&dir, lines);
            let why = match self.reader.off_loop("logs", READ_WITHIN, reading).await {
                Ok(Ok(lines)) => return Ok(lines),
                Ok(Err(error)) => error.to_string(),
                Err(OffLoopError::NoThread(error)) => format!("no thread can read it: {error}"),
                Err(OffLoopError::TimedOut(_)) => {
                    format!("its disk did not answer within {READ_WITHIN:?}; try again")
                }
            };
            let message = format!("cannot read {shown}: {why}");
            Err(ApiError::new(ApiErrorKind::Unavailable, message))
        })
    }
}
