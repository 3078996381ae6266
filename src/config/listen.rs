//! Addresses that stayd binds for a service.

use super::value::Wrong;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and its port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

impl Listen {
    /// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` (never resolved) or a path; a relative one is below `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, Wrong> {
        if text.starts_with(['/', '.']) {
            return Ok(Self::Unix(folder.join(text).components().collect()));
        }
        let local = |port: &str| {
            let port = port.parse().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        };
        let address = match text.strip_prefix("localhost:") {
            Some(port) => local(port),
            None => text.parse().ok(),
        };
        address
            .filter(|address| address.port() != 0)
            .map(Self::Tcp)
            .ok_or_else(|| {
                Wrong::new(
                    format!("`{text}` is no address to listen on"),
                    "write it as \"127.0.0.1:8080\", \"[::1]:8080\" or \"/run/app.sock\"",
                )
            })
    }
}
