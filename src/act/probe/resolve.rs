//! Looks up the addresses of a host name in a helper, because a name server can hang.

use crate::act::helper::{Helper, HelperError, HelperRequest, Reporter};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Asks for the addresses of a name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResolveName {
    host: String,
    /// The port of each address in the reply.
    port: u16,
}

impl HelperRequest for ResolveName {
    const NAME: &'static str = "resolve-name";
    type Reply = Vec<SocketAddr>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Self::Reply, String> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| error.to_string())?;
        Ok(addresses.collect())
    }
}

/// The addresses of a name. Has no deadline of its own: dropping the future kills the helper.
///
/// # Errors
/// The cause, in words.
pub(super) async fn resolve(
    helper: &mut Helper,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let host = host.to_owned();
    match helper.ask(ResolveName { host, port }, Duration::MAX).await {
        Ok(addresses) => Ok(addresses),
        Err(HelperError::Failed(cause) | HelperError::NotAsked(cause)) => Err(cause),
        Err(HelperError::Silent) => Err("no answer".into()),
    }
}
