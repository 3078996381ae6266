//! How far a long copy is, for a person who waits at a terminal.

use crate::act::runtime::copy::Progress;
use crate::act::runtime::{file_count, size};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// What is done by then needs no bar.
const BEGIN_AFTER: Duration = Duration::from_millis(500);
/// Between two looks.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Columns of the bar itself.
const WIDTH: usize = 24;
/// Columns of the whole line: less than a narrow terminal has.
const LINE_MAX: usize = 78;

/// Does `work`, and shows on stderr how far it is, if a person looks and it takes its time. `word` says what is done.
pub(in super::super) fn shown<T>(word: &str, work: impl FnOnce(&Progress) -> T) -> T {
    let progress = Progress::default();
    if !is_wanted() {
        return work(&progress);
    }
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let progress = &progress;
        scope.spawn(move || draw(word, progress, &is_done));
        let outcome = work(progress);
        drop(done);
        outcome
    })
}

/// NO_COLOR (no-color.org) asks for a plain terminal, and so does a dumb one: nothing is drawn over there.
fn is_wanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !dumb
}

fn draw(word: &str, progress: &Progress, is_done: &mpsc::Receiver<()>) {
    let goes_on = |wait| is_done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
    if !goes_on(BEGIN_AFTER) {
        return;
    }
    loop {
        put(&line(word, progress));
        if !goes_on(DRAW_EVERY) {
            return put("");
        }
    }
}

/// Writes over the line that stands there.
fn put(text: &str) {
    // A stderr that nobody reads is no reason to stumble.
    let _nobody_reads = write!(
        io::stderr(),
        "\r{text:<LINE_MAX$.LINE_MAX$}\r{text:.LINE_MAX$}"
    );
}

fn line(word: &str, progress: &Progress) -> String {
    let files = progress.files.load(Ordering::Relaxed);
    let bytes = progress.bytes.load(Ordering::Relaxed);
    let whole = progress.bytes_total.load(Ordering::Relaxed);
    if whole == 0 {
        return format!("{word}: waiting for the others, or for the disk");
    }
    let percent = bytes.min(whole).saturating_mul(100) / whole;
    let full = usize::try_from(percent).map_or(WIDTH, |percent| WIDTH * percent / 100);
    format!(
        "{word} [{}{}] {percent:3}%  {} of {}, {}",
        "#".repeat(full),
        "-".repeat(WIDTH - full),
        size(bytes),
        size(whole),
        file_count(files)
    )
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, Progress, line};
    use std::sync::atomic::Ordering;

    #[test]
    fn the_bar_reads_like_this() {
        let progress = Progress::default();
        assert_eq!(
            line("copying", &progress),
            "copying: waiting for the others, or for the disk"
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
