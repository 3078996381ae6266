//! The pages of stayd's own program: those that only its start has needed are given back, unless they could not come again.

use super::support::daemon::{SOON, Stayd, binary};
use super::support::disk::Disk;
use super::support::wait_until;
use stayd::sys::process::{age, stat};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::Duration;

const SERVICE: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n";
/// By then everything is given back that is.
const SETTLED: Duration = Duration::from_secs(5);

/// KiB of the program's code that are mapped, by proc(5), smaps.
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

#[test]
fn what_only_the_start_has_needed_is_given_back() {
    let device = |path: &str| fs::metadata(Path::new(path)).expect("there").dev();
    if device(binary()) != device("/") {
        println!("skipped: the program is not on the disk of the system");
        return;
    }
    let daemon = Stayd::start(SERVICE);
    let at_the_start = code_kib(&daemon); // at once: some seconds later it is too late
    wait_until("half of the code is given back", SOON, || {
        code_kib(&daemon) < at_the_start / 2
    });
    daemon.wait_state("s", "running");
}

#[test]
fn a_program_whose_disk_may_be_pulled_keeps_what_it_has() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let disk = Disk::tmpfs(400, "mode=755");
    let daemon = Stayd::start_copied_with(SERVICE, |command| {
        let program = Path::new(command.get_program());
        let moved = disk.path().join("stayd");
        fs::copy(program, &moved).expect("copied");
        fs::remove_file(program).expect("removed");
        symlink(moved, program).expect("a link");
    });
    let daemon = daemon.when_open();
    daemon.wait_state("s", "running");
    let at_the_start = code_kib(&daemon);
    let process = stat(daemon.pid()).expect("it runs").process;
    wait_until("it has settled", SOON, || age(process) > SETTLED);
    assert!(code_kib(&daemon) >= at_the_start);
    drop((daemon, disk));
}
