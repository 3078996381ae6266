//! Evidence: the state of a stuck process tree, recorded before a watchdog kill.
//!
//! Each [`Collector`] samples one kind of state within its share of the time, and renders it as a [`Section`]. Sampling
//! (which reads from the kernel) and rendering (pure) are two functions. No collector reads anything that waits for the
//! memory lock of the process: not its command line, environment or mappings.
//!
//! The evidence is lines of text. Names, paths and output in them are text from outside, so each line is escaped when the
//! sections are joined: a line break in a name forges no line.

mod files;
mod port;
mod pressure;
mod threads;

use crate::act::probe::Transcript;
use crate::decide::action::RecordValue;
use crate::sys::clock;
use crate::sys::process::{self, Process, Stat, State};
use crate::sys::terminal::escape;
use std::sync::mpsc;
use std::time::Duration;

pub use threads::describe_main_thread;

/// Longest [`Evidence::text`], in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The title of the section with the output.
const OUTPUT_TITLE: &str = "last output";
/// How many of the last lines of output are shown.
pub const LAST_LINES_MAX: usize = 20;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 512;
/// What a tab in the output becomes. Stack traces are indented with tabs.
const TAB: &str = "    ";
/// How many processes of the tree are listed.
const PROCESSES_LISTED_MAX: usize = 50;

/// The process tree that evidence is collected about, and what is known of it already.
#[derive(Debug)]
pub struct EvidenceTarget {
    /// The main process.
    pub main: Process,
    /// The other members of the tree. `main` may be among them.
    pub members: Vec<Process>,
    /// The port the service must own, if it has one.
    pub port: Option<u16>,
    /// The last answers to the probe, newest last.
    pub transcript: Vec<String>,
    /// The last lines that the service wrote, newest last.
    pub last_lines: LastLines,
}

/// The last lines of output. They are on a disk that can hang, which must not keep the other evidence back.
#[derive(Debug)]
pub enum LastLines {
    /// These.
    Read(Vec<String>),
    /// Another thread reads them, and sends them here.
    BeingRead(mpsc::Receiver<Vec<String>>),
}

impl LastLines {
    /// The lines; none if they do not come within `left`.
    fn within(self, left: Duration) -> Option<Vec<String>> {
        match self {
            Self::Read(lines) => Some(lines),
            Self::BeingRead(lines) => lines.recv_timeout(left).ok(),
        }
    }
}

/// The collected evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// One line: "12 threads, 11 of them in futex_wait; 454 open files, 430 of them state.db; port 8521 held by pid
    /// 4720 (itself)".
    pub summary: String,
    /// All sections, at most [`TEXT_BYTES_MAX`].
    pub text: String,
    /// Named values for the journal.
    pub facts: Vec<(&'static str, RecordValue)>,
}

/// Samples one kind of state until the deadline.
type Collector = fn(&EvidenceTarget, &Deadline) -> Section;

/// The collectors, the most useful first, because the time may not suffice for all.
const COLLECTORS: &[(&str, Collector)] = &[
    ("processes", processes),
    ("threads", threads::section),
    ("open files", files::section),
    ("port", port::section),
    ("pressure", pressure::section),
];

/// What one collector has found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    /// Its part of the summary.
    summary: Option<String>,
    lines: Vec<String>,
    facts: Vec<(&'static str, RecordValue)>,
}

/// The instant at which a collector ends, in monotonic time without sleep.
#[derive(Debug)]
struct Deadline {
    end: Duration,
}

impl Deadline {
    fn at(end: Duration) -> Self {
        Self { end }
    }

    fn left(&self) -> Duration {
        self.end.saturating_sub(clock::sample().awake)
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The deadline of the next collector, if the remaining time is divided among `waiting` collectors.
    fn share(&self, waiting: u32) -> Self {
        Self::at(clock::sample().awake + self.left() / waiting.max(1))
    }
}

/// Collects evidence about `target` for at most `within` from now. The result names the collectors for which no time was left.
///
/// Blocks. A system call that hangs can block it for longer than `within`, so call it on a thread that may be abandoned.
#[must_use]
pub fn collect(mut target: EvidenceTarget, within: Duration) -> Evidence {
    let deadline = Deadline::at(clock::sample().awake + within);
    let transcript = std::mem::take(&mut target.transcript);
    let mut sections = vec![(
        "answers to the probe",
        last(transcript, Transcript::LINES_MAX),
    )];
    let mut missing = Vec::new();
    for (index, (title, collect)) in COLLECTORS.iter().enumerate() {
        if deadline.is_over() {
            missing.push(*title);
            continue;
        }
        let waiting = u32::try_from(COLLECTORS.len() - index).unwrap_or(u32::MAX);
        sections.push((*title, collect(&target, &deadline.share(waiting))));
    }
    match target.last_lines.within(deadline.left()) {
        Some(lines) => sections.insert(1, (OUTPUT_TITLE, output(&lines))),
        None => missing.push(OUTPUT_TITLE),
    }
    compose(sections, &missing)
}

fn output(lines: &[String]) -> Section {
    let lines = lines.iter().map(|line| line.replace('\t', TAB));
    last(lines.collect(), LAST_LINES_MAX)
}

/// A section with the last `max` of the lines.
fn last(mut lines: Vec<String>, max: usize) -> Section {
    Section {
        lines: lines.split_off(lines.len().saturating_sub(max)),
        ..Section::default()
    }
}

/// The members of the tree that still exist. A pid that belongs to another process by now is left out.
fn existing(target: &EvidenceTarget) -> impl Iterator<Item = Stat> {
    let others = target.members.iter().filter(|one| **one != target.main);
    std::iter::once(&target.main)
        .chain(others)
        .filter_map(|one| {
            process::stat(one.pid)
                .ok()
                .filter(|stat| stat.process == *one)
        })
}

fn processes(target: &EvidenceTarget, deadline: &Deadline) -> Section {
    let found: Vec<Stat> = existing(target)
        .take_while(|_| !deadline.is_over())
        .collect();
    render_processes(&found)
}

fn render_processes(found: &[Stat]) -> Section {
    let listed = found.iter().take(PROCESSES_LISTED_MAX);
    let mut lines: Vec<String> = listed
        .map(|one| {
            format!(
                "pid {} ({}), parent {}, {}, {} threads, {:.1} s of CPU",
                one.process.pid,
                one.comm,
                one.ppid,
                state_in_words(one.state),
                one.threads,
                one.cpu.as_secs_f64()
            )
        })
        .collect();
    if found.len() > PROCESSES_LISTED_MAX {
        let more = found.len() - PROCESSES_LISTED_MAX;
        lines.push(format!("and {more} more"));
    }
    Section {
        summary: (found.len() > 1).then(|| format!("{} processes", found.len())),
        lines,
        facts: vec![("processes", number(found.len()))],
    }
}

const fn state_in_words(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Sleeping => "sleeping",
        State::Uninterruptible => "stuck in the kernel (state D)",
        State::Stopped => "stopped by a signal",
        State::Traced => "traced",
        State::Zombie => "ended",
    }
}

fn number(count: usize) -> RecordValue {
    RecordValue::Number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Joins the sections to the evidence. `missing` are the titles of those for which no time was left.
fn compose(sections: Vec<(&'static str, Section)>, missing: &[&str]) -> Evidence {
    let mut summaries = Vec::new();
    let mut text = String::new();
    let mut facts = Vec::new();
    for (title, section) in sections {
        summaries.extend(section.summary.map(|summary| escape(&summary).into_owned()));
        facts.extend(section.facts);
        if section.lines.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        for line in &section.lines {
            text.push_str(&format!("  {}\n", cut(&escape(line), LINE_BYTES_MAX)));
        }
    }
    if !missing.is_empty() {
        let not_collected = format!("no time was left for: {}", missing.join(", "));
        summaries.push(not_collected.clone());
        text.insert_str(0, &format!("{not_collected}\n"));
    }
    let summary = if summaries.is_empty() {
        "nothing was found".to_owned()
    } else {
        summaries.join("; ")
    };
    let whole = format!("{summary}\n{text}");
    Evidence {
        summary,
        text: cut(&whole, TEXT_BYTES_MAX).to_owned(),
        facts,
    }
}

/// The first `max` bytes, or a few less, so that no character is cut.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;

    fn this_process() -> EvidenceTarget {
        EvidenceTarget {
            main: process::stat(pid()).expect("this process exists").process,
            members: Vec::new(),
            port: None,
            transcript: (0..30).map(|n| format!("answer {n}")).collect(),
            last_lines: LastLines::Read(vec!["é".repeat(LINE_BYTES_MAX), "last words".into()]),
        }
    }

    #[test]
    fn transcript_and_output_are_shown_even_without_any_time() {
        let evidence = collect(this_process(), Duration::ZERO);
        assert_eq!(
            evidence.summary,
            "no time was left for: processes, threads, open files, port, pressure"
        );
        assert!(
            evidence.text.contains("answer 29") && evidence.text.contains("  last words\n"),
            "{}",
            evidence.text
        );
        assert!(!evidence.text.contains("answer 9\n"), "only the last 20");
    }

    #[test]
    fn output_that_is_not_read_in_time_is_missing_and_nothing_else() {
        let (lines, being_read) = mpsc::channel();
        let target = EvidenceTarget {
            last_lines: LastLines::BeingRead(being_read),
            ..this_process()
        };
        let evidence = collect(target, Duration::from_millis(500));
        let missing = "no time was left for: last output\n";
        assert!(evidence.text.contains(missing), "{}", evidence.text);
        let shown = ["answer 29", "processes:"];
        assert!(
            shown.iter().all(|each| evidence.text.contains(each)),
            "{}",
            evidence.text
        );

        let (late, being_read) = mpsc::channel();
        late.send(vec!["last words".to_owned()])
            .expect("a receiver");
        let target = EvidenceTarget {
            last_lines: LastLines::BeingRead(being_read),
            ..this_process()
        };
        let evidence = collect(target, Duration::ZERO);
        assert!(
            evidence.text.contains("  last words\n"),
            "{}",
            evidence.text
        );
        drop(lines);
    }

    #[test]
    fn a_pid_that_belongs_to_another_process_is_left_out() {
        let mut target = this_process();
        target.main.start_time += 1;
        let evidence = collect(target, Duration::from_secs(5));
        assert_eq!(evidence.facts[0], ("processes", RecordValue::Number(0)));
        assert!(
            !evidence
                .facts
                .iter()
                .any(|(name, value)| *name == "threads" && *value != RecordValue::Number(0))
        );
    }

    #[test]
    fn the_text_is_bounded_and_no_character_is_cut() {
        let section = Section {
            lines: vec!["ö".repeat(300); 1000],
            ..Section::default()
        };
        let evidence = compose(vec![("much", section)], &[]);
        assert!(evidence.text.len() <= TEXT_BYTES_MAX && evidence.text.len() > TEXT_BYTES_MAX - 4);
    }

    #[test]
    fn names_and_output_forge_no_line() {
        let section = Section {
            summary: Some("20 of them a\nport 1 held by pid 1".into()),
            lines: vec!["20 × /a\nport:\n  port 1 held by pid 1".into()],
            ..Section::default()
        };
        let output = output(&["\tat x\x1b[2J".to_owned()]);
        let evidence = compose(vec![(OUTPUT_TITLE, output), ("open files", section)], &[]);
        assert_eq!(evidence.summary, "20 of them a\\nport 1 held by pid 1");
        assert!(
            evidence.text.ends_with(
                "last output:\n      at x\\x1b[2J\nopen files:\n  20 × /a\\nport:\\n  port 1 held by pid 1\n"
            ),
            "{}",
            evidence.text
        );
    }

    #[test]
    fn a_large_tree_is_listed_in_part_and_counted_as_a_whole() {
        let one = process::stat(pid()).expect("this process exists");
        let section = render_processes(&vec![one; PROCESSES_LISTED_MAX + 3]);
        assert_eq!(section.lines.len(), PROCESSES_LISTED_MAX + 1);
        assert_eq!(section.lines.last().map(String::as_str), Some("and 3 more"));
        assert_eq!(section.summary.as_deref(), Some("53 processes"));
    }
}
