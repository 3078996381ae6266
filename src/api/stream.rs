//! Bodies: whole, or a stream of server-sent events that cannot hold anything up.

use super::desk::{Journal, Query, Since};
use super::lobby::Lobby;
use super::{limits, wire};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::timeout;

/// An answer's body.
pub(super) enum Reply {
    /// Known as a whole.
    Whole(Option<Bytes>),
    /// Chunks, as they come.
    Chunks(mpsc::Receiver<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Chunks(chunks) => chunks.poll_recv(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Chunks(_) => SizeHint::default(),
        }
    }
}

/// Starts a stream of the records that match `query`: those that are kept since then, and each new one.
///
/// A follower that does not read is fed from the journal again when it does; `seat` is its place among the long requests.
pub(super) fn follow(
    journal: Rc<dyn Journal>,
    query: Query,
    seat: OwnedSemaphorePermit,
    lobby: Lobby,
) -> Reply {
    let (chunks, body) = mpsc::channel(limits::FOLLOWER_QUEUE_MAX);
    let news = journal.subscribe();
    let follower = Follower {
        journal,
        query,
        chunks,
        last_id: 0,
    };
    tokio::task::spawn_local(async move {
        tokio::select! {
            _gone = follower.run(news) => {}
            // The stream has an end, after which it can be asked for again.
            () = lobby.closes() => {}
        }
        drop(seat);
    });
    Reply::Chunks(body)
}

struct Follower {
    journal: Rc<dyn Journal>,
    query: Query,
    chunks: mpsc::Sender<Bytes>,
    last_id: u64,
}

/// The follower has hung up, or stayd ends.
struct Over;

impl Follower {
    async fn run(mut self, mut news: broadcast::Receiver<Arc<wire::Event>>) -> Result<(), Over> {
        self.send(Bytes::from_static(b": stayd\n\n")).await?;
        if self.query.since != Since::Beginning {
            self.catch_up().await?;
        }
        let chunks = self.chunks.clone();
        loop {
            let next = tokio::select! {
                () = chunks.closed() => return Err(Over),
                next = timeout(limits::KEEPALIVE, news.recv()) => next,
            };
            match next {
                Err(_silence) => self.send(Bytes::from_static(b": still here\n\n")).await?,
                Ok(Ok(event)) => self.offer(&event).await?,
                Ok(Err(RecvError::Lagged(_))) => {
                    self.query.since = Since::Id(self.last_id);
                    self.catch_up().await?;
                }
                Ok(Err(RecvError::Closed)) => return Err(Over),
            }
        }
    }

    /// Everything that the journal has since then; a journal that cannot be read leaves a gap and says so.
    async fn catch_up(&mut self) -> Result<(), Over> {
        let query = Query {
            limit: limits::EVENTS_MAX,
            ..self.query.clone()
        };
        match self.journal.events(query).await {
            Ok(events) => {
                for event in &events {
                    self.offer(event).await?;
                }
                Ok(())
            }
            Err(refusal) => {
                self.send(Bytes::from(format!(": {}\n\n", refusal.message)))
                    .await
            }
        }
    }

    async fn offer(&mut self, event: &wire::Event) -> Result<(), Over> {
        let another = self.query.service.is_some() && self.query.service != event.service;
        if event.id <= self.last_id || another {
            return Ok(());
        }
        self.last_id = event.id;
        self.send(frame(event)).await
    }

    async fn send(&self, chunk: Bytes) -> Result<(), Over> {
        self.chunks.send(chunk).await.map_err(|_hung_up| Over)
    }
}

/// One server-sent event. JSON has no raw line ends, so one `data` line is enough.
fn frame(event: &wire::Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!(
        "id: {}\nevent: {}\ndata: {data}\n\n",
        event.id, event.kind
    ))
}
