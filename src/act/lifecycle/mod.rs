//! One instance of a service: prepares it, starts it, ends it and cleans up after it.

pub(crate) mod attach;
pub(crate) mod claim;
pub(crate) mod environment;
pub(crate) mod materialize;
pub(crate) mod prepare;
pub(crate) mod program_change;
pub(crate) mod retire;
pub(crate) mod service_messages;
pub(crate) mod service_user;
mod serving;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod successor;
mod survivors;
