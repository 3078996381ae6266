//! One instance of a service: prepares it, starts it, ends it and cleans up after it.

pub(crate) mod environment;
pub(crate) mod instance;
pub(crate) mod prepare;
pub(crate) mod retire;
pub(crate) mod successor;
mod survivors;
