//! Evidence: the open files of a process tree, and how close its processes are to their limits.

use super::{Deadline, EvidenceTarget, Section, existing, number};
use crate::decide::action::RecordValue;
use crate::sys::process;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

/// How many descriptors of one process are read.
const FILES_MAX: usize = 16 * 1024;
/// How many targets are listed, those with the most descriptors first.
const TARGETS_LISTED_MAX: usize = 40;
/// From this number of descriptors on, a target is named in the summary.
const NOTABLE_COUNT_MIN: usize = 10;
/// From this share of its limit on, in percent, a process is named in the summary.
const CLOSE_TO_LIMIT_PERCENT: u64 = 80;

#[derive(Debug, Default)]
struct OpenFiles {
    /// The number of descriptors for each target, in the whole tree.
    targets: HashMap<String, usize>,
    /// For each process: pid, number of open files, soft limit.
    counts: Vec<(i32, usize, Option<u64>)>,
    /// Number of processes whose files stayd has no permission to read.
    hidden: usize,
    /// Number of processes for which no time was left.
    skipped: usize,
}

pub(super) fn section(target: &EvidenceTarget, deadline: &Deadline) -> Section {
    render(&sample(target, deadline))
}

fn sample(target: &EvidenceTarget, deadline: &Deadline) -> OpenFiles {
    let mut found = OpenFiles::default();
    for one in existing(target) {
        if deadline.is_over() {
            found.skipped += 1;
            continue;
        }
        let pid = one.process.pid;
        let Ok(files) = process::open_files(pid, FILES_MAX) else {
            found.hidden += 1;
            continue;
        };
        found
            .counts
            .push((pid, files.len(), process::open_files_limit(pid)));
        for file in files {
            *found.targets.entry(kind(file.target)).or_default() += 1;
        }
    }
    found
}

/// The name under which a target is counted. Sockets and pipes are counted by kind, because each has a number of its own.
fn kind(target: String) -> String {
    if target.starts_with("socket:") {
        "sockets".to_owned()
    } else if target.starts_with("pipe:") {
        "pipes".to_owned()
    } else {
        target
    }
}

fn render(found: &OpenFiles) -> Section {
    let total: usize = found.counts.iter().map(|(_, count, _)| count).sum();
    let mut targets: Vec<(&String, usize)> = found
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
    lines.extend(closest_to_limit(found).map(limit_in_words));
    lines.extend(gaps(found));
    Section {
        summary: summary(found, total, targets.first().copied()),
        lines,
        facts: facts(found, total),
    }
}

/// The process that has the largest share of its limit in use.
fn closest_to_limit(found: &OpenFiles) -> Option<(i32, usize, u64)> {
    let limited = found
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

fn gaps(found: &OpenFiles) -> Vec<String> {
    let mut lines = Vec::new();
    if found.hidden > 0 {
        lines.push(format!(
            "the files of {} processes are hidden from stayd",
            found.hidden
        ));
    }
    if found.skipped > 0 {
        lines.push(format!("no time was left for {} processes", found.skipped));
    }
    lines
}

/// "454 open files, 430 of them state.db".
fn summary(found: &OpenFiles, total: usize, first: Option<(&String, usize)>) -> Option<String> {
    if found.counts.is_empty() {
        return (found.hidden > 0).then(|| "open files hidden from stayd".to_owned());
    }
    let mut summary = format!("{total} open files");
    if let Some((target, count)) = first.filter(|(_, count)| *count >= NOTABLE_COUNT_MIN) {
        let name = Path::new(target).file_name();
        let name = name.map_or_else(|| target.into(), |name| name.to_string_lossy());
        summary.push_str(&format!(", {count} of them {name}"));
    }
    if let Some(closest) = closest_to_limit(found)
        && percent(closest.1, closest.2) >= CLOSE_TO_LIMIT_PERCENT
    {
        summary.push_str(&format!(" ({})", limit_in_words(closest)));
    }
    Some(summary)
}

fn facts(found: &OpenFiles, total: usize) -> Vec<(&'static str, RecordValue)> {
    let sockets = found.targets.get("sockets").copied().unwrap_or_default();
    let mut facts = vec![("open_files", number(total)), ("sockets", number(sockets))];
    if let Some((_, _, limit)) = closest_to_limit(found) {
        facts.push(("open_files_limit", RecordValue::Number(limit)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(targets: &[(&str, usize)], limit: u64) -> OpenFiles {
        let targets: HashMap<String, usize> = targets
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let total = targets.values().sum();
        OpenFiles {
            targets,
            counts: vec![(7, total, Some(limit))],
            ..OpenFiles::default()
        }
    }

    #[test]
    fn the_summary_names_the_target_that_is_open_most_often() {
        let section = render(&found(
            &[("/var/lib/state.db", 430), ("sockets", 24)],
            10_000,
        ));
        assert_eq!(
            section.summary.as_deref(),
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
    fn the_summary_names_a_limit_that_is_close() {
        let summary = |limit| {
            render(&found(&[("/a", 5)], limit))
                .summary
                .expect("a summary")
        };
        assert_eq!(summary(7), "5 open files");
        assert_eq!(
            summary(6),
            "5 open files (pid 7 has 5 of at most 6 files open)"
        );
        assert_eq!(summary(0), "5 open files", "a limit of 0 is ignored");
    }

    #[test]
    fn hidden_and_skipped_processes_are_counted() {
        let section = render(&OpenFiles {
            hidden: 1,
            skipped: 2,
            ..OpenFiles::default()
        });
        assert_eq!(
            section.summary.as_deref(),
            Some("open files hidden from stayd")
        );
        assert_eq!(section.lines.len(), 2);
        assert_eq!(render(&OpenFiles::default()).summary, None);
    }

    #[test]
    fn sockets_and_pipes_are_counted_by_kind() {
        assert_eq!(kind("socket:[123]".into()), "sockets");
        assert_eq!(kind("pipe:[123]".into()), "pipes");
        assert_eq!(
            kind("anon_inode:[eventpoll]".into()),
            "anon_inode:[eventpoll]"
        );
    }
}
