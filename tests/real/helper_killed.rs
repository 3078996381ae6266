//! How long stayd waits for the end of a helper that it has killed.

use super::support::probing::{LONG, SHORT, context, with_spawner};
use super::support::{PYTHON, TempDir, alone, require_root};
use rusqlite::Connection;
use stayd::act::helper::{Helper, HelperError};
use stayd::act::probe::SqliteRequest;
use stayd::act::process_info::CommandLine;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Attaches to the process of its argument (PTRACE_SEIZE): once killed it stays a zombie, and its parent does not see its exit,
/// until the tracer ends (ptrace(2)).
const TRACER: &str = "\
import ctypes, sys
call = ctypes.CDLL(None, use_errno=True).ptrace
assert call(0x4206, int(sys.argv[1]), 0, 0) == 0, ctypes.get_errno()
print('attached', flush=True)
sys.stdin.read()
";

/// A process that keeps the exit of a helper from stayd.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: i32) -> Self {
        let mut tracer = Command::new(PYTHON)
            .args(["-c", TRACER, &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let output = tracer.stdout.take().expect("its output");
        let line = BufReader::new(output).lines().next();
        assert_eq!(line.expect("a line").expect("text"), "attached");
        Self(tracer)
    }

    /// Lets go of the helper.
    fn end(mut self) {
        let mut input = self.0.stdin.take().expect("its input");
        input.write_all(b"end").expect("it reads");
        drop(input);
        // Fails where the spawner, which reaps every child of this process, was faster.
        let _ = self.0.wait();
    }
}

/// A request that no helper ever replies to.
fn endless(file: PathBuf) -> SqliteRequest {
    let query =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    SqliteRequest {
        path: file,
        write: false,
        query: Some(query.into()),
        secret: false,
        busy_ms: 1000,
    }
}

/// Calls `test` with a helper that runs, a tracer of it, and a file for [`endless`].
fn with_traced_helper(test: impl AsyncFnOnce(Helper, Tracer, PathBuf)) {
    require_root();
    with_spawner(async |spawner| {
        let dir = TempDir::new();
        let file = dir.join("state.db");
        let database = Connection::open(&file).expect("a database");
        database.execute("CREATE TABLE t (a)", ()).expect("a table");
        let mut helper = Helper::new(spawner.clone(), context(&spawner).program);
        let own = CommandLine {
            pid: std::process::id().cast_signed(),
        };
        helper.ask(own, LONG).await.expect("a reply");
        let tracer = Tracer::attach(helper.pid().expect("it runs"));
        test(helper, tracer, file).await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_busy_helper_whose_caller_went_away_may_take_long_to_end() {
    alone(|| {
        with_traced_helper(async |mut helper, tracer, file| {
            // The caller drops its request, as when an instance needs what a comparison reads.
            let asked = helper.ask(endless(file), LONG);
            assert!(tokio::time::timeout(SHORT, asked).await.is_err());
            let waited = tokio::time::timeout(Duration::from_secs(2), helper.is_free(LONG));
            assert!(waited.await.is_err(), "it is still waited for");
            tracer.end();
            assert!(helper.is_free(LONG).await);
        });
    });
}

#[test]
#[ignore = "needs root"]
fn a_helper_that_hung_and_does_not_end_is_waited_for_only_a_second() {
    alone(|| {
        with_traced_helper(async |mut helper, tracer, file| {
            let asked = helper.ask(endless(file), SHORT).await;
            assert_eq!(asked, Err(HelperError::Silent));
            let began = Instant::now();
            assert!(!helper.is_free(LONG).await);
            assert!(began.elapsed() < LONG);
            tracer.end();
            assert!(helper.is_free(LONG).await);
        });
    });
}
