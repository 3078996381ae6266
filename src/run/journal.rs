//! stub
use crate::act::store::Store;
use crate::api::desk::*;
use crate::api::wire;
pub(super) struct StoreJournal(tokio::sync::broadcast::Sender<std::sync::Arc<wire::Event>>);
impl StoreJournal {
    pub(super) fn new(_: Store) -> Self {
        Self(tokio::sync::broadcast::channel(8).0)
    }
}
impl Journal for StoreJournal {
    fn events(&self, _: Query) -> Local<'_, Result<Vec<wire::Event>, Refusal>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn incidents(&self, _: usize) -> Local<'_, Result<Vec<wire::Incident>, Refusal>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn incident(&self, _: u64) -> Local<'_, Result<Option<wire::Incident>, Refusal>> {
        Box::pin(async { Ok(None) })
    }
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<std::sync::Arc<wire::Event>> {
        self.0.subscribe()
    }
}
