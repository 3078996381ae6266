//! Streams journal records to a client as server-sent events, without ever waiting for a slow client.

use super::backend::{EventQuery, Journal, Since};
use super::connections::{Connections, LongRequest};
use super::{limits, wire};
use crate::sys::terminal::escape;
use hyper::body::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

/// Starts a task that sends the records that match `query`: first the stored ones from `query.since` on, then each new
/// one. Returns the chunks of the response body.
///
/// If the client does not read for a while, the task reads the records that it missed from the journal. The task keeps
/// `permit` until it ends.
pub(super) fn follow(
    journal: Rc<dyn Journal>,
    query: EventQuery,
    permit: LongRequest,
    connections: Connections,
) -> mpsc::Receiver<Bytes> {
    let (chunks, body) = mpsc::channel(limits::FOLLOWER_QUEUE_MAX);
    let new_events = journal.subscribe();
    let follower = Follower {
        journal,
        query,
        chunks,
        last_id: 0,
    };
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ended = follower.run(new_events) => {}
            // This ends the stream properly, and the client can ask for the rest later.
            () = connections.closing() => {}
        }
        drop(permit);
    });
    body
}

struct Follower {
    journal: Rc<dyn Journal>,
    query: EventQuery,
    chunks: mpsc::Sender<Bytes>,
    last_id: u64,
}

/// The client has hung up, or stayd is shutting down.
struct StreamEnded;

impl Follower {
    async fn run(
        mut self,
        mut new_events: broadcast::Receiver<Arc<wire::Event>>,
    ) -> Result<(), StreamEnded> {
        self.send(Bytes::from_static(b": stayd\n\n")).await?;
        if self.query.since != Since::Beginning {
            self.send_stored().await?;
        }
        let chunks = self.chunks.clone();
        loop {
            let next = tokio::select! {
                () = chunks.closed() => return Err(StreamEnded),
                next = timeout(limits::KEEPALIVE, new_events.recv()) => next,
            };
            match next {
                Err(_silence) => self.send(Bytes::from_static(b": keepalive\n\n")).await?,
                Ok(Ok(event)) => self.send_event(&event).await?,
                Ok(Err(RecvError::Lagged(_))) => {
                    self.query.since = Since::Id(self.last_id);
                    self.send_stored().await?;
                }
                Ok(Err(RecvError::Closed)) => return Err(StreamEnded),
            }
        }
    }

    /// Sends the stored records from `query.since` on. If the journal cannot be read, the stream has a gap, and a comment
    /// line says why.
    async fn send_stored(&mut self) -> Result<(), StreamEnded> {
        let query = EventQuery {
            limit: limits::EVENTS_MAX,
            ..self.query.clone()
        };
        match self.journal.events(query).await {
            Ok(events) => {
                for event in &events {
                    self.send_event(event).await?;
                }
                Ok(())
            }
            Err(error) => {
                // A line break would end the comment and begin an event.
                self.send(Bytes::from(format!(": {}\n\n", escape(&error.message))))
                    .await
            }
        }
    }

    async fn send_event(&mut self, event: &wire::Event) -> Result<(), StreamEnded> {
        let other_service = self.query.service.is_some() && self.query.service != event.service;
        if event.id <= self.last_id || other_service {
            return Ok(());
        }
        self.last_id = event.id;
        self.send(frame(event)).await
    }

    async fn send(&self, chunk: Bytes) -> Result<(), StreamEnded> {
        self.chunks
            .send(chunk)
            .await
            .map_err(|_hung_up| StreamEnded)
    }
}

/// One server-sent event. JSON contains no raw line breaks, so one `data` line is enough.
fn frame(event: &wire::Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!(
        "id: {}\nevent: {}\ndata: {data}\n\n",
        event.id, event.kind
    ))
}
