//! A service that counts its own copies and numbers its output lines, for tests in which stayd dies at any instant.

use super::daemon::{Stayd, is_alive};
use super::wait::{SOON, TempDir, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The whole tree holds the lock: a child that outlives its instance also shows as a second copy.
const SERVICE: &str = "\
import fcntl, os, sys, time
def note(name):
    with open('DIR/' + name, 'a') as file:
        file.write('%d\\n' % os.getpid())
lock = open('DIR/lock', 'w')
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    note('second-copy')
life, n = os.environ['STAYD_LIFE'], 0
if os.fork() == 0:
    os.setsid()
    note('children')
    time.sleep(10000)
note('pids')
while True:
    n += 1
    sys.stdout.write('%s %d\\n' % (life, n))
    sys.stdout.flush()
    time.sleep(0.003)
";

/// The service `s`, and the folder in which it records its processes.
pub(crate) struct CountingService {
    shared: TempDir,
}

impl CountingService {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        let shared = TempDir::new();
        fs::write(shared.join("healthy"), "").expect("a file");
        Self { shared }
    }

    /// Its configuration without a watchdog. A log file holds `size`, and no test writes enough to drop one.
    pub(crate) fn config(&self, size: &str) -> String {
        let script = SERVICE.replace("DIR", &self.path().display().to_string());
        let argv = serde_json::to_string(&["python3", "-c", &script]).expect("JSON is TOML here");
        format!(
            "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"1ms\", max = \"5ms\" }}\n\
             give_up = {{ exits = 1000, within = \"1s\" }}\n\
             [service.s.log]\nto = \"file\"\nmax_size = \"{size}\"\nkeep = 1000\n"
        )
    }

    /// The same with a probe, whose answer [`CountingService::set_healthy`] decides.
    pub(crate) fn watched_config(&self) -> String {
        let healthy = self.shared.join("healthy");
        format!(
            "{}[service.s.watchdog]\nprobe = \"exec:test -e {}\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfailures = 1\n\
             busy_grace = \"0s\"\n",
            self.config("4KiB"),
            healthy.display()
        )
    }

    /// Whether the probe succeeds from now on.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        let file = self.shared.join("healthy");
        if healthy {
            fs::write(file, "").expect("a file");
        } else {
            fs::remove_file(file).expect("it was there");
        }
    }

    fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Every main process so far, oldest first.
    pub(crate) fn mains(&self) -> Vec<i32> {
        self.noted("pids")
    }

    fn noted(&self, name: &str) -> Vec<i32> {
        let text = fs::read_to_string(self.shared.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The noted processes that are alive. The kernel may have given a pid to another process by now: a process of this
    /// service has the service's folder in its command.
    fn running(&self, name: &str) -> Vec<i32> {
        let folder = self.path().display().to_string();
        let is_ours =
            |pid| stayd::sys::process::command_line(pid).is_ok_and(|line| line.contains(&folder));
        let mut pids = self.noted(name);
        pids.retain(|&pid| is_alive(pid) && is_ours(pid));
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Fails with `what` unless one copy with one child runs under `daemon`, no copy ever ran beside another, every line
    /// is in the log, and an ordered stop leaves nothing behind.
    #[track_caller]
    pub(crate) fn assert_whole(&self, mut daemon: Stayd, what: &str) {
        let last = daemon.wait_state("s", "running");
        let main = i32::try_from(last["pid"].as_i64().expect("a pid")).expect("a pid");
        wait_until("both processes have noted their pids", SOON, || {
            self.mains().contains(&main) && !self.running("children").is_empty()
        });
        assert_eq!(
            self.running("children").len(),
            1,
            "{what}\n{}",
            daemon.output()
        );
        assert_eq!(self.running("pids"), [main], "{what}\n{}", daemon.output());
        assert_eq!(
            self.noted("second-copy"),
            [0; 0],
            "{what}\n{}",
            daemon.output()
        );
        assert!(daemon.stop().success(), "{what}\n{}", daemon.output());
        assert_eq!(self.running("pids"), [0; 0], "{what}");
        assert_eq!(self.running("children"), [0; 0], "{what}");
        assert_no_line_is_missing(&daemon, what);
    }
}

/// Within each instance. An instance that ends while no stayd runs may lose its last lines: the kernel drops what is in
/// a FIFO with the last process that holds it.
#[track_caller]
fn assert_no_line_is_missing(daemon: &Stayd, what: &str) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for line in log(daemon).lines() {
        let (life, number) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("torn: {line:?}, {what}"));
        let expected = next.entry(life.to_owned()).or_insert(1);
        assert_eq!(number, expected.to_string(), "life {life}, {what}");
        *expected += 1;
    }
    assert!(!next.is_empty(), "{what}");
}

/// All log files, oldest first.
fn log(daemon: &Stayd) -> String {
    let folder = daemon.state_dir().join("logs/s");
    let older = (1..).map(|age| folder.join(format!("current.log.{age}")));
    let mut files: Vec<_> = older.take_while(|file| file.exists()).collect();
    files.reverse();
    files.push(folder.join("current.log"));
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap_or_default());
    texts.collect()
}
