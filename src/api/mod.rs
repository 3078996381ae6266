//! The control socket: an HTTP/1.1 API over a Unix socket, its server and its client.
//!
//! [`routes`] lists every method and path with the access that it requires; no handler checks access. The server
//! reaches the rest of the program only through a [`Backend`](backend::Backend). Files import downwards in this order:
//! `server`, `http_connection` and `handlers`, `event_stream`, `response`, `connections`, then `backend`, `wire`,
//! `routes` and `limits`.

pub mod backend;
pub mod client;
pub mod connections;
mod event_stream;
mod handlers;
mod http_connection;
pub mod latest_requests;
pub mod limits;
pub mod listen;
mod outcome;
pub mod query;
mod response;
pub mod routes;
pub mod server;
pub mod view;
pub mod wire;

#[cfg(test)]
mod tests;
