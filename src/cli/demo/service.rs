//! The demo's service: an HTTP server with a SQLite database, and a bug that can be triggered.
//!
//! `/query` uses the database under a lock. `POST /wedge`, SIGUSR1 or `--wedge-after` start a task that takes the lock and
//! never releases it. From then on no query gets an answer, but `/health` still reports success, the port still accepts
//! connections, and the service uses no CPU and logs nothing. A wedged service also ignores SIGTERM.

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::signals::signal_stream;
use crate::sys;
use clap::Parser;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rusqlite::Connection;
use signal_hook::consts::{SIGTERM, SIGUSR1};
use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::LocalSet;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many connections are served at once. Queries to a wedged service pile up to this number; further connections wait in
/// the kernel's backlog.
const CONNECTIONS_MAX: usize = 256;
/// How often the service checks that its parent still runs, and how long it waits after a failed accept(2).
const PARENT_CHECK_EVERY: Duration = Duration::from_secs(1);

/// The command line of the service.
#[derive(Debug, Parser)]
struct Arguments {
    /// The TCP port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The database file.
    #[arg(long)]
    db: PathBuf,
    /// Wedge without a request after this time.
    #[arg(long, value_parser = humantime::parse_duration)]
    wedge_after: Option<Duration>,
}

/// Serves until SIGTERM, or until the process that started it has ended, so that a killed demo leaves no process behind.
pub(in crate::cli) fn serve(words: Vec<OsString>) -> Outcome {
    let name = OsString::from("stayd __demo-service");
    let arguments = Arguments::try_parse_from(std::iter::once(name).chain(words));
    let Arguments {
        port,
        db,
        wedge_after,
    } = arguments.map_err(|error| {
        let lines = error.to_string();
        Failure::of_lines(Exit::Usage, lines.lines().map(str::to_owned))
    })?;
    let database =
        open(&db).map_err(|error| Failure::system(&format!("open {}", db.display()), &error))?;
    let server = Rc::new(Server {
        database: Mutex::new(database),
        wedged: Cell::new(false),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::system("start the demo service", &error))?;
    let served = LocalSet::new().block_on(&runtime, run(server, port, wedge_after));
    served.map_err(|error| Failure::system(&format!("serve 127.0.0.1:{port}"), &error))?;
    Ok(Exit::Done)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS visit (at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    )?;
    Ok(database)
}

struct Server {
    database: Mutex<Connection>,
    wedged: Cell<bool>,
}

impl Server {
    /// The bug: starts a task that takes the database lock and never releases it.
    fn wedge(self: &Rc<Self>) {
        let server = Rc::clone(self);
        self.wedged.set(true);
        tokio::task::spawn_local(async move {
            let _database = server.database.lock().await;
            std::future::pending::<()>().await;
        });
    }

    async fn query(&self) -> rusqlite::Result<i64> {
        let database = self.database.lock().await;
        database.execute("INSERT INTO visit DEFAULT VALUES", ())?;
        database.query_row("SELECT count(*) FROM visit", (), |row| row.get(0))
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/health") => reply(StatusCode::OK, "fine"),
            (&Method::GET, "/query") => match self.query().await {
                Ok(visits) => reply(StatusCode::OK, &format!("{visits} visits")),
                Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            (&Method::POST, "/wedge") => {
                self.wedge();
                reply(StatusCode::OK, "wedged")
            }
            _ => reply(
                StatusCode::NOT_FOUND,
                "GET /health, GET /query, POST /wedge",
            ),
        }
    }
}

fn reply(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = status;
    response
}

async fn run(server: Rc<Server>, port: u16, wedge_after: Option<Duration>) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let (mut terms, mut usr1s) = (signal_stream(SIGTERM)?, signal_stream(SIGUSR1)?);
    tracing::debug!(port, "demo service listens");
    let timer = async {
        match wedge_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    let wedging = async {
        tokio::select! {
            () = timer => {}
            _signal = usr1s.read_u8() => {}
        }
        server.wedge();
        std::future::pending::<()>().await;
    };
    let stopping = async { while terms.read_u8().await.is_ok() && server.wedged.get() {} };
    tokio::select! {
        () = accept(&listener, &server) => {}
        () = wedging => {}
        () = stopping => {}
        () = parent_ended() => {}
    }
    Ok(())
}

async fn accept(listener: &TcpListener, server: &Rc<Server>) {
    let connections = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = std::sync::Arc::clone(&connections)
            .acquire_owned()
            .await
            .ok();
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PARENT_CHECK_EVERY).await;
            continue;
        };
        let server = Rc::clone(server);
        tokio::task::spawn_local(async move {
            serve_connection(stream, server).await;
            drop(permit);
        });
    }
}

async fn serve_connection(stream: TcpStream, server: Rc<Server>) {
    let service = service_fn(|request| {
        let server = Rc::clone(&server);
        async { Ok::<_, Infallible>(server.answer(request).await) }
    });
    // A client may close the connection at any time.
    let _closed = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn parent_ended() {
    let parent = sys::identity::parent_pid();
    while sys::identity::parent_pid() == parent {
        tokio::time::sleep(PARENT_CHECK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::request;
    use super::{Server, open, run};
    use hyper::Method;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::sync::Mutex;
    use tokio::task::LocalSet;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_wedged_service_answers_health_checks_but_no_query() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(&folder.path().join("shop.db")).expect("a database");
        let server = Rc::new(Server {
            database: Mutex::new(database),
            wedged: Cell::new(false),
        });
        let port = super::super::free_port().expect("a port");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(run(Rc::clone(&server), port, None));
            while request(Method::GET, port, "/query", LONG).await
                != Some((200, "1 visits".to_owned()))
            {
                tokio::task::yield_now().await;
            }
            assert!(request(Method::POST, port, "/wedge", LONG).await.is_some());
            assert_eq!(request(Method::GET, port, "/query", SHORT).await, None);
            assert_eq!(
                request(Method::GET, port, "/health", LONG).await,
                Some((200, "fine".to_owned()))
            );
            assert!(server.wedged.get());
        });
    }
}
