//! A service that counts its own copies and numbers its lines, so that whoever lets stayd die at any moment can see what
//! that has cost.

use super::daemon::{SOON, Stayd, is_alive};
use super::wait::{TempDir, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The lock is held by the whole tree: a child that outlives its life shows as a second copy, too.
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

/// The service `s`, and what it writes down about itself.
pub(crate) struct Census {
    shared: TempDir,
}

impl Census {
    /// Nobody has run yet.
    pub(crate) fn new() -> Self {
        let shared = TempDir::new();
        fs::write(shared.join("fit"), "").expect("a file");
        Self { shared }
    }

    /// Its configuration, without a watchdog; a log file holds `size`, and none is ever dropped in a test's time.
    pub(crate) fn config(&self, size: &str) -> String {
        let script = SERVICE.replace("DIR", &self.path().display().to_string());
        let argv = serde_json::to_string(&["python3", "-c", &script]).expect("JSON is TOML here");
        format!(
            "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"1ms\", max = \"5ms\" }}\n\
             give_up = {{ exits = 1000, within = \"1s\" }}\n\
             [service.s.log]\nto = \"file\"\nmax_size = \"{size}\"\nkeep = 1000\n"
        )
    }

    /// The same, asked whether it is fit; see [`Census::set_fit`].
    pub(crate) fn watched_config(&self) -> String {
        let fit = self.shared.join("fit");
        format!(
            "{}[service.s.watchdog]\nprobe = \"exec:test -e {}\"\ninterval = \"2s\"\ntimeout = \"2s\"\nfailures = 1\n\
             busy_grace = \"0s\"\n",
            self.config("4KiB"),
            fit.display()
        )
    }

    /// What it answers from now on.
    pub(crate) fn set_fit(&self, fit: bool) {
        let file = self.shared.join("fit");
        if fit {
            fs::write(file, "").expect("a file");
        } else {
            fs::remove_file(file).expect("it was there");
        }
    }

    fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Every main process that there was, oldest first.
    pub(crate) fn mains(&self) -> Vec<i32> {
        self.noted("pids")
    }

    fn noted(&self, name: &str) -> Vec<i32> {
        let text = fs::read_to_string(self.shared.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// A number may be somebody else's by now: ours have the census's folder in their command.
    fn instance(&self, name: &str) -> Vec<i32> {
        let folder = self.path().display().to_string();
        let is_ours =
            |pid| stayd::sys::process::command_line(pid).is_ok_and(|line| line.contains(&folder));
        let mut pids = self.noted(name);
        pids.retain(|&pid| is_alive(pid) && is_ours(pid));
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// One copy with one child runs under `daemon`, none was ever beside another, and every line is in the log; then
    /// nothing is left after an ordered end. `what` is said when that is not so.
    #[track_caller]
    pub(crate) fn assert_whole(&self, mut daemon: Stayd, what: &str) {
        let last = daemon.wait_state("s", "running");
        let main = i32::try_from(last["pid"].as_i64().expect("a pid")).expect("a pid");
        wait_until("both have written themselves down", SOON, || {
            self.mains().contains(&main) && !self.instance("children").is_empty()
        });
        assert_eq!(
            self.instance("children").len(),
            1,
            "{what}\n{}",
            daemon.said()
        );
        assert_eq!(self.instance("pids"), [main], "{what}\n{}", daemon.said());
        assert_eq!(
            self.noted("second-copy"),
            [0; 0],
            "{what}\n{}",
            daemon.said()
        );
        assert!(daemon.stop().success(), "{what}\n{}", daemon.said());
        assert_eq!(self.instance("pids"), [0; 0], "{what}");
        assert_eq!(self.instance("children"), [0; 0], "{what}");
        assert_no_line_is_missing(&daemon, what);
    }
}

/// In each life's lines, that is: what a life leaves in its FIFO when it ends while no stayd runs is lost.
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
    let elders = (1..).map(|age| folder.join(format!("current.log.{age}")));
    let mut files: Vec<_> = elders.take_while(|file| file.exists()).collect();
    files.reverse();
    files.push(folder.join("current.log"));
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap_or_default());
    texts.collect()
}
