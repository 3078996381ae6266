//! The advice in error messages: it fits what the user wrote.

use crate::daemon::{run, stayd};
use crate::wait::TempDir;
use std::fs;
use std::net::TcpListener;

/// Runs `line`, in which no argument has a space, and returns (exit status, stderr).
fn refused(line: &str) -> (i32, String) {
    let words: Vec<_> = line.split(' ').collect();
    let (status, out, err) = run(&words);
    assert_eq!(out, "", "{line}");
    (status, err)
}

#[test]
fn a_mistyped_verb_gets_the_nearest_one() {
    for (line, advice) in [
        ("statsu", "'statsu' is not a verb; did you mean `status`?"),
        ("resart db", "did you mean `restart`?"),
        ("log db -f", "did you mean `logs`?"),
        ("--json incident", "did you mean `incidents`?"),
        (
            "config chek",
            "'chek' is not a verb of `stayd config`; did you mean `check`?",
        ),
        ("runtime list", "its verbs are ls, verify, gc,"),
        (
            "npm start",
            "'npm' is not a verb; `stayd --help` lists them. To run it as a service: stayd --foreground -- npm start",
        ),
        ("exec --cwd / true", "stayd exec [OPTIONS] -- true"),
    ] {
        let (status, err) = refused(line);
        assert_eq!(status, 2, "{line}: {err}");
        assert!(err.contains(advice), "{line}: {err}");
        assert!(!err.contains("explain, probe"), "no list: {err}");
    }
}

#[test]
fn a_wrong_option_gets_advice_that_can_be_followed() {
    let probed = "--foreground --probe tcp://127.0.0.1:9";
    for (line, expected) in [
        (
            "--foreground --port eighty -- true",
            "`eighty` is not a whole number; write a whole number from 1 to 65535",
        ),
        (
            "--foreground --port -1 -- true",
            "-1 is out of range; write a whole number",
        ),
        (
            &format!("{probed} --interval 7 -- true"),
            "7 has no unit; write `7s`\n",
        ),
        (
            &format!("{probed} --timeout 0.5 -- true"),
            "0.5 has no unit; write `500ms`\n",
        ),
        (
            "probe 127.0.0.1:80 --timeout 3",
            "has no unit; write `3s` or `3ms`\n",
        ),
        (
            "probe 127.0.0.1:80",
            "URL: cannot use `probe`: it has no scheme; write `http://127.0.0.1:80` or `tcp://127.0.0.1:80`",
        ),
        (
            "probe localhost:80/health",
            "write `http://localhost:80/PATH`\n",
        ),
        ("probe 8080", "or `tcp://127.0.0.1:8080`"),
        ("explain localhost:8010", "write `:8010` for the processes"),
        ("explain nginx", "or the pid of a process"),
        ("logs db -n x", "write a whole number"),
        (
            "incidents last",
            "write the number of an incident; `stayd incidents` lists them",
        ),
        (
            "hold db --for 30 --reason x",
            "cannot hold for 30: it has no unit; write --for 30m or --for 30h",
        ),
    ] {
        let (status, err) = refused(line);
        assert_eq!(status, 2, "{line}: {err}");
        assert!(err.contains(expected), "{line}: {err}");
    }
    let (_, err) = refused("logs --no-such");
    assert!(!err.contains("to pass"), "no such advice: {err}");
}

#[test]
fn a_wrong_value_in_a_file_gets_advice_that_can_be_followed() {
    let folder = TempDir::new();
    let file = folder.join("x.toml");
    for (line, expected) in [
        ("port = '9000'", "write 9000, without quotes"),
        (
            "port = 'http'",
            "expected a whole number, got a string; write a whole number from 1 to 65535, without quotes",
        ),
        ("port = 90000", "90000 is out of range"),
        (
            "watchdog = { probe = 'notify', failures = '5' }",
            "write 5, without quotes",
        ),
        (
            "watchdog = { probe = 'notify', interval = 7 }",
            "7 has no unit; write `7s`, in quotes",
        ),
        (
            "watchdog = { probe = 'notify', interval = '7' }",
            "7 has no unit; write `7s`\n",
        ),
        ("startup = 90", "write startup = { within = \"90s\" }"),
        (
            "log = { max_size = 10 }",
            "10 has no unit; write `10KiB` or `10MiB`, in quotes",
        ),
    ] {
        let text = format!("[service.s]\ncommand = ['true']\n{line}\n");
        fs::write(&file, text).expect("written");
        let (status, out, _) = run(&["config", "check", "-c", file.to_str().expect("UTF-8")]);
        assert_eq!(status, 78, "{line}: {out}");
        assert!(out.contains(expected), "{line}: {out}");
        assert!(!out.contains("8080"), "{line}: {out}");
    }
}

#[test]
fn a_command_line_in_one_word_is_shown_as_words() {
    for words in [
        &["--foreground", "--", "no-such-npm start"][..],
        &["exec", "--", "no-such-npm start"],
        &["exec", "--", "./no-such-npm start"],
    ] {
        let (status, _, err) = run(words);
        assert_eq!(status, 78, "{err}");
        assert!(err.contains("no-such-npm\", \"start\"]"), "{err}");
    }
    for name in ["/nonexistent/x", "no-such-program"] {
        let (_, _, err) = run(&["--foreground", "--", name]);
        assert!(
            err.contains("; correct the ") && !err.contains("install"),
            "{err}"
        );
    }
}

#[test]
fn a_port_that_was_given_as_a_pid_is_pointed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let folder = TempDir::new();
    let ask = |what: &str| {
        let output = stayd(&["explain", what, "--state-dir"])
            .arg(folder.path())
            .output();
        String::from_utf8(output.expect("stayd starts").stdout).expect("UTF-8")
    };
    let out = ask(&port);
    assert!(
        out.contains(&format!("`stayd explain :{port}` explains that one")),
        "{out}"
    );
    drop(listener);
    let no_process = (1..=65535_i32).rev().find(|pid| {
        let listens = stayd::sys::socket::listeners(u16::try_from(*pid).expect("a port"));
        stayd::sys::process::stat(*pid).is_err() && listens.is_ok_and(|found| found.is_empty())
    });
    let number = no_process.expect("a free number").to_string();
    let out = ask(&number);
    assert!(
        out.contains(&format!("`stayd explain :{number}`.")),
        "{out}"
    );
    assert!(!ask(":1").contains("For a TCP port"));
}
