//! Shows the progress of a long copy on a terminal.

use crate::act::runtime::copy::Progress;
use crate::act::runtime::{file_count, size};
use crate::cli::console::{overwrite_stderr_line, stderr_draws};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The bar appears after this time; shorter work needs none.
const SHOW_AFTER: Duration = Duration::from_millis(500);
/// How often the bar is redrawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// The columns of the bar itself.
const BAR_WIDTH: usize = 24;
/// The columns of the whole line; fewer than a narrow terminal has.
const LINE_MAX: usize = 78;

/// Runs `work`. If stderr is a terminal and the work takes long, shows its progress there until it ends. `word` names the
/// work.
pub(in crate::cli) fn with_progress_bar<T>(word: &str, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    // A bar overwrites its line, so it is not drawn where the environment requires plain output.
    if !stderr_draws() {
        return work(&progress);
    }
    let (work_runs, work_ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let progress = &progress;
        scope.spawn(move || draw(word, progress, &work_ended));
        let outcome = work(progress);
        drop(work_runs);
        outcome
    })
}

fn draw(word: &str, progress: &Progress, work_ended: &mpsc::Receiver<()>) {
    let still_runs = |wait| work_ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
    if !still_runs(SHOW_AFTER) {
        return;
    }
    loop {
        overwrite_stderr_line(&line(word, progress), LINE_MAX);
        if !still_runs(DRAW_EVERY) {
            return overwrite_stderr_line("", LINE_MAX);
        }
    }
}

fn line(word: &str, progress: &Progress) -> String {
    let files = progress.files.load(Ordering::Relaxed);
    let bytes = progress.bytes.load(Ordering::Relaxed);
    let total = progress.bytes_total.load(Ordering::Relaxed);
    if total == 0 {
        return format!("{word}: waiting for another copy, or for the disk");
    }
    let percent = bytes.min(total).saturating_mul(100) / total;
    let full = usize::try_from(percent).map_or(BAR_WIDTH, |percent| BAR_WIDTH * percent / 100);
    format!(
        "{word} [{}{}] {percent:3}%  {} of {}, {}",
        "#".repeat(full),
        "-".repeat(BAR_WIDTH - full),
        size(bytes),
        size(total),
        file_count(files)
    )
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, Progress, line};
    use std::sync::atomic::Ordering;

    #[test]
    fn the_bar_shows_the_share_of_the_bytes() {
        let progress = Progress::default();
        assert_eq!(
            line("copying", &progress),
            "copying: waiting for another copy, or for the disk"
        );
        progress.files.store(120, Ordering::Relaxed);
        progress.bytes.store(190 << 20, Ordering::Relaxed);
        progress.bytes_total.store(760 << 20, Ordering::Relaxed);
        let text = line("copying", &progress);
        assert_eq!(
            text,
            "copying [######------------------]  25%  190 MiB of 760 MiB, 120 files"
        );
        progress.bytes.store(900 << 20, Ordering::Relaxed);
        let text = line("copying", &progress);
        assert!(text.contains("[########################] 100%"), "{text}");
        assert!(text.len() < LINE_MAX, "{text}");
    }
}
