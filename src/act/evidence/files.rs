//! What a tree has open, and how far that is from its limit.

use super::{Section, Subject, Time, number, present};
use crate::decide::action::RecordValue;
use crate::sys::process;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

/// Descriptors of one process that are looked at.
const FILES_MAX: usize = 16 * 1024;
/// Targets that are listed, the most often opened first.
const TARGETS_LISTED_MAX: usize = 40;
/// A target opened so often belongs into the summary.
const NOTABLE_COUNT_MIN: usize = 10;
/// From this share of its limit on, in percent, a process is said to be close to it.
const CLOSE_TO_LIMIT_PERCENT: u64 = 80;

#[derive(Debug, Default)]
struct Seen {
    /// How often each target is open in the whole tree.
    targets: HashMap<String, usize>,
    /// Of each process: pid, open files, soft limit.
    counts: Vec<(i32, usize, Option<u64>)>,
    /// Processes whose files are hidden from us.
    hidden: usize,
    /// Processes that there was no time for.
    unseen: usize,
}

pub(super) fn section(subject: &Subject, time: &Time) -> Section {
    tell(&look(subject, time))
}

fn look(subject: &Subject, time: &Time) -> Seen {
    let mut seen = Seen::default();
    for one in present(subject) {
        if time.is_over() {
            seen.unseen += 1;
            continue;
        }
        let pid = one.process.pid;
        let Ok(files) = process::open_files(pid, FILES_MAX) else {
            seen.hidden += 1;
            continue;
        };
        seen.counts
            .push((pid, files.len(), process::open_files_limit(pid)));
        for file in files {
            *seen.targets.entry(kind(file.target)).or_default() += 1;
        }
    }
    seen
}

/// Sockets and pipes by kind, because each has a number of its own; everything else by name.
fn kind(target: String) -> String {
    if target.starts_with("socket:") {
        "sockets".to_owned()
    } else if target.starts_with("pipe:") {
        "pipes".to_owned()
    } else {
        target
    }
}

fn tell(seen: &Seen) -> Section {
    let total: usize = seen.counts.iter().map(|(_, count, _)| count).sum();
    let mut targets: Vec<(&String, usize)> = seen
        .targets
        .iter()
        .map(|(target, count)| (target, *count))
        .collect();
    targets.sort_by_key(|(target, count)| (Reverse(*count), *target));
    let listed = targets.iter().take(TARGETS_LISTED_MAX);
    let mut lines: Vec<String> = listed
        .map(|(target, count)| format!("{count} × {target}"))
        .collect();
    if targets.len() > TARGETS_LISTED_MAX {
        let more = targets.len() - TARGETS_LISTED_MAX;
        lines.push(format!("and {more} other targets"));
    }
    lines.extend(closest_to_limit(seen).map(limit_in_words));
    lines.extend(gaps(seen));
    Section {
        brief: brief(seen, total, targets.first().copied()),
        lines,
        facts: facts(seen, total),
    }
}

/// The process that has the largest share of its limit in use.
fn closest_to_limit(seen: &Seen) -> Option<(i32, usize, u64)> {
    let limited = seen
        .counts
        .iter()
        .filter_map(|(pid, count, limit)| Some((*pid, *count, limit.filter(|limit| *limit > 0)?)));
    limited.max_by_key(|(_, count, limit)| percent(*count, *limit))
}

fn percent(count: usize, limit: u64) -> u64 {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    count.saturating_mul(100) / limit
}

fn limit_in_words((pid, count, limit): (i32, usize, u64)) -> String {
    format!("pid {pid} has {count} of at most {limit} files open")
}

fn gaps(seen: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    if seen.hidden > 0 {
        lines.push(format!(
            "the files of {} processes are hidden from us",
            seen.hidden
        ));
    }
    if seen.unseen > 0 {
        lines.push(format!("no time was left for {} processes", seen.unseen));
    }
    lines
}

/// "454 open files, 430 of them state.db".
fn brief(seen: &Seen, total: usize, first: Option<(&String, usize)>) -> Option<String> {
    if seen.counts.is_empty() {
        return (seen.hidden > 0).then(|| "open files hidden from us".to_owned());
    }
    let mut brief = format!("{total} open files");
    if let Some((target, count)) = first.filter(|(_, count)| *count >= NOTABLE_COUNT_MIN) {
        let name = Path::new(target).file_name();
        let name = name.map_or_else(|| target.into(), |name| name.to_string_lossy());
        brief.push_str(&format!(", {count} of them {name}"));
    }
    if let Some(closest) = closest_to_limit(seen)
        && percent(closest.1, closest.2) >= CLOSE_TO_LIMIT_PERCENT
    {
        brief.push_str(&format!(" ({})", limit_in_words(closest)));
    }
    Some(brief)
}

fn facts(seen: &Seen, total: usize) -> Vec<(&'static str, RecordValue)> {
    let sockets = seen.targets.get("sockets").copied().unwrap_or_default();
    let mut facts = vec![("open_files", number(total)), ("sockets", number(sockets))];
    if let Some((_, _, limit)) = closest_to_limit(seen) {
        facts.push(("open_files_limit", RecordValue::Number(limit)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(targets: &[(&str, usize)], limit: u64) -> Seen {
        let targets: HashMap<String, usize> = targets
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let total = targets.values().sum();
        Seen {
            targets,
            counts: vec![(7, total, Some(limit))],
            ..Seen::default()
        }
    }

    #[test]
    fn the_summary_names_what_is_open_most_often() {
        let section = tell(&seen(
            &[("/var/lib/state.db", 430), ("sockets", 24)],
            10_000,
        ));
        assert_eq!(
            section.brief.as_deref(),
            Some("454 open files, 430 of them state.db")
        );
        assert_eq!(section.lines[0], "430 × /var/lib/state.db");
        assert_eq!(
            section.lines[2],
            "pid 7 has 454 of at most 10000 files open"
        );
        assert!(
            section
                .facts
                .contains(&("sockets", RecordValue::Number(24)))
        );
    }

    #[test]
    fn the_limit_is_in_the_summary_when_it_is_close() {
        let brief = |limit| tell(&seen(&[("/a", 5)], limit)).brief.expect("a brief");
        assert_eq!(brief(7), "5 open files");
        assert_eq!(
            brief(6),
            "5 open files (pid 7 has 5 of at most 6 files open)"
        );
        assert_eq!(brief(0), "5 open files", "a limit of 0 divides nothing");
    }

    #[test]
    fn what_is_hidden_or_was_not_reached_is_said() {
        let section = tell(&Seen {
            hidden: 1,
            unseen: 2,
            ..Seen::default()
        });
        assert_eq!(section.brief.as_deref(), Some("open files hidden from us"));
        assert_eq!(section.lines.len(), 2);
        assert_eq!(tell(&Seen::default()).brief, None);
    }

    #[test]
    fn sockets_and_pipes_count_by_kind() {
        assert_eq!(kind("socket:[123]".into()), "sockets");
        assert_eq!(kind("pipe:[123]".into()), "pipes");
        assert_eq!(
            kind("anon_inode:[eventpoll]".into()),
            "anon_inode:[eventpoll]"
        );
    }
}
