//! stayd's own surroundings: its descriptors, its place in the process tree, and what others do to its streams.

use super::faults::{clinic, pid};
use super::support::daemon::{SOON, Stayd, binary, is_alive};
use super::support::launchd_rehearsal::{End, Rehearsal, shell_job};
use super::support::{TempDir, free_port, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

const SLEEPER: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nbackoff = { min = \"0s\" }\nstop = { grace = \"300ms\" }\ngive_up = { exits = 1000, within = \"5m\" }\n";

#[test]
fn item_92_closed_streams_end_nothing() {
    let mut daemon = Stayd::start_with(SLEEPER, |command| {
        // SAFETY: close(2) is async-signal-safe, and these are the child's own.
        #[expect(unsafe_code, reason = "the child closes its streams before exec")]
        unsafe {
            command.pre_exec(|| {
                (0..3).try_for_each(nix::unistd::close)?;
                Ok(())
            });
        }
    });
    let main = pid(&daemon.wait_state("s", "running"));
    kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
    daemon.wait_service("s", "its next life", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn item_92_a_reader_of_its_messages_that_has_gone_ends_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut daemon = Stayd::start_with(SLEEPER, |command| {
        command.stdout(writer.try_clone().expect("a descriptor"));
        command.stderr(writer);
    });
    let main = pid(&daemon.wait_state("s", "running"));
    drop(reader);
    kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
    daemon.wait_service("s", "its next life", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn item_92_a_reader_of_its_messages_that_sleeps_holds_nothing_up() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    #[cfg(target_os = "linux")]
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).expect("a small one");
    let flapping = "[service.s]\ncommand = [\"false\"]\nbackoff = { min = \"0s\", max = \"1ms\" }\ngive_up = { exits = 1000, within = \"1ms\" }\n";
    let mut daemon = Stayd::start_with(flapping, |command| {
        command.stderr(writer);
    });
    // Far more messages than a pipe holds, and nobody reads one of them.
    let lives = if cfg!(target_os = "linux") { 100 } else { 500 };
    daemon.wait_service("s", "many lives", |service| {
        service["life"].as_u64().is_some_and(|life| life > lives)
    });
    assert_eq!(daemon.stop().code(), Some(0));
    drop(reader);
}

#[test]
fn item_92_a_hangup_does_not_end_a_supervised_stayd() {
    let daemon = Stayd::start_supervised(SLEEPER);
    let main = pid(&daemon.wait_state("s", "running"));
    daemon.signal(libc::SIGHUP);
    // A wish that is carried out after it: the hangup has been taken by then.
    let restarted = daemon.client(&["restart", "s"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert_ne!(pid(&daemon.wait_state("s", "running")), main);
}

/// A terminal's window, and its inside; no other test's child inherits either.
#[cfg(target_os = "linux")]
fn terminal() -> (nix::pty::PtyMaster, fs::File) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let window = nix::pty::posix_openpt(nix::fcntl::OFlag::from_bits_retain(flags));
    let window = window.expect("a terminal");
    nix::pty::grantpt(&window).expect("ours");
    nix::pty::unlockpt(&window).expect("open");
    let path = nix::pty::ptsname_r(&window).expect("its name");
    let inside = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)
        .expect("its inside");
    (window, inside)
}

/// A terminal whose window is closed: stayd hears SIGHUP, and can neither write nor read there any more.
#[test]
#[cfg(target_os = "linux")]
fn item_92_a_terminal_that_closes_ends_everything_in_order() {
    let (window, inside) = terminal();
    let talker = "[service.t]\ncommand = [\"sh\", \"-c\", \"while :; do echo word; sleep 0.01; done\"]\nstop = { grace = \"300ms\" }\n";
    let mut daemon = Stayd::start_with(&format!("{SLEEPER}{talker}"), move |command| {
        let stream = || inside.try_clone().expect("a descriptor");
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: both calls are async-signal-safe, and about the child itself.
        #[expect(unsafe_code, reason = "the child takes the terminal before exec")]
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
    });
    let mains = ["s", "t"].map(|name| pid(&daemon.wait_state(name, "running")));
    let status = daemon.client(&["status", "--json"]);
    assert!(status.out.contains("\"terminal\""), "{status:?}");
    let mut shown = [0; 4096];
    nix::unistd::read(&window, &mut shown).expect("it talks there");
    drop(window);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!mains.into_iter().any(is_alive), "nothing is left");
}

#[test]
fn item_94_as_the_first_process_it_reaps_strangers_and_stops_in_order() {
    let orphans = "[service.o]\ncommand = [\"sh\", \"-c\", \"while :; do (sleep 0.05 &) ; sleep 0.02; done\"]\n";
    let config = format!("{SLEEPER}{orphans}");
    let mut daemon = Stayd::start_with(&config, |command| {
        let mut wrapped = Command::new("unshare");
        wrapped
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().expect("its folder"));
        let said = command.get_current_dir().expect("its folder").join("said");
        let said = fs::File::create(said).expect("a file");
        wrapped
            .stdout(said.try_clone().expect("a file"))
            .stderr(said);
        *command = wrapped;
    });
    daemon.wait_state("s", "running");
    daemon.wait_state("o", "running");
    let first = stayd::sys::process::children(daemon.pid()).expect("/proc")[0];
    let mains = stayd::sys::process::children(first).expect("/proc");
    let clock = Instant::now();
    wait_until("many orphans have come and gone", SOON, || {
        clock.elapsed() > Duration::from_secs(2)
    });
    let zombies = stayd::sys::process::children(first)
        .expect("/proc")
        .into_iter()
        .filter(|&pid| !is_alive(pid))
        .count();
    assert!(zombies < 10, "{zombies} zombies");
    kill(Pid::from_raw(first), Signal::SIGTERM).expect("a signal");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.said());
    assert!(!mains.into_iter().any(is_alive));
}

#[test]
fn item_95_rounds_and_respawns_leak_neither_descriptors_nor_threads() {
    let port = free_port();
    let config = clinic("s", port, "", "")
        .replace("200ms", "50ms")
        .replace("failures = 3", "failures = 20")
        .replace(
            "backoff = { min = \"10ms\" }",
            "backoff = { min = \"0s\" }\ngive_up = { exits = 1000, within = \"5m\" }",
        );
    // Each round of this one leaves a line.
    let counted = "[service.counted]\ncommand = [\"sleep\", \"1000000\"]\n[service.counted.watchdog]\nprobe = \"exec:sh -c 'echo x >> DIR/rounds'\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nfailures = 1000\n";
    let daemon = Stayd::start(&format!("{config}{counted}"));
    let attempts =
        || fs::read_to_string(daemon.dir().join("rounds")).map_or(0, |said| said.lines().count());
    let count = |what: &str| {
        fs::read_dir(format!("/proc/{}/{what}", daemon.pid()))
            .expect("/proc")
            .count()
    };
    let live = |life: u64| {
        let service = daemon.wait_service("s", "alive", |service| {
            service["life"] == life
                && service["state"] == "running"
                && service["probes"][0]["class"] == "alive"
        });
        pid(&service)
    };
    let mut main = live(1);
    let mut figures = (0, 0);
    for life in 2..22 {
        kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
        main = live(life);
        if life == 4 {
            figures = (count("fd"), count("task"));
        }
    }
    let before = attempts();
    wait_until("two hundred rounds more", SOON * 4, || {
        attempts() >= before + 200
    });
    assert_eq!(daemon.service("counted")["life"], 1);
    wait_until("as many descriptors and threads as before", SOON, || {
        // A round or a client under way has a few of its own.
        count("fd") <= figures.0 + 3 && count("task") <= figures.1 + 2
    });
}

#[test]
fn item_44_a_grandchild_that_holds_the_log_delays_nobody() {
    let config = "[service.s]\ncommand = [\"sh\", \"-c\", \"echo said; setsid sleep 76541 & exec sleep 1000000\"]\nkill = \"group\"\nbackoff = { min = \"10ms\" }\nstop = { grace = \"300ms\" }\nlog = { to = \"file\" }\n";
    let daemon = Stayd::start(config);
    let main = pid(&daemon.wait_state("s", "running"));
    wait_until("the grandchild is there", SOON, || {
        !stayd::sys::process::children(main)
            .unwrap_or_default()
            .is_empty()
    });
    let holder = stayd::sys::process::children(main).expect("/proc")[0];
    kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
    let next = daemon.wait_service("s", "its next life", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    wait_until("the holder is named", SOON, || {
        daemon.said().contains(&format!(
            "pid {holder} outside instance 1 still holds its output"
        ))
    });
    // A group's kill leaves both of them behind, as it is asked to.
    let others = || stayd::sys::process::children(pid(&next)).unwrap_or_default();
    wait_until("the next one is there", SOON, || !others().is_empty());
    let others = others();
    drop(daemon);
    for left in others.into_iter().chain([holder]) {
        let _ = kill(Pid::from_raw(left), Signal::SIGKILL);
    }
}

#[test]
fn item_71_under_launchd_it_starts_bare_stays_and_stops_within_its_five_seconds() {
    let dir = TempDir::new();
    let (config, state) = (dir.join("stayd.toml"), dir.join("state"));
    fs::write(&config, SLEEPER).expect("the configuration");
    let script = format!(
        "exec {} --foreground -c {} --state-dir {}",
        binary(),
        config.display(),
        state.display()
    );
    let keys = [("KeepAlive", true.into())];
    let job = Rehearsal::bootstrap(&shell_job(&script, &dir.join("said"), &keys));
    let claim = state.join("claims/s.json");
    wait_until("the service is claimed", SOON, || claim.exists());
    let ours = job.pid().expect("it runs");
    let mut main = 0;
    wait_until("the service runs", SOON, || {
        let children = stayd::sys::process::children(ours).unwrap_or_default();
        main = children
            .into_iter()
            .find(|&pid| stayd::sys::process::stat(pid).is_ok_and(|stat| stat.comm == "sleep"))
            .unwrap_or(0);
        main != 0
    });
    assert_eq!(job.runs().len(), 1, "never throttled");
    let began = Instant::now();
    assert_eq!(job.bootout(), End::Orderly);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!is_alive(main), "no orphan");
}
