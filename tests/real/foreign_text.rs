//! Text from outside that holds control sequences and line breaks: what stayd prints to a terminal, a pipe and its log.

use super::support::daemon::{SOON, Stayd, binary};
use super::support::service::{kill, wait_for_child};
use super::support::watchdog::{watched_service, with_python_handler};
use super::support::{TempDir, free_port, http_get, test_service, wait_for, wait_until};
use serde_json::Value;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// Sets the title, clears the screen, forges a row, overwrites a line, and reverses what follows. It has C0, DEL, C1, bidi and
/// line separator characters.
const HOSTILE: &str =
    "\x1b]0;x\x07\x1b[2J\nFORGED row\rFORGED line\x7f\u{9b}31m\u{202e}\u{2066}\u{2028}FORGED";
/// What a text says from which the row above was made.
const FORGED: &str = "FORGED";

/// Fails if a terminal would execute or reorder a part of `text`, or if a line of it was forged.
#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let unprintable = |c: &char| {
        (c.is_control() && *c != '\n')
            || ('\u{202a}'..='\u{202e}').contains(c)
            || ('\u{2066}'..='\u{2069}').contains(c)
            || ('\u{2028}'..='\u{2029}').contains(c)
    };
    let found = text.chars().find(unprintable);
    assert_eq!(found, None, "{what}: {text:?}");
    let forged = text
        .lines()
        .find(|line| line.trim_start().starts_with(FORGED));
    assert_eq!(forged, None, "{what}: {text}");
}

/// Runs each verb with a pipe as stdout; all are harmless, and `shown_in` names the ones that show the hostile text.
#[track_caller]
fn assert_verbs_are_harmless(daemon: &Stayd, verbs: &[&[&str]], shown_in: &[&str]) {
    for verb in verbs {
        let answer = daemon.client(verb);
        assert_harmless(&format!("{verb:?}"), &answer.out);
        assert_harmless(&format!("{verb:?}, stderr"), &answer.err);
        if shown_in.contains(&verb[0]) {
            assert!(answer.out.contains(FORGED), "{verb:?}: {answer:?}");
        }
    }
}

/// `text` for a string literal of Python, which may stand in a string of TOML.
fn in_python(text: &str) -> String {
    text.chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect()
}

/// A process with a hostile command line and name that listens on `port`, and its child; both are killed when dropped.
struct Holder {
    main: Child,
    child: i32,
    _folder: TempDir,
}

impl Holder {
    fn on(port: u16) -> Self {
        let folder = TempDir::new();
        // The kernel's name of a process is the beginning of the name of its file.
        let program = folder.join("a\x1b[2J\nFORGED");
        std::os::unix::fs::symlink(test_service(), &program).expect("a link");
        let main = Command::new(program)
            .arg0(HOSTILE)
            .args(["children", "1", "serve", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a server");
        let child = wait_for_child(main.id().cast_signed());
        wait_until("it answers", SOON, || http_get(port, "/").is_ok());
        Self {
            main,
            child,
            _folder: folder,
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        kill(self.child);
        self.main.kill().expect("our child");
        self.main.wait().expect("our child");
    }
}

#[test]
fn the_command_line_of_a_foreign_process_reaches_no_terminal_and_no_log_raw() {
    let port = free_port();
    let holder = Holder::on(port);
    let config = watched_service("web", port, "", "");
    let daemon = Stayd::start(&config);
    let blocked = daemon.wait_service("web", "blocked by the holder", |service| {
        service["state"] == "blocked"
    });
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains(HOSTILE), "JSON is exact: {reason:?}");

    let (at, pid) = (format!(":{port}"), holder.main.id().to_string());
    let child = holder.child.to_string();
    let verbs: &[&[&str]] = &[
        &["status"],
        &["explain", &at],
        &["explain", &pid],
        &["explain", &child],
        &["why", "web"],
        &["events"],
        &["incidents"],
        &["restart", "web"],
    ];
    assert_verbs_are_harmless(&daemon, verbs, &["status", "explain", "events"]);
    assert_harmless("the log", &daemon.output());
    assert!(daemon.output().contains(FORGED), "{}", daemon.output());
    let explained = daemon.client(&["explain", &at, "--json"]).out;
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    let command = explained["processes"][0]["command"].as_str();
    assert!(
        command.is_some_and(|command| command.starts_with(HOSTILE)),
        "{explained}"
    );
}

#[test]
fn a_log_in_json_or_for_the_journal_has_one_line_for_each_message() {
    let port = free_port();
    let _holder = Holder::on(port);
    let config = watched_service("web", port, "", "");
    let log = |format: &str| {
        let daemon = Stayd::start_with(&config, |command| {
            command.args(["--log-format", format]);
        });
        wait_until("the conflict is logged", SOON, || {
            daemon.output().contains(FORGED)
        });
        assert_harmless(format, &daemon.output());
        daemon.output()
    };
    let journal = log("journal");
    assert!(
        journal.lines().all(|line| line.starts_with('<')),
        "{journal}"
    );
    let json = log("json");
    let is_exact = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains(HOSTILE))
    };
    assert!(
        json.lines().filter(|line| is_exact(line)).count() > 0,
        "{json}"
    );
}

/// The evidence is read from a wedged service with hostile names of its threads and files, after hostile output.
#[test]
fn names_files_output_and_status_of_a_service_forge_no_line_of_its_evidence() {
    let port = free_port();
    let (name, status) = (in_python(HOSTILE), in_python(&HOSTILE.replace('\n', " ")));
    let handler = format!(
        "    import socket\n    tell=lambda t:socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).sendto(t.encode(),os.environ['NOTIFY_SOCKET'])\n    \
         tell('READY=1')\n    if self.path=='/wedge':\n      open('/proc/self/comm','w').write('a\\x1b[2J\\nFORGED')\n      \
         global files;files=[open('DIR/x'+\"{name}\",'w') for _ in range(20)]\n      print(\"{status}\",flush=True)\n      \
         tell(\"STATUS={status}\")\n      \
         open('DIR/wedged','w').close();self.send_response(200);self.end_headers();return\n    \
         while os.path.exists('DIR/wedged'): time.sleep(0.05)"
    );
    let config = watched_service("s", port, "sd_notify = true\nrestart = \"never\"", "");
    let daemon = Stayd::start(&with_python_handler(port, &handler, &config));
    let main = daemon.wait_state("s", "running")["pid"].to_string();
    http_get(port, "/wedge").expect("wedged");
    let shown = |id: &u64| daemon.client(&["incidents", &id.to_string(), "--json"]).out;
    let incident = wait_for("a kill with its evidence", SOON, || {
        let events = daemon.events();
        let killed = events.iter().find(|event| event["kind"] == "killed")?;
        let id = killed["id"].as_u64()?;
        shown(&id).contains("20 × ").then_some(id)
    });

    let evidence: Value = serde_json::from_str(&shown(&incident)).expect("JSON");
    let evidence = evidence["evidence"].as_str().expect("text");
    assert_harmless("the evidence itself", evidence);
    let has_line = |part: &str| evidence.lines().any(|line| line.contains(part));
    assert!(
        has_line("pid ") && has_line("(a\\x1b[2J\\nFORGED)"),
        "{evidence}"
    );
    assert!(
        has_line("20 × ") && evidence.contains("of them x\\x1b"),
        "{evidence}"
    );
    assert!(
        has_line("  \\x1b]0;x\\x07\\x1b[2J"),
        "its output: {evidence}"
    );
    let id = incident.to_string();
    let verbs: &[&[&str]] = &[
        &["incidents", &id],
        &["incidents"],
        &["why", "s"],
        &["events"],
        &["status"],
        &["explain", &main],
        &["logs", "s"],
    ];
    assert_verbs_are_harmless(&daemon, verbs, &["logs"]);
    assert_harmless("the log", &daemon.output());
}

#[test]
fn the_body_of_an_http_error_is_escaped_where_it_is_printed() {
    let port = free_port();
    let body = in_python(&HOSTILE.replace(['\n', '\r'], " "));
    let handler = format!(
        "    if os.path.exists('DIR/broken'):\n      self.send_response(503);self.end_headers();self.wfile.write(\"{body}\\n\".encode());return"
    );
    let config = with_python_handler(port, &handler, &watched_service("s", port, "", ""));
    let daemon = Stayd::start(&config);
    daemon.wait_state("s", "running");
    std::fs::write(daemon.dir().join("broken"), "").expect("a file");
    daemon.wait_service("s", "degraded", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains(FORGED))
    });
    let verbs: &[&[&str]] = &[&["status"], &["why", "s"], &["events"], &["incidents"]];
    assert_verbs_are_harmless(&daemon, verbs, &["status"]);
    assert_harmless("the log", &daemon.output());
    let probed = daemon.client(&["probe", &format!("http://127.0.0.1:{port}/query")]);
    assert!(probed.out.contains(FORGED), "{probed:?}");
    assert_harmless("probe", &probed.out);
}

#[test]
fn an_sql_error_is_escaped_where_it_is_printed() {
    let daemon = Stayd::start(&watched_service("s", free_port(), "", ""));
    let database = daemon.dir().join("probed.db");
    rusqlite::Connection::open(&database)
        .and_then(|db| db.execute_batch("CREATE TABLE t (c)"))
        .expect("a database");
    let target = format!("sqlite:{}", database.display());
    let query = format!("SELECT c FROM \"{}\"", HOSTILE.replace('\n', " "));
    let probed = daemon.client(&["probe", &target, "--query", &query]);
    assert!(probed.out.contains("no such table"), "{probed:?}");
    assert_harmless("probe", &probed.out);
}

#[test]
fn the_reason_of_a_hold_is_stored_exactly_and_printed_escaped() {
    let daemon = Stayd::start(&watched_service("s", free_port(), "", ""));
    let held = daemon.client(&["hold", "s", "--for", "10m", "--reason", HOSTILE]);
    assert!(
        held.code == Some(0) && held.out.contains(FORGED),
        "{held:?}"
    );
    assert_harmless("hold", &held.out);
    assert_eq!(daemon.service("s")["hold"]["reason"], HOSTILE);
    let exact = |event: &Value| {
        let message = event["message"].as_str();
        message.is_some_and(|message| message.contains(HOSTILE))
    };
    assert!(daemon.events().iter().any(exact), "{:?}", daemon.events());
    let verbs: &[&[&str]] = &[&["status"], &["why", "s"], &["events"], &["release", "s"]];
    assert_verbs_are_harmless(&daemon, verbs, &["status", "events"]);
    assert_harmless("the log", &daemon.output());
}

/// Two services; `db` writes colors, a forged line of the other service, a tab and a byte that is not UTF-8.
fn writers() -> String {
    let argv = |text: &str| {
        let words = ["sh", "-c", &format!("printf '{text}'; exec sleep 1000")];
        serde_json::to_string(&words).expect("JSON is TOML here")
    };
    format!(
        "[service.db]\ncommand = {}\nlog = {{ to = \"file\" }}\n[service.web]\ncommand = {}\nlog = {{ to = \"file\" }}\n",
        argv("plain\\n\\rweb | FORGED\\n\\033[31mred\\033[2J\\n\\tat x\\n\\377\\n"),
        argv("A is 1\\n")
    )
}

fn wait_for_output(daemon: &Stayd) {
    wait_until("both have written", SOON, || {
        let out = daemon.client(&["logs"]).out;
        out.contains("web | A is 1\n") && out.contains("at x\n")
    });
}

#[test]
fn logs_escapes_what_a_service_writes_and_leaves_plain_text_unchanged() {
    let daemon = Stayd::start(&writers());
    wait_for_output(&daemon);
    let all = daemon.client(&["logs"]).out;
    assert_eq!(
        all,
        "db | plain\ndb | \\rweb | FORGED\ndb | \\x1b[31mred\\x1b[2J\ndb | \tat x\ndb | \u{fffd}\nweb | A is 1\n"
    );
    assert_eq!(daemon.client(&["logs", "web"]).out, "A is 1\n");
    let json = daemon.client(&["logs", "db", "--json"]).out;
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[1]["line"], "\rweb | FORGED", "JSON is exact");
    assert_eq!(lines[2]["line"], "\x1b[31mred\x1b[2J");
}

#[test]
fn logs_raw_prints_the_bytes_that_the_service_wrote() {
    let daemon = Stayd::start(&writers());
    wait_for_output(&daemon);
    let raw = |words: &[&str]| {
        let output = Command::new(binary())
            .args(words)
            .arg("--state-dir")
            .arg(daemon.state_dir())
            .output()
            .expect("a client");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let written: &[u8] = b"plain\n\rweb | FORGED\n\x1b[31mred\x1b[2J\n\tat x\n\xff\n";
    assert_eq!(raw(&["logs", "db", "--raw"]), written);
    assert_eq!(raw(&["logs", "db", "--raw", "-n", "1"]), b"\xff\n");
    let all = raw(&["logs", "--raw", "-n", "1"]);
    assert_eq!(all, b"db | \xff\nweb | A is 1\n");
    let refused = daemon.client(&["logs", "--raw", "--json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// Runs a verb with a terminal of its own as stdout until `last` is printed, and returns what came.
fn on_a_terminal(daemon: &Stayd, words: &[&str], last: &str) -> String {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut child = Command::new(binary())
        .args(words)
        .arg("--state-dir")
        .arg(daemon.state_dir())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(terminal.slave)
        .spawn()
        .expect("a client");
    let (sender, blocks) = mpsc::channel();
    let mut reader = std::fs::File::from(terminal.master);
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(count) = reader.read(&mut block) {
            if sender.send(block[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut shown = Vec::new();
    let text = loop {
        shown.extend(blocks.recv_timeout(SOON).expect("the verb prints"));
        let text = String::from_utf8_lossy(&shown).replace("\r\n", "\n");
        if text.contains(last) {
            break text;
        }
    };
    child.kill().expect("our child");
    child.wait().expect("our child");
    text
}

#[test]
fn a_terminal_shows_the_colors_of_a_service_and_nothing_else_of_its_control_sequences() {
    let daemon = Stayd::start(&writers());
    wait_for_output(&daemon);
    let shown = on_a_terminal(&daemon, &["logs", "-f"], "A is 1\n");
    assert!(
        shown.contains("db | \x1b[0m\x1b[31mred\\x1b[2J\x1b[0m\n"),
        "{shown:?}"
    );
    assert!(shown.contains("db | \x1b[0m\\rweb | FORGED\n"), "{shown:?}");
    let held = daemon.client(&["hold", "db", "--for", "1h", "--reason", HOSTILE]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let events = on_a_terminal(&daemon, &["events", "-f"], "FORGED line");
    let own = without_own_styles(&events);
    assert_harmless("events on a terminal", &own);
    assert!(events.contains("\x1b[2m"), "stayd's own styles: {events:?}");
}

/// `text` without stayd's own styles.
fn without_own_styles(text: &str) -> String {
    ["0", "1", "2", "31", "32", "33"]
        .iter()
        .fold(text.to_owned(), |text, style| {
            text.replace(&format!("\x1b[{style}m"), "")
        })
}
