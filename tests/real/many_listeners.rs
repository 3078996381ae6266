//! Thousands of listeners of another user on a service's port, at another address, cost the loop nothing.

use super::many_processes::cpu_of_loop;
use super::support::daemon::{SOON, Stayd};
use super::support::{PYTHON, free_port, wait_until};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The listeners on the port at an address that the service does not use.
const LISTENERS: usize = 10_000;
/// The attempts during which the CPU time of the loop's thread is measured.
const ATTEMPTS: u64 = 20;
/// The most CPU time of the loop's thread for one of them: 2 ms were seen, and 23 where it lists the listeners.
const CPU_MAX: Duration = Duration::from_millis(10);

/// Opens the listeners; SO_REUSEPORT lets them share the address.
const CROWD: &str = "import resource, socket, sys, time\n\
                     count, port = int(sys.argv[1]), int(sys.argv[2])\n\
                     hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                     resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
                     crowd = []\n\
                     for _ in range(count):\n\
                     \x20 one = socket.socket()\n\
                     \x20 one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n\
                     \x20 one.bind(('127.9.9.9', port))\n\
                     \x20 one.listen(1)\n\
                     \x20 crowd.append(one)\n\
                     print('open', flush=True)\n\
                     time.sleep(1000000)\n";

/// The process with the listeners; killed when dropped.
struct Crowd(Child);

impl Crowd {
    fn on(port: u16) -> Self {
        let mut command = Command::new(PYTHON);
        command.args(["-c", CROWD, &LISTENERS.to_string(), &port.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let output = child.stdout.take().expect("piped");
        let crowd = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "open\n");
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

/// A service that answers and counts its requests in DIR/attempts.
fn counting_service(port: u16) -> String {
    format!(
        "import http.server\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n\
         \x20 def do_GET(self):\n\
         \x20   open('DIR/attempts', 'a').write('x')\n\
         \x20   self.send_response(204)\n\
         \x20   self.end_headers()\n\
         http.server.HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()\n"
    )
}

#[test]
fn thousands_of_foreign_listeners_on_the_port_cost_the_loop_no_time() {
    let port = free_port();
    let command = serde_json::to_string(&[PYTHON, "-c", &counting_service(port)]);
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = {}\nport = {port}\n\
         [service.s.watchdog]\nprobe = \"http://127.0.0.1:{port}/\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         mode = \"shadow\"\n",
        command.expect("JSON is TOML here")
    ));
    daemon.wait_service("s", "its probe is answered", |s| s["healthy"] == true);
    let _crowd = Crowd::on(port);
    let attempts = || {
        let counted = fs::metadata(daemon.dir().join("attempts"));
        counted.map_or(0, |file| file.len())
    };
    let begin = attempts() + 1;
    wait_until("an attempt begins", SOON, || attempts() >= begin);
    let before = cpu_of_loop(&daemon);
    wait_until("more attempts", SOON, || attempts() >= begin + ATTEMPTS);
    let used = cpu_of_loop(&daemon) - before;
    let most = CPU_MAX * u32::try_from(ATTEMPTS).expect("few");
    assert!(used < most, "{used:?} of {most:?}");
}
