//! The journal, until its own file lands.
#![allow(missing_docs, reason = "replaced whole by the next change")]
use super::state_dir::StateDir;
use crate::decide::action::{Keep, Record};
use crate::decide::event::Remembered;
#[derive(Clone)]
pub struct Store;
pub struct Past;
impl Past {
    pub fn of(&self, _: &str, _: &str) -> Remembered {
        Remembered::default()
    }
}
impl Store {
    pub fn open(_: &StateDir, _: &str) -> (Self, Past) {
        (Self, Past)
    }
    pub fn record(&self, _: Option<&str>, _: &Record) {}
    pub fn keep(&self, _: &str, _: &str, _: &Keep) {}
    pub fn evidence(&self, _: &str, _: u32, _: String, _: String) {}
    pub fn close(&self) {}
}
