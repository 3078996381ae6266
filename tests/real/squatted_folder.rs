//! Another user has taken a place in a folder that everybody can write, such as /tmp.

use crate::support::daemon::{SOON, Stayd};
use crate::support::{PYTHON, require_root, tool, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Neither root nor the user of [`Stayd::start_as_another_user`].
const SQUATTER: u32 = 12_345;

const SERVICE: &str = r#"
name = "squatted"
[service.a]
command = ["sleep", "1000"]
sd_notify = true
"#;

/// Listens on a Unix socket and answers as stayd would.
const FORGER: &str = r#"
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
server.listen(16)
body = b'{"schema":1,"services":[],"ok":true}'
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    client.close()
"#;

/// Ends the child when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
}

#[test]
#[ignore = "needs root"]
fn a_client_does_not_trust_the_socket_of_another_user() {
    require_root();
    let daemon =
        Stayd::start_copied("name = \"x\"\n[service.a]\ncommand = [\"sleep\", \"1000\"]\n");
    let folder = tempfile::tempdir().expect("a folder");
    open_to_all(folder.path(), 0o777);
    open_to_all(daemon.dir(), 0o755);
    let state = folder.path().join("squatted");
    fs::create_dir(&state).expect("made");
    chown(&state, Some(SQUATTER), None).expect("given");
    open_to_all(&state, 0o755);
    let socket = state.join("control.sock");
    let forger = tool("setpriv")
        .args([format!("--reuid={SQUATTER}").as_str(), "--clear-groups"])
        .args([PYTHON, "-c", FORGER])
        .arg(&socket)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _forger = Ended(forger.expect("it starts"));
    wait_until("it listens", SOON, || socket.exists());
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups"])
        .arg(daemon.program())
        .args(["status", "--state-dir"])
        .arg(&state)
        .output()
        .expect("it runs");
    let error = String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.code(), Some(77), "{status:?}");
    assert!(
        error.contains(&format!("user {SQUATTER} serves it")),
        "{error}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_squatted_runtime_folder_does_not_keep_stayd_from_starting() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    open_to_all(folder.path(), 0o1777);
    let squatted = folder.path().join("stayd-65534");
    fs::create_dir(&squatted).expect("made");
    chown(&squatted, Some(SQUATTER), None).expect("given");
    let temporary = folder.path().to_owned();
    let daemon = Stayd::start_as_another_user_with(SERVICE, move |command| {
        command.env("TMPDIR", &temporary);
    });
    daemon.wait_service("a", "has a process", |service| service["pid"].is_i64());
    let said = daemon.output();
    assert!(
        said.contains(&format!("it belongs to user {SQUATTER}"))
            && said.contains("meanwhile stayd uses"),
        "{said}"
    );
    assert!(daemon.state_dir().join("run").exists());
}
