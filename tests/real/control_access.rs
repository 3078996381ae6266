//! What another user may request over the control socket when its permissions let that user connect.

use super::support::daemon::Stayd;
use super::support::{PYTHON, require_root, tool};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

/// Sends a GET request and prints the status line of the answer.
const GET: &str = "\
import socket,sys
client=socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b'GET %s HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n' % sys.argv[2].encode())
print(client.makefile().readline().strip())
";

/// Runs a command as the user `nobody`.
fn as_nobody(words: &[&str]) -> Output {
    tool("setpriv")
        .args(["--reuid=nobody", "--clear-groups"])
        .args(words)
        .output()
        .expect("setpriv")
}

#[test]
#[ignore = "needs root"]
fn another_user_gets_livez_and_nothing_else() {
    require_root();
    let config = "name = \"closed\"\n[service.a]\ncommand = [\"sleep\", \"1000\"]\n";
    let daemon = Stayd::start_copied(config);
    daemon.wait_state("a", "running");
    let socket = daemon.state_dir().join("control.sock");
    for (path, mode) in [
        (daemon.dir(), 0o755),
        (daemon.state_dir().as_path(), 0o755),
        (socket.as_path(), 0o666),
    ] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("open to every user");
    }
    let socket = socket.to_str().expect("UTF-8");
    let status_line = |target| {
        let answer = as_nobody(&[PYTHON, "-c", GET, socket, target]);
        String::from_utf8_lossy(&answer.stdout).into_owned()
    };
    assert!(status_line("/livez").contains(" 200 "));
    assert!(status_line("/v1/status").contains(" 403 "));

    let (program, state) = (daemon.program(), daemon.state_dir());
    let refused = as_nobody(&[
        program.to_str().expect("UTF-8"),
        "status",
        "--state-dir",
        state.to_str().expect("UTF-8"),
    ]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
}
