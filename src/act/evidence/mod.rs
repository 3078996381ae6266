//! What is taken before a watchdog kill: the state of a stuck tree, for the person who asks why.
//!
//! One [`Collector`] for each kind of thing. A collector looks, within its share of the time, and tells what it saw
//! as a [`Section`]; looking (which asks the kernel) and telling (pure) are two functions. None of them reads
//! anything that waits for the memory lock of the process: not its command line, environment or mappings.

pub(crate) mod collect;
mod files;
mod port;
mod surroundings;
mod threads;

use crate::decide::action::RecordValue;
use crate::sys::clock;
use crate::sys::process::{self, Process, Stat, State};
use std::time::Duration;

pub use threads::whereabouts;

/// Longest [`Evidence::text`].
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Lines of output that are shown, the last ones.
pub const LAST_LINES_MAX: usize = 20;
/// Answers of the probe that are shown, the last ones.
pub const TRANSCRIPT_MAX: usize = 20;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 512;
/// Processes of the tree that are listed by name.
const PROCESSES_LISTED_MAX: usize = 50;

/// Whom evidence is taken about, and what is known already.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The main process.
    pub main: Process,
    /// The rest of the tree; whether `main` is among them makes no difference.
    pub members: Vec<Process>,
    /// The port the service must own, if it has one.
    pub port: Option<u16>,
    /// What the probe was answered, newest last.
    pub transcript: Vec<String>,
    /// What the service wrote, newest last.
    pub last_lines: Vec<String>,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// One line: "12 threads, 11 of them in futex_wait; 454 open files, 430 of them state.db; port 8521 held by pid
    /// 4720 (itself)".
    pub summary: String,
    /// The whole, at most [`TEXT_BYTES_MAX`].
    pub text: String,
    /// For the journal.
    pub facts: Vec<(&'static str, RecordValue)>,
}

/// Looks at one kind of thing, until its time is over.
type Collector = fn(&Subject, &Time) -> Section;

/// In the order of their use, because the time may not be enough for all.
const COLLECTORS: &[(&str, Collector)] = &[
    ("processes", processes),
    ("threads", threads::section),
    ("open files", files::section),
    ("port", port::section),
    ("pressure", surroundings::section),
];

/// What one collector has to say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    /// Its part of the summary.
    brief: Option<String>,
    lines: Vec<String>,
    facts: Vec<(&'static str, RecordValue)>,
}

/// A point in awake time by which a collector ends.
#[derive(Debug)]
struct Time {
    end: Duration,
}

impl Time {
    fn until(end: Duration) -> Self {
        Self { end }
    }

    fn left(&self) -> Duration {
        self.end.saturating_sub(clock::sample().awake)
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// An equal part of what is left, for the next of `waiting` collectors.
    fn share(&self, waiting: u32) -> Self {
        Self::until(clock::sample().awake + self.left() / waiting.max(1))
    }
}

/// Takes evidence about `subject` for at most `until` from now; what there was no time for is named.
///
/// Blocks, and a kernel in trouble may make it block for longer: call it on a thread that may be lost.
#[must_use]
pub fn take(mut subject: Subject, until: Duration) -> Evidence {
    let time = Time::until(clock::sample().awake + until);
    let mut sections = told_already(&mut subject);
    let mut missing = Vec::new();
    for (index, (title, collect)) in COLLECTORS.iter().enumerate() {
        if time.is_over() {
            missing.push(*title);
            continue;
        }
        let waiting = u32::try_from(COLLECTORS.len() - index).unwrap_or(u32::MAX);
        sections.push((*title, collect(&subject, &time.share(waiting))));
    }
    compose(sections, &missing)
}

/// What needs no looking.
fn told_already(subject: &mut Subject) -> Vec<(&'static str, Section)> {
    let last = |mut lines: Vec<String>, max: usize| Section {
        lines: lines.split_off(lines.len().saturating_sub(max)),
        ..Section::default()
    };
    let transcript = std::mem::take(&mut subject.transcript);
    let output = std::mem::take(&mut subject.last_lines);
    vec![
        ("answers to the probe", last(transcript, TRANSCRIPT_MAX)),
        ("last output", last(output, LAST_LINES_MAX)),
    ]
}

/// Who there is. A number that belongs to somebody else by now is left out everywhere.
fn present(subject: &Subject) -> impl Iterator<Item = Stat> {
    let others = subject.members.iter().filter(|one| **one != subject.main);
    std::iter::once(&subject.main)
        .chain(others)
        .filter_map(|one| {
            process::stat(one.pid)
                .ok()
                .filter(|stat| stat.process == *one)
        })
}

fn processes(subject: &Subject, time: &Time) -> Section {
    let seen: Vec<Stat> = present(subject).take_while(|_| !time.is_over()).collect();
    tell_processes(&seen)
}

fn tell_processes(seen: &[Stat]) -> Section {
    let listed = seen.iter().take(PROCESSES_LISTED_MAX);
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
    if seen.len() > PROCESSES_LISTED_MAX {
        lines.push(format!("and {} more", seen.len() - PROCESSES_LISTED_MAX));
    }
    Section {
        brief: (seen.len() > 1).then(|| format!("{} processes", seen.len())),
        lines,
        facts: vec![("processes", number(seen.len()))],
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

fn compose(sections: Vec<(&'static str, Section)>, missing: &[&str]) -> Evidence {
    let mut briefs = Vec::new();
    let mut text = String::new();
    let mut facts = Vec::new();
    for (title, section) in sections {
        briefs.extend(section.brief);
        facts.extend(section.facts);
        if section.lines.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        for line in &section.lines {
            text.push_str(&format!("  {}\n", cut(line, LINE_BYTES_MAX)));
        }
    }
    if !missing.is_empty() {
        let not_taken = format!("no time was left for: {}", missing.join(", "));
        briefs.push(not_taken.clone());
        text.insert_str(0, &format!("{not_taken}\n"));
    }
    let summary = if briefs.is_empty() {
        "nothing was seen".to_owned()
    } else {
        briefs.join("; ")
    };
    let whole = format!("{summary}\n{text}");
    Evidence {
        summary,
        text: cut(&whole, TEXT_BYTES_MAX).to_owned(),
        facts,
    }
}

/// The first `max` bytes, or less so that no character is torn.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;

    fn about_ourselves() -> Subject {
        Subject {
            main: process::stat(pid()).expect("we live").process,
            members: Vec::new(),
            port: None,
            transcript: (0..30).map(|n| format!("answer {n}")).collect(),
            last_lines: vec!["é".repeat(LINE_BYTES_MAX), "last words".into()],
        }
    }

    #[test]
    fn transcript_and_output_are_there_even_without_any_time() {
        let evidence = take(about_ourselves(), Duration::ZERO);
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
    fn a_number_that_belongs_to_somebody_else_is_nobody() {
        let mut subject = about_ourselves();
        subject.main.start_time += 1;
        let evidence = take(subject, Duration::from_secs(5));
        assert_eq!(evidence.facts[0], ("processes", RecordValue::Number(0)));
        assert!(
            !evidence
                .facts
                .iter()
                .any(|(name, value)| *name == "threads" && *value != RecordValue::Number(0))
        );
    }

    #[test]
    fn the_text_is_bounded_and_no_character_is_torn() {
        let section = Section {
            lines: vec!["ö".repeat(300); 1000],
            ..Section::default()
        };
        let evidence = compose(vec![("much", section)], &[]);
        assert!(evidence.text.len() <= TEXT_BYTES_MAX && evidence.text.len() > TEXT_BYTES_MAX - 4);
    }

    #[test]
    fn a_long_tree_is_listed_in_part_and_counted_whole() {
        let one = process::stat(pid()).expect("we live");
        let section = tell_processes(&vec![one; PROCESSES_LISTED_MAX + 3]);
        assert_eq!(section.lines.len(), PROCESSES_LISTED_MAX + 1);
        assert_eq!(section.lines.last().map(String::as_str), Some("and 3 more"));
        assert_eq!(section.brief.as_deref(), Some("53 processes"));
    }
}
