//! stayd as a process: its standard streams, its terminal, its descriptors and threads, as pid 1, under launchd.

use super::support::daemon::{SOON, Stayd, binary, is_alive};
use super::support::launchd_simulator::{End, SimulatedJob, shell_job};
use super::support::service::pid;
use super::support::watchdog::watched_service;
use super::support::{TempDir, free_port, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt as _;

const SLEEPER: &str = "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nbackoff = { min = \"0s\" }\nstop = { grace = \"300ms\" }\ngive_up = { exits = 1000, within = \"5m\" }\n";

#[test]
fn closed_standard_streams_end_nothing() {
    let mut daemon = Stayd::start_with(SLEEPER, |command| {
        // SAFETY: close(2) is async-signal-safe, and these are the child's own descriptors.
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
    daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_closed_pipe_on_its_standard_streams_ends_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut daemon = Stayd::start_with(SLEEPER, |command| {
        command.stdout(writer.try_clone().expect("a descriptor"));
        command.stderr(writer);
    });
    let main = pid(&daemon.wait_state("s", "running"));
    drop(reader);
    kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
    daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_full_pipe_on_stderr_blocks_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    #[cfg(target_os = "linux")]
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).expect("a small one");
    let flapping = "[service.s]\ncommand = [\"false\"]\nbackoff = { min = \"0s\", max = \"1ms\" }\ngive_up = { exits = 1000, within = \"1ms\" }\n";
    let mut daemon = Stayd::start_with(flapping, |command| {
        command.stderr(writer);
    });
    // far more messages than the pipe holds, and no process reads them
    let instances = if cfg!(target_os = "linux") { 100 } else { 500 };
    daemon.wait_service("s", "many instances", |service| {
        service["life"]
            .as_u64()
            .is_some_and(|life| life > instances)
    });
    assert_eq!(daemon.stop().code(), Some(0));
    drop(reader);
}

#[test]
fn sighup_does_not_end_a_supervised_stayd() {
    let daemon = Stayd::start_supervised(SLEEPER);
    let main = pid(&daemon.wait_state("s", "running"));
    daemon.signal(libc::SIGHUP);
    // the restart is carried out after the signal has been handled
    let restarted = daemon.client(&["restart", "s"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert_ne!(pid(&daemon.wait_state("s", "running")), main);
}

/// Both sides of a pseudoterminal, close-on-exec so that no other test's child inherits them.
#[cfg(target_os = "linux")]
fn terminal() -> (nix::pty::PtyMaster, fs::File) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let master = nix::pty::posix_openpt(nix::fcntl::OFlag::from_bits_retain(flags));
    let master = master.expect("a terminal");
    nix::pty::grantpt(&master).expect("ours");
    nix::pty::unlockpt(&master).expect("open");
    let path = nix::pty::ptsname_r(&master).expect("its name");
    let slave = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)
        .expect("its slave side");
    (master, slave)
}

/// When the master side is closed, stayd gets SIGHUP, and reading and writing fail.
#[test]
#[cfg(target_os = "linux")]
fn a_closed_terminal_stops_everything_in_order() {
    let (master, slave) = terminal();
    let talker = "[service.t]\ncommand = [\"sh\", \"-c\", \"while :; do echo word; sleep 0.01; done\"]\nstop = { grace = \"300ms\" }\n";
    let mut daemon = Stayd::start_with(&format!("{SLEEPER}{talker}"), move |command| {
        let stream = || slave.try_clone().expect("a descriptor");
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: both calls are async-signal-safe, and concern only the child itself.
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
    nix::unistd::read(&master, &mut shown).expect("it writes there");
    drop(master);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!mains.into_iter().any(is_alive), "nothing is left");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn as_pid_1_it_reaps_orphans_and_stops_in_order_on_the_stop_signal_of_an_image() {
    super::support::require_root();
    let orphans = "[service.o]\ncommand = [\"sh\", \"-c\", \"while :; do (sleep 0.05 &) ; echo x >> DIR/orphans; sleep 0.02; done\"]\n";
    let config = format!("{SLEEPER}{orphans}");
    let mut daemon = Stayd::start_with(&config, |command| {
        let mut wrapped = super::support::tool("unshare");
        wrapped
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().expect("its folder"));
        let output = command
            .get_current_dir()
            .expect("its folder")
            .join("output");
        let output = fs::File::create(output).expect("a file");
        wrapped
            .stdout(output.try_clone().expect("a file"))
            .stderr(output);
        *command = wrapped;
    });
    daemon.wait_state("s", "running");
    daemon.wait_state("o", "running");
    let first = stayd::sys::process::children(daemon.pid()).expect("/proc")[0];
    let mains = stayd::sys::process::children(first).expect("/proc");
    let orphans = daemon.dir().join("orphans");
    wait_until("many orphans have ended", SOON, || {
        fs::read_to_string(&orphans).is_ok_and(|text| text.lines().count() > 60)
    });
    let zombies = stayd::sys::process::children(first)
        .expect("/proc")
        .into_iter()
        .filter(|&pid| !is_alive(pid))
        .count();
    assert!(zombies < 10, "{zombies} zombies");
    send(first, libc::SIGRTMIN() + 3); // systemd's stop signal as the first process of an image
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.output());
    assert!(!mains.into_iter().any(is_alive));
}

/// Sends any signal, also one that has no name.
fn send(pid: i32, signal: i32) {
    #[expect(unsafe_code, reason = "kill(2) with a real-time signal")]
    // SAFETY: the call takes only numbers, and the process is one of this test's.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn quit_is_the_ordered_stop_and_no_other_signal_ends_stayd_without_its_services() {
    let mut daemon = Stayd::start(SLEEPER);
    let main = pid(&daemon.wait_state("s", "running"));
    for signal in stayd::sys::signal::ending_signals() {
        send(daemon.pid(), signal);
    }
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
    send(daemon.pid(), libc::SIGQUIT);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.output());
    assert!(!is_alive(main));
}

#[test]
fn probe_attempts_and_restarts_leak_neither_descriptors_nor_threads() {
    let port = free_port();
    let config = watched_service("s", port, "", "")
        .replace("200ms", "50ms")
        .replace("failures = 3", "failures = 20")
        .replace(
            "backoff = { min = \"10ms\" }",
            "backoff = { min = \"0s\" }\ngive_up = { exits = 1000, within = \"5m\" }",
        );
    // each attempt of this probe writes a line
    let counted = "[service.counted]\ncommand = [\"sleep\", \"1000000\"]\n[service.counted.watchdog]\nprobe = \"exec:sh -c 'echo x >> DIR/attempts'\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nfailures = 1000\n";
    let daemon = Stayd::start(&format!("{config}{counted}"));
    let attempts =
        || fs::read_to_string(daemon.dir().join("attempts")).map_or(0, |text| text.lines().count());
    let count = |what: &str| {
        fs::read_dir(format!("/proc/{}/{what}", daemon.pid()))
            .expect("/proc")
            .count()
    };
    let wait_alive = |life: u64| {
        let service = daemon.wait_service("s", "alive", |service| {
            service["life"] == life
                && service["state"] == "running"
                && service["probes"][0]["class"] == "alive"
        });
        pid(&service)
    };
    let mut main = wait_alive(1);
    let mut baseline = (0, 0);
    for life in 2..22 {
        kill(Pid::from_raw(main), Signal::SIGKILL).expect("a signal");
        main = wait_alive(life);
        if life == 4 {
            baseline = (count("fd"), count("task"));
        }
    }
    let before = attempts();
    wait_until("two hundred more attempts", SOON * 4, || {
        attempts() >= before + 200
    });
    assert_eq!(daemon.service("counted")["life"], 1);
    wait_until("as many descriptors and threads as before", SOON, || {
        // a running attempt or client has a few of its own
        count("fd") <= baseline.0 + 3 && count("task") <= baseline.1 + 2
    });
}

#[test]
fn under_launchd_it_stays_and_stops_within_the_default_exit_timeout() {
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
    let job = SimulatedJob::bootstrap(&shell_job(&script, &dir.join("output"), &keys));
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
    assert_eq!(job.bootout(), End::Orderly, "not killed after 5 s");
    assert!(!is_alive(main), "no orphan");
}

#[test]
fn neither_sigpipe_nor_sighup_without_a_terminal_ends_stayd() {
    let daemon = Stayd::start(SLEEPER);
    let main = pid(&daemon.wait_state("s", "running"));
    daemon.signal(libc::SIGPIPE);
    assert_eq!(pid(&daemon.wait_state("s", "running")), main);
    daemon.signal(libc::SIGHUP);
    // the restart is carried out after the signal has been handled
    assert_eq!(daemon.client(&["restart", "s"]).code, Some(0));
    assert_ne!(pid(&daemon.wait_state("s", "running")), main);
}
