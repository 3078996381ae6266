//! Requests about runtimes as requests to the helper: a copy reports its progress while it runs.

use super::copy::Progress as CopyProgress;
use super::offer::{RuntimeAsk, Said};
use crate::act::helper::{Progress, Reporter, Request};
use std::sync::atomic::Ordering;

impl Request for RuntimeAsk {
    const NAME: &'static str = "runtime";
    type Reply = Said;

    fn carry_out(self, reporter: &Reporter<'_>) -> Result<Said, String> {
        let progress = CopyProgress::default();
        let look = || {
            let now = Progress {
                files: progress.files.load(Ordering::Relaxed),
                bytes: progress.bytes.load(Ordering::Relaxed),
            };
            (now, progress.knocks.load(Ordering::Relaxed))
        };
        reporter.report_during(look, || self.answer(&progress))
    }
}
