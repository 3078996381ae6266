//! The service of the demo: HTTP and SQLite, and a bug that can be switched on.
//!
//! `/query` asks the database through a lock. `POST /wedge`, SIGUSR1 or `--wedge-after` start a task that takes the lock
//! and never gives it back: from then on `/health` is still fine, the port still listens, nothing uses CPU, nothing is
//! logged, and no query is ever answered. Wedged like that it does not hear SIGTERM either.

use super::super::daemon::signal;
use super::super::exit::{Exit, Failure, Outcome};
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

const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// Wedged queries pile up; beyond this many connections the next ones wait in the backlog.
const CONNECTIONS_MAX: usize = 256;
/// How often it looks whether the demo is still there.
const PARENT_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Its command line.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where it listens, on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Its database.
    #[arg(long)]
    db: PathBuf,
    /// Wedge by itself after this time.
    #[arg(long, value_parser = humantime::parse_duration)]
    wedge_after: Option<Duration>,
}

/// Serves until SIGTERM, or until whoever started it has gone: the demo leaves nothing behind.
pub(in crate::cli) fn serve(words: Vec<OsString>) -> Outcome {
    let name = OsString::from("stayd __demo-service");
    let arguments = Arguments::try_parse_from(std::iter::once(name).chain(words));
    let Arguments {
        port,
        db,
        wedge_after,
    } = arguments.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let database =
        open(&db).map_err(|error| Failure::system(&format!("open {}", db.display()), &error))?;
    let shop = Rc::new(Shop {
        database: Mutex::new(database),
        wedged: Cell::new(false),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::system("start the demo service", &error))?;
    let served = LocalSet::new().block_on(&runtime, run(shop, port, wedge_after));
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

struct Shop {
    database: Mutex<Connection>,
    wedged: Cell<bool>,
}

impl Shop {
    /// The bug: somebody takes the lock and waits, holding it, for what never comes.
    fn wedge(self: &Rc<Self>) {
        let shop = Rc::clone(self);
        self.wedged.set(true);
        tokio::task::spawn_local(async move {
            let _database = shop.database.lock().await;
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

async fn run(shop: Rc<Shop>, port: u16, wedge_after: Option<Duration>) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let (mut terms, mut usr1s) = (signal(SIGTERM)?, signal(SIGUSR1)?);
    tracing::debug!(port, "demo service listens");
    let by_itself = async {
        match wedge_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    let wedging = async {
        tokio::select! {
            () = by_itself => {}
            _asked = usr1s.read_u8() => {}
        }
        shop.wedge();
        std::future::pending::<()>().await;
    };
    let stopping = async { while terms.read_u8().await.is_ok() && shop.wedged.get() {} };
    tokio::select! {
        () = accept(&listener, &shop) => {}
        () = wedging => {}
        () = stopping => {}
        () = orphaned() => {}
    }
    Ok(())
}

async fn accept(listener: &TcpListener, shop: &Rc<Shop>) {
    let connections = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = std::sync::Arc::clone(&connections)
            .acquire_owned()
            .await
            .ok();
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PARENT_LOOK_EVERY).await;
            continue;
        };
        let shop = Rc::clone(shop);
        tokio::task::spawn_local(async move {
            converse(stream, shop).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, shop: Rc<Shop>) {
    let service = service_fn(|request| {
        let shop = Rc::clone(&shop);
        async { Ok::<_, Infallible>(shop.answer(request).await) }
    });
    // A caller that hangs up in the middle is the caller's affair.
    let _ended = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn orphaned() {
    let parent = sys::identity::parent_pid();
    while sys::identity::parent_pid() == parent {
        tokio::time::sleep(PARENT_LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::ask;
    use super::{Shop, open, run};
    use hyper::Method;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;
    use tokio::sync::Mutex;
    use tokio::task::LocalSet;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn wedged_it_is_silent_only_where_it_matters() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(&folder.path().join("shop.db")).expect("a database");
        let shop = Rc::new(Shop {
            database: Mutex::new(database),
            wedged: Cell::new(false),
        });
        let port = super::super::free_port().expect("a port");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(run(Rc::clone(&shop), port, None));
            while ask(Method::GET, port, "/query", LONG).await != Some((200, "1 visits".to_owned()))
            {
                tokio::task::yield_now().await;
            }
            assert!(ask(Method::POST, port, "/wedge", LONG).await.is_some());
            assert_eq!(ask(Method::GET, port, "/query", SHORT).await, None);
            assert_eq!(
                ask(Method::GET, port, "/health", LONG).await,
                Some((200, "fine".to_owned()))
            );
            assert!(shop.wedged.get());
        });
    }
}
