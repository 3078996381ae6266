//! Decides which senders of sd_notify messages belong to an instance.
//!
//! The kernel names the sender of each message. Finding a process in the tree of an instance takes a scan of that tree, which
//! costs more the larger the tree is. So a scan is the last resort: most members are proven by their own state and that of their
//! parents, a sender is examined once, and scans are limited to a share of the time.

use super::budget::Budget;
use crate::act::tree::{Member, Tree};
use crate::decide::clock::{Duration, Instant};
use crate::sys::datagram::Sender;
use crate::sys::identity::{self, ROOT};
use crate::sys::process::{self, Process};
use std::collections::HashMap;
use std::io;

/// How long a process counts as one outside the tree without being examined again. A member may have been taken for one while
/// a process could not be read.
const OUTSIDE_FOR: Duration = Duration::from_secs(1);
/// The same for a process that could not be examined completely.
const UNKNOWN_FOR: Duration = Duration::from_millis(100);
/// The largest number of members, and of processes outside the tree, that are remembered. When there are more, stayd forgets
/// them and examines each again.
const REMEMBERED_MAX: usize = 1024;
/// What a scan costs at least, of [`SCANS_BURST`].
const SCAN_COST_MIN: Duration = Duration::from_millis(2);
/// How often the duration of a scan is charged: scans take a tenth of the time at most.
const SCAN_COST_FACTOR: u32 = 10;
/// The cost of scans that may come at once: fifty short ones.
const SCANS_BURST: Duration = Duration::from_secs(1);

/// What is known about the sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It belongs to the instance.
    Member,
    /// It does not belong to the instance, as far as can be seen.
    Outsider,
    /// It has ended, so nothing can be proven.
    Ended,
    /// It cannot be examined now: too many scans were needed, or stayd lacks a resource.
    Unknown,
}

/// A sender that was examined and is no member.
#[derive(Clone, Copy, Debug)]
struct Refused {
    start_time: u64,
    standing: Standing,
    /// Until then it is not examined again.
    until: Instant,
}

/// What [`Senders::judge`] finds without a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is known, or was found out at once.
    Known(Standing),
    /// Only a scan can show it; the result goes to [`Senders::learn`].
    NeedsScan(Process),
}

/// The senders that were examined, by pid.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    /// Their start times.
    members: HashMap<i32, u64>,
    /// The others.
    others: HashMap<i32, Refused>,
    scans: Budget,
    /// How many senders were examined.
    examined: u64,
}

impl Senders {
    /// How many senders were examined so far. A sender that is remembered is not examined again.
    pub(crate) const fn examined(&self) -> u64 {
        self.examined
    }

    /// Judges `sender`. The main process costs no system call, and a known sender one look at its state. A process of a user
    /// that is neither root, nor stayd's, nor the instance's causes no scan unless it is a child of stayd: it is a member if its
    /// state shows that, for example a process of the instance that has dropped its privileges.
    pub(crate) fn judge(
        &mut self,
        sender: Sender,
        main: Option<Process>,
        tree: &Tree,
        now: Instant,
    ) -> Judgement {
        let Sender { pid, uid } = sender;
        if main.is_some_and(|main| main.pid == pid) {
            return Judgement::Known(Standing::Member);
        }
        let is_trusted = [ROOT, identity::euid(), tree.uid].contains(&uid);
        if !is_trusted && let Some(standing) = self.refused(pid, None, now) {
            return Judgement::Known(standing);
        }
        let stat = match process::stat(pid) {
            Ok(stat) => stat,
            Err(error) => return Judgement::Known(self.without_state(pid, &error)),
        };
        let start_time = stat.process.start_time;
        if self.members.get(&pid) == Some(&start_time) {
            return Judgement::Known(Standing::Member);
        }
        if let Some(standing) = self.refused(pid, Some(start_time), now) {
            return Judgement::Known(standing);
        }
        self.examined += 1;
        if tree.proof_without_scan(&stat).is_some() {
            remember(&mut self.members, pid, start_time);
            return Judgement::Known(Standing::Member);
        }
        // The kernel reparents the orphans of an instance to stayd, and those of other users' processes to init.
        if !is_trusted && stat.ppid != identity::pid() {
            return Judgement::Known(self.refuse(stat.process, Standing::Outsider, now));
        }
        if self.scans.is_exhausted(now, SCANS_BURST) {
            return Judgement::Known(self.refuse(stat.process, Standing::Unknown, now));
        }
        Judgement::NeedsScan(stat.process)
    }

    /// Judges the sender for which a scan was needed, from the members that the scan has found in `took`. An incomplete scan
    /// could not read every process.
    pub(crate) fn learn(
        &mut self,
        sender: Process,
        (found, is_complete): (&[Member], bool),
        took: Duration,
        now: Instant,
    ) -> Standing {
        let cost = took.max(SCAN_COST_MIN).saturating_mul(SCAN_COST_FACTOR);
        self.scans.charge(now, cost);
        for member in found.iter().take(REMEMBERED_MAX) {
            let Process { pid, start_time } = member.process;
            remember(&mut self.members, pid, start_time);
        }
        if found.iter().any(|member| member.process == sender) {
            remember(&mut self.members, sender.pid, sender.start_time);
            return Standing::Member;
        }
        let standing = if is_complete {
            Standing::Outsider
        } else {
            Standing::Unknown
        };
        self.refuse(sender, standing, now)
    }

    /// Remembers the standing of a process that is no member.
    fn refuse(&mut self, process: Process, standing: Standing, now: Instant) -> Standing {
        let lasts = match standing {
            Standing::Outsider => OUTSIDE_FOR,
            Standing::Member | Standing::Ended | Standing::Unknown => UNKNOWN_FOR,
        };
        let refused = Refused {
            start_time: process.start_time,
            standing,
            until: now.after(lasts),
        };
        remember(&mut self.others, process.pid, refused);
        standing
    }

    /// The standing of the process with this pid, and this start time if that is known, if it was refused a moment ago.
    fn refused(&self, pid: i32, start_time: Option<u64>, now: Instant) -> Option<Standing> {
        let refused = self.others.get(&pid)?;
        let is_same = start_time.is_none_or(|start_time| start_time == refused.start_time);
        (is_same && now < refused.until).then_some(refused.standing)
    }

    /// The standing of a process whose state cannot be read. A member is heard also when stayd has no free descriptor.
    fn without_state(&self, pid: i32, error: &io::Error) -> Standing {
        match error.kind() {
            io::ErrorKind::NotFound => Standing::Ended,
            _ if self.members.contains_key(&pid) => Standing::Member,
            _ => Standing::Unknown,
        }
    }
}

fn remember<T>(known: &mut HashMap<i32, T>, pid: i32, what: T) {
    if known.len() >= REMEMBERED_MAX && !known.contains_key(&pid) {
        known.clear();
    }
    known.insert(pid, what);
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Judgement, REMEMBERED_MAX, Senders, Standing};
    use crate::act::tree::Tree;
    use crate::sys::datagram::Sender;
    use crate::sys::identity;
    use crate::sys::process::{self, Process};
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A uid that no process here has.
    const OTHER_USER: u32 = 54_321;

    /// A process that is killed when dropped, with one child.
    struct Family {
        main: Child,
        child: i32,
    }

    impl Family {
        fn start() -> Self {
            let mut main = Command::new("sh")
                .args(["-c", "sleep 1000 & echo $!; exec sleep 1000"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut line = String::new();
            let mut output = BufReader::new(main.stdout.take().expect("its output"));
            output.read_line(&mut line).expect("a pid");
            let child = line.trim().parse().expect("a pid");
            Self { main, child }
        }

        fn main(&self) -> Process {
            process(self.main.id().cast_signed())
        }
    }

    impl Drop for Family {
        fn drop(&mut self) {
            for pid in [self.child, self.main.id().cast_signed()] {
                let handle = process::Handle::open(process(pid)).expect("it lives");
                handle.signal(libc::SIGKILL).expect("killed");
            }
            self.main.wait().expect("our child");
        }
    }

    fn process(pid: i32) -> Process {
        process::stat(pid).expect("it lives").process
    }

    fn ours(pid: i32) -> Sender {
        let uid = identity::euid();
        Sender { pid, uid }
    }

    fn foreign(pid: i32) -> Sender {
        let uid = OTHER_USER;
        Sender { pid, uid }
    }

    fn at(millis: u64) -> Instant {
        Instant::START.after(Duration::from_millis(millis))
    }

    const MEMBER: Judgement = Judgement::Known(Standing::Member);
    const OUTSIDER: Judgement = Judgement::Known(Standing::Outsider);

    #[test]
    fn a_member_is_proven_without_a_scan_and_examined_once_whatever_its_user() {
        let family = Family::start();
        let tree = Tree::new(family.main(), identity::euid());
        for sender in [ours, foreign] {
            let mut senders = Senders::default();
            for millis in 0..10_000 {
                for pid in [family.main().pid, family.child] {
                    let found = senders.judge(sender(pid), Some(family.main()), &tree, at(millis));
                    assert_eq!(found, MEMBER);
                }
            }
            assert_eq!(senders.examined(), 1, "the main process needs none");
        }
    }

    #[test]
    fn a_process_of_another_user_never_causes_a_scan_and_is_examined_once_a_second() {
        let (family, outsider) = (Family::start(), Family::start());
        let tree = Tree::new(family.main(), identity::euid());
        let mut senders = Senders::default();
        for millis in 0..3000 {
            let found = senders.judge(foreign(outsider.child), None, &tree, at(millis));
            assert_eq!(found, OUTSIDER);
        }
        assert_eq!(senders.examined(), 3);
    }

    #[test]
    fn a_process_of_a_trusted_user_causes_one_scan_a_second() {
        let (family, outsider) = (Family::start(), Family::start());
        let tree = Tree::new(family.main(), identity::euid());
        let mut senders = Senders::default();
        let mut scans = 0;
        for millis in 0..3000 {
            let found = senders.judge(ours(outsider.child), None, &tree, at(millis));
            if let Judgement::NeedsScan(asked) = found {
                scans += 1;
                let members = tree.members_if_readable();
                let standing = senders.learn(
                    asked,
                    (&members.0, members.1),
                    Duration::from_millis(1),
                    at(millis),
                );
                assert_eq!(standing, Standing::Outsider);
            } else {
                assert_eq!(found, OUTSIDER);
            }
        }
        assert_eq!(scans, 3);
    }

    #[test]
    fn scans_take_a_bounded_share_of_the_time_and_an_incomplete_one_proves_nothing() {
        let (family, outsider) = (Family::start(), Family::start());
        let tree = Tree::new(family.main(), identity::euid());
        let mut senders = Senders::default();
        let took = Duration::from_millis(50);
        let (mut scans, mut unknown) = (0, 0);
        for millis in 0..10_000 {
            match senders.judge(ours(outsider.child), None, &tree, at(millis)) {
                Judgement::NeedsScan(asked) => {
                    scans += 1;
                    let standing = senders.learn(asked, (&[], false), took, at(millis));
                    assert_eq!(standing, Standing::Unknown);
                }
                Judgement::Known(standing) => {
                    assert_eq!(standing, Standing::Unknown);
                    unknown += 1;
                }
            }
        }
        // a tenth of 10 s, and the burst
        assert!((18..=24).contains(&scans), "{scans}");
        assert!(unknown > 9000);
        assert!(
            senders.examined() <= 101,
            "ten times a second at most: {}",
            senders.examined()
        );
    }

    #[test]
    fn what_a_scan_has_found_is_remembered_and_bounded() {
        let (family, other) = (Family::start(), Family::start());
        let tree = Tree::new(family.main(), identity::euid());
        let mut senders = Senders::default();
        // as if a scan had found the other family: the evidence would be a descriptor, for example
        let evident = Tree::new(other.main(), identity::euid()).members();
        let asked = process(other.child);
        let found = senders.learn(asked, (&evident, true), Duration::ZERO, at(0));
        assert_eq!(found, Standing::Member);
        for pid in [other.child, other.main().pid] {
            assert_eq!(senders.judge(ours(pid), None, &tree, at(1)), MEMBER);
        }
        assert_eq!(senders.examined(), 0);
        for pid in 1_000_000_000..1_000_003_000 {
            let process = Process { pid, start_time: 1 };
            senders.learn(process, (&[], true), Duration::ZERO, at(2));
        }
        assert!(senders.others.len() <= REMEMBERED_MAX);
        assert_eq!(
            senders.judge(ours(1_000_002_999), None, &tree, at(3)),
            Judgement::Known(Standing::Ended)
        );
    }
}
