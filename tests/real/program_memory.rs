//! The pages of stayd's own program: those that only the start needed are given back, unless the kernel could not read
//! them again.

use super::support::daemon::{SOON, Stayd};
use super::support::disk::Disk;
use super::support::{TempDir, wait_until};
use stayd::sys::process::{age, stat};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SERVICE: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n";
/// Age at which stayd has given back the pages that it gives back.
const SETTLED: Duration = Duration::from_secs(5);

/// KiB of the program's code that are resident (proc(5), smaps).
fn code_kib(daemon: &Stayd) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", daemon.pid())).expect("its maps");
    let code = maps
        .split_once("r-xp ")
        .expect("the program comes first")
        .1
        .lines();
    let mut resident = code.filter_map(|line| line.strip_prefix("Rss:"));
    let kib = resident
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A folder on the root file system: only there stayd knows that the program can be read again.
fn folder_on_the_root_file_system() -> TempDir {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let folders = ["/var/tmp", "/tmp", "/opt", "/usr/local", "/root", "/"];
    let made = folders
        .into_iter()
        .map(Path::new)
        .filter(|folder| device(folder) == device(Path::new("/")))
        .find_map(|folder| TempDir::in_folder(folder).ok());
    made.expect("this test needs a writable folder on the root file system, such as /var/tmp")
}

#[test]
fn pages_that_only_the_start_needed_are_given_back() {
    let folder = folder_on_the_root_file_system();
    let daemon = Stayd::start_copied_with(SERVICE, |command| {
        move_program(command, folder.path());
    });
    let daemon = daemon.wait_until_open();
    let at_the_start = code_kib(&daemon); // at once: some seconds later the pages are gone
    wait_until("half of the code is given back", SOON, || {
        code_kib(&daemon) < at_the_start / 2
    });
    daemon.wait_state("s", "running");
}

/// Replaces the copied program by a link to a copy in `folder`.
///
/// Since Linux 6.18 one page fault maps a whole folio of the page cache (filemap_map_folio_range in mm/filemap.c), and on some
/// file systems a folio is as large as the write that filled it. After a copy in pieces of 256 KiB more than half of the code
/// comes back with the few pages that stayd needs, after one in pieces of a page a quarter.
fn move_program(command: &Command, folder: &Path) {
    let program = Path::new(command.get_program());
    let moved = folder.join("stayd");
    let operand = |name: &str, path: &Path| format!("{name}={}", path.display());
    let copied = Command::new("dd")
        .args([operand("if", program), operand("of", &moved)])
        .args(["bs=4096", "status=none"])
        .status();
    assert!(copied.expect("dd").success());
    fs::set_permissions(&moved, Permissions::from_mode(0o755)).expect("executable");
    fs::remove_file(program).expect("removed");
    symlink(moved, program).expect("a link");
}

#[test]
#[ignore = "needs root"]
fn a_program_on_another_file_system_keeps_its_pages() {
    let disk = Disk::tmpfs(400, "mode=755");
    let daemon = Stayd::start_copied_with(SERVICE, |command| {
        move_program(command, disk.path());
    });
    let daemon = daemon.wait_until_open();
    daemon.wait_state("s", "running");
    let at_the_start = code_kib(&daemon);
    let process = stat(daemon.pid()).expect("it runs").process;
    wait_until("it is old enough", SOON, || age(process) > SETTLED);
    assert!(code_kib(&daemon) >= at_the_start);
    drop((daemon, disk));
}
