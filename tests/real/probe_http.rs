//! The `http://` probe: a status line that can be read is an answer, whenever it comes and whatever follows it.

use crate::support::byte_server::{answering, keeping_open, serve, silent, without_end};
use crate::support::probing::{
    LONG, SHORT, assert_dead, assert_degraded, context, http, probe, prober, with_spawner,
};
use crate::support::{TempDir, free_port, tool, wait_until};
use stayd::act::probe::Prober;
use stayd::config::{Endpoint, Expect, Probe, Target};
use stayd::decide::event::Answer;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

fn at(port: u16) -> Endpoint {
    Endpoint::Tcp("127.0.0.1".into(), port)
}

async fn ask(port: u16) -> Answer {
    prober(&http(at(port), "/")).ask(LONG).await
}

async fn ask_briefly(port: u16) -> Answer {
    prober(&http(at(port), "/")).ask(SHORT).await
}

#[tokio::test(flavor = "current_thread")]
async fn http_statuses_are_alive_or_degraded() {
    let ok = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(ask(ok).await, Answer::Alive);
    let busy = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nloading\nmore");
    assert_eq!(
        ask(busy).await,
        Answer::Degraded {
            said: "answered 503 Service Unavailable: loading".into(),
            starting: true
        }
    );
    let failing = answering("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(
        ask(failing).await,
        Answer::Degraded {
            said: "answered 500 Internal Server Error".into(),
            starting: false
        }
    );
    let expected = Probe {
        expect: Expect(vec![(200, 299), (500, 500)]),
        ..http(at(failing), "/")
    };
    assert_eq!(prober(&expected).ask(LONG).await, Answer::Alive);
}

/// Each of these is a success for curl: it prints 200 and exits with 0.
#[tokio::test(flavor = "current_thread")]
async fn an_odd_response_with_a_readable_status_line_is_alive() {
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nok");
    for response in [
        "HTTP/1.1 200 OK\r\nx-folded: one\r\n  two\r\n\tthree\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-blank : y\r\ncontent-length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nno colon here\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nserver: x\r\n",
        "HTTP/1.1 200 OK\r\nserver: cut in the mid",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nbody up to the end of the connection",
        "HTTP/2 200\r\n\r\n",
        "http/1.1 200 ok\r\n\r\n",
        "HTTP/1.1 200 \u{2713} r\u{e9}ussi\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nx-trailer: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n gzip, Chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        &many,
    ] {
        let server = answering(response);
        assert_eq!(ask(server).await, Answer::Alive, "{response:?}");
    }
}

/// The end of each of these responses is known without the end of the connection.
#[tokio::test(flavor = "current_thread")]
async fn a_response_ends_at_its_length_its_last_chunk_or_its_head() {
    for response in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let server = keeping_open(response);
        let shown = response.escape_ascii();
        assert_eq!(ask(server).await, Answer::Alive, "{shown}");
    }
    let switched = keeping_open(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
    assert_degraded(&ask(switched).await, &["answered 101 Switching Protocols"]);
}

/// For each of these curl prints 200 and exits with an error.
#[tokio::test(flavor = "current_thread")]
async fn a_response_that_is_cut_short_or_malformed_after_its_status_line_is_degraded() {
    for (response, flaw) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            "answered 200 OK, then truncated after 4 bytes of its body",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\nhalf",
            "answered 200 OK, then truncated after 4 bytes of its body",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhalf\r\n",
            "answered 200 OK, then a malformed chunk",
        ),
        (
            "HTTP/1.1 200 OK",
            "answered 200 OK, then truncated in its status line",
        ),
        (
            "HTTP/1.1 503 Busy\r\ncontent-length: 90\r\n\r\nlater",
            "answered 503 Busy: later",
        ),
    ] {
        assert_degraded(&ask(answering(response)).await, &[flaw]);
    }
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    assert_degraded(
        &ask(answering(long_head)).await,
        &["answered 200 OK, then a head of more than 64 KiB"],
    );
}

#[tokio::test(flavor = "current_thread")]
async fn an_answered_response_that_does_not_end_is_degraded_at_the_deadline() {
    for response in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nserver: x\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ] {
        assert_degraded(
            &ask_briefly(keeping_open(response)).await,
            &["answered 200 OK, then the response did not end within 300 ms"],
        );
    }
    let busy = keeping_open(b"HTTP/1.1 503 Service Unavailable\r\n\r\nlater");
    assert_eq!(
        ask_briefly(busy).await,
        Answer::Degraded {
            said: "answered 503 Service Unavailable: later, then the response did not end within 300 ms"
                .into(),
            starting: true
        }
    );
}

#[tokio::test(flavor = "current_thread")]
async fn an_endless_body_is_read_up_to_a_bound_and_alive() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = without_end(chunked.as_bytes(), b"4\r\nmore\r\n");
    assert_eq!(ask(server).await, Answer::Alive);
    let server = without_end(b"HTTP/1.0 200 OK\r\n\r\n", b"more");
    assert_eq!(ask(server).await, Answer::Alive);
}

/// Without a bound the probe reads for as long as its timeout, with all of a core.
#[tokio::test(flavor = "current_thread")]
async fn endless_informational_responses_are_dead_long_before_the_deadline() {
    let began = Instant::now();
    let server = without_end(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_dead(&ask(server).await, &["endless 1xx responses"]);
    let server = without_end(b"HTTP/1.1 100 Continue\r\n", b"x: y\r\n");
    assert_dead(&ask(server).await, &["endless 1xx responses"]);
    let server = without_end(b"", b"\r\n");
    assert_dead(&ask(server).await, &["not HTTP"]);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_is_silent_closes_early_speaks_no_http_or_refuses_is_dead() {
    assert_dead(
        &ask_briefly(silent()).await,
        &["timed out after 300 ms waiting for the HTTP response"],
    );
    let hinting = keeping_open(b"HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_dead(
        &ask_briefly(hinting).await,
        &["timed out after 300 ms waiting for the HTTP response"],
    );
    for (response, how) in [
        ("", "closed the connection early (before a status line)"),
        ("HTT", "closed the connection early (after 3 bytes)"),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            "closed the connection early (after 25 bytes)",
        ),
        ("+PONG\r\n+PONG\r\n", "not HTTP: \"+PONG\""),
        ("HTTP/1.1 20 OK\r\n\r\n", "not HTTP: \"HTTP/1.1 20 OK\""),
        ("HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        ("HTTP/x.y 200 OK\r\n\r\n", "not HTTP"),
        ("<html>moved</html>", "not HTTP: \"<html>moved</html>\""),
        // What a TLS server and an HTTP/2 server answer to an HTTP/1.1 request: an alert, and a SETTINGS frame.
        (
            "\u{15}\u{3}\u{1}\0\u{2}\u{2}F",
            r#"not HTTP: "\x15\x03\x01\x00\x02\x02F""#,
        ),
        (
            "\0\0\u{12}\u{4}\0\0\0\0\0",
            r#"not HTTP: "\x00\x00\x12\x04"#,
        ),
    ] {
        assert_dead(&ask(answering(response)).await, &[how]);
    }
    assert_dead(
        &ask(answering("z".repeat(100_000))).await,
        &["not HTTP: \"zzz"],
    );
    assert_dead(&ask(free_port()).await, &["refuse"]);
}

/// Asks a server that sends `answer` before the request is written, and then keeps the connection open or closes it.
async fn ask_after_the_answer(answer: &[u8], keep_open: bool) -> Answer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut prober = prober(&http(at(port), "/"));
    let mut attempt = std::pin::pin!(prober.ask(LONG));
    // The first poll connects. The answer arrives before the second poll.
    let pending = std::future::poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx).is_pending()));
    assert!(
        pending.await,
        "the connection is not complete after one poll"
    );
    let (mut stream, _) = listener.accept().expect("the prober connects");
    stream.write_all(answer).expect("the answer is sent");
    let open = keep_open.then_some(stream);
    let answer = attempt.await;
    drop(open);
    answer
}

/// A server that sheds load answers at accept, without reading a request.
#[tokio::test(flavor = "current_thread")]
async fn an_answer_that_comes_before_the_request_is_an_answer() {
    for keep_open in [true, false] {
        let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nbusy\n";
        let answer = ask_after_the_answer(busy, keep_open).await;
        assert_degraded(&answer, &["answered 503 Service Unavailable: busy"]);
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(ask_after_the_answer(ok, keep_open).await, Answer::Alive);
    }
}

/// On a Unix socket a request to a server that has closed fails at once, with EPIPE.
#[tokio::test(flavor = "current_thread")]
async fn an_answer_is_read_although_the_request_cannot_be_sent() {
    let dir = TempDir::new();
    let path = dir.join("s");
    let listener = UnixListener::bind(&path).expect("a socket");
    for answer in ["HTTP/1.1 200 OK\r\n\r\n", ""] {
        let mut prober = prober(&http(Endpoint::Unix(path.clone()), "/"));
        let mut attempt = std::pin::pin!(prober.ask(LONG));
        let once = std::future::poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx).is_pending()));
        assert!(once.await, "the connection is not complete after one poll");
        let (mut stream, _) = listener.accept().expect("the prober connects");
        stream
            .write_all(answer.as_bytes())
            .expect("the answer is sent");
        drop(stream);
        let outcome = attempt.await;
        if answer.is_empty() {
            let how = "connection reset while waiting for the HTTP response";
            assert_dead(&outcome, &[how]);
        } else {
            assert_eq!(outcome, Answer::Alive);
        }
    }
}

/// SSH, SMTP and MySQL greet like this.
#[tokio::test(flavor = "current_thread")]
async fn a_greeting_of_another_protocol_is_dead_and_quoted() {
    for keep_open in [true, false] {
        let greeting = b"SSH-2.0-OpenSSH_9.2p1\r\n";
        let answer = ask_after_the_answer(greeting, keep_open).await;
        assert_dead(&answer, &["not HTTP: \"SSH-2.0-OpenSSH_9.2p1\""]);
    }
}

/// The request is unread when the server closes its socket, so that its kernel resets the connection.
#[tokio::test(flavor = "current_thread")]
async fn a_503_before_a_reset_is_an_answer_each_time() {
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\r\nbusy\n";
    let at_accept = serve(|mut stream| {
        let _ = stream.write_all(BUSY);
    });
    let before_the_read = serve(|mut stream| {
        let _ = stream.peek(&mut [0]);
        let _ = stream.write_all(BUSY);
    });
    for _ in 0..100 {
        for port in [at_accept, before_the_read] {
            let answer = ask(port).await;
            assert_degraded(&answer, &["answered 503 Service Unavailable: busy"]);
        }
    }
    let resetting = serve(|stream| {
        let _ = stream.peek(&mut [0]);
    });
    assert_dead(
        &ask(resetting).await,
        &["connection reset while waiting for the HTTP response"],
    );
}

/// The server sheds load with a reset, which may arrive before stayd has noticed that it is connected.
#[tokio::test(flavor = "current_thread")]
async fn a_503_before_a_reset_without_delay_is_an_answer_each_time() {
    let shedding = serve(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &at_once)
            .expect("set");
    });
    for _ in 0..300 {
        assert_degraded(&ask(shedding).await, &["answered 503 Service Unavailable"]);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn http_credentials_are_sent_and_not_shown() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let seen = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = vec![0; 4096];
        let count = stream.read(&mut request).expect("a request");
        let request = String::from_utf8_lossy(&request[..count]).into_owned();
        let echo = request.lines().find(|line| line.contains("Basic"));
        let padding = "x".repeat(120);
        write!(
            stream,
            "HTTP/1.1 401 no open sesame\r\n\r\nno user with open sesame, sent {} {padding}open sesame",
            echo.unwrap_or_default()
        )
        .expect("the answer is sent");
        request
    });
    let target = Target::Http {
        at: at(port),
        host: "db.example".into(),
        path: "/health?deep=1".into(),
        credentials: Some("Aladdin:open sesame".into()),
    };
    let answer = prober(&probe(target)).ask(LONG).await;
    assert_degraded(
        &answer,
        &["answered 401 no ***: no user with ***, sent", "Basic ***"],
    );
    let said = format!("{answer:?}");
    assert!(!said.contains("open") && !said.contains("QWxh"), "{said}");
    let request = seen.join().expect("the server saw a request");
    let request = request.to_ascii_lowercase();
    assert!(
        request.starts_with("get /health?deep=1 http/1.1\r\n") && request.ends_with("\r\n\r\n"),
        "{request}"
    );
    for header in [
        "\r\nhost: db.example\r\n",
        "\r\nconnection: close\r\n",
        "\r\nauthorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq==\r\n",
    ] {
        assert!(request.contains(header), "{header}: {request}");
    }
}

/// Runs itself again with proxy variables that name a port without a listener.
#[test]
fn the_http_probe_ignores_the_proxies_of_the_environment() {
    const INSIDE: &str = "STAYD_TEST_PROXIED";
    if std::env::var_os(INSIDE).is_none() {
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new(std::env::current_exe().expect("the test program"));
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &nowhere);
        }
        let output = command
            .env(INSIDE, "1")
            .args([
                "probe_http::the_http_probe_ignores_the_proxies_of_the_environment",
                "--exact",
            ])
            .output()
            .expect("the test runs again");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let port = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    with_spawner(async |spawner| {
        let mut prober = Prober::new(&http(at(port), "/"), context(&spawner));
        assert_eq!(prober.ask(LONG).await, Answer::Alive);
    });
}

/// A server program, killed when dropped.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("the server starts"))
    }

    async fn ask(&self, port: u16, path: &str) -> Answer {
        wait_until("the server listens", LONG, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        prober(&http(at(port), path)).ask(LONG).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nginx_answers_by_every_one_of_its_ways() {
    let (dir, port) = (TempDir::new(), free_port());
    let root = dir.join("");
    std::fs::write(dir.join("page"), "x".repeat(100_000)).expect("a page");
    let config = format!(
        "daemon off; master_process off; pid pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
         server {{ listen 127.0.0.1:{port}; root {};\nlocation = /ok {{ return 200 ok; }}\n\
         location = /busy {{ return 503; }}\nlocation = /closed {{ return 444; }} }} }}\n",
        root.display()
    );
    std::fs::write(dir.join("conf"), config).expect("a configuration");
    let nginx = Program::start(tool("nginx").arg("-p").arg(&root).args(["-c", "conf"]));
    for path in ["/ok", "/page"] {
        assert_eq!(nginx.ask(port, path).await, Answer::Alive, "{path}");
    }
    let busy = nginx.ask(port, "/busy").await;
    assert_degraded(
        &busy,
        &["answered 503 Service Temporarily Unavailable: <html>"],
    );
    assert_degraded(&nginx.ask(port, "/none").await, &["answered 404 Not Found"]);
    let closed = nginx.ask(port, "/closed").await;
    assert_dead(
        &closed,
        &["closed the connection early (before a status line)"],
    );
}

#[tokio::test(flavor = "current_thread")]
async fn the_http_1_0_server_of_python_answers() {
    let (dir, port) = (TempDir::new(), free_port());
    let python = Program::start(
        tool("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1"])
            .arg(port.to_string())
            .current_dir(dir.join("")),
    );
    assert_eq!(python.ask(port, "/").await, Answer::Alive);
    let missing = python.ask(port, "/none").await;
    assert_degraded(&missing, &["answered 404 File not found: <!DOCTYPE HTML>"]);
}

/// A trickle keeps the attempt busy for no longer than its timeout.
#[tokio::test(flavor = "current_thread")]
async fn a_status_line_that_arrives_byte_by_byte_is_read() {
    let trickling = serve(|mut stream| {
        let _ = stream.set_nodelay(true);
        for byte in b"HTTP/1.1 103 Hint\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::yield_now();
        }
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(ask(trickling).await, Answer::Alive);
}
