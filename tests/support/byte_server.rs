//! TCP servers on a thread of the test: each does with every connection what the test says, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// Starts a server that passes each connection to `handle`, one after the other. Returns its port on 127.0.0.1.
pub(crate) fn serve(mut handle: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            handle(stream);
        }
    });
    port
}

/// A server that reads each request, sends `answer` and closes the connection.
pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = answer.into();
    serve(move |mut stream| {
        read_request(&mut stream);
        // The client may have closed the connection already.
        let _ = stream.write_all(&answer);
    })
}

/// A server that accepts connections and never answers.
pub(crate) fn silent() -> u16 {
    keeping_open(b"")
}

/// A server that reads each request, sends `answer` and keeps the connection open.
pub(crate) fn keeping_open(answer: &'static [u8]) -> u16 {
    let mut open = Vec::new();
    serve(move |mut stream| {
        if !answer.is_empty() {
            read_request(&mut stream);
            let _ = stream.write_all(answer);
        }
        open.push(stream);
    })
}

/// A server that reads each request, sends `head` once and then `again` until the client closes the connection.
pub(crate) fn without_end(head: &'static [u8], again: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        read_request(&mut stream);
        let mut written = stream.write_all(head);
        while written.is_ok() {
            written = stream.write_all(again);
        }
    })
}

/// Reads to the end of a request's head.
pub(crate) fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        request.extend_from_slice(&byte);
    }
}
