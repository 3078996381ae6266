//! Sends one HTTP request to the demo service, with a deadline.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The demo service answers with one line.
const ANSWER_BYTES_MAX: usize = 4096;

/// The status and the first line of the answer; none if no answer came `within` this time.
pub(super) async fn request(
    method: Method,
    port: u16,
    path: &str,
    within: Duration,
) -> Option<(u16, String)> {
    timeout(within, exchange(method, port, path)).await.ok()?
}

async fn exchange(method: Method, port: u16, path: &str) -> Option<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await.ok()?;
    if stream.local_addr().ok()? == address {
        // While no process listens, the kernel can choose the port itself as the source. A reset leaves it free.
        let _ = stream.set_zero_linger();
        return None;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let exchange = async {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1");
        let response = sender
            .send_request(request.body(Empty::<Bytes>::new()).ok()?)
            .await
            .ok()?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .ok()?
            .to_bytes();
        let line = String::from_utf8_lossy(&body)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Some((status, line))
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = exchange => answer,
        _closed = &mut connection => None,
    }
}
