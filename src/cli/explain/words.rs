//! An explanation in words.

use super::{Case, Target};
use crate::act::claims::Reading;
use crate::act::foreign::explain::{Explained, Finding, Ledger};
use crate::cli::screen::{Paint, Screen};
use crate::cli::words::length;
use crate::decide::explain::{Observation, Ownership, ProcessSupervisor, Treatment};
use crate::decide::ownership::Proof;
use crate::sys::identity;
use crate::sys::socket::{self, Listener};
use std::time::SystemTime;

/// Everything that is known, for a person.
pub(super) fn answer(screen: Screen, case: &Case, now: SystemTime) -> String {
    let mut text = String::new();
    for explained in &case.picture.holders {
        text.push_str(&described(screen, explained, now));
        // a stayd reads its services' output and so holds what proves them
        let held = explained.findings.iter();
        for finding in held.filter(|_| explained.is_stayd_of.is_none()) {
            text.push_str(&proofs(finding));
        }
        for sentence in sentences(explained, &case.ledgers) {
            text.push_str(&format!("  => {sentence}\n"));
        }
    }
    for sentence in remarks(case) {
        text.push_str(&format!("{sentence}\n"));
    }
    text
}

fn described(screen: Screen, explained: &Explained, now: SystemTime) -> String {
    let process_info = &explained.process_info;
    let stat = &process_info.stat;
    let uid = process_info
        .uid
        .map_or("?".to_owned(), |uid| uid.to_string());
    let age = now
        .duration_since(process_info.started_at)
        .unwrap_or_default();
    let leader = explained.session_leader.as_deref();
    let mut rows = vec![
        ("user", format!("{} (uid {uid})", process_info.user())),
        (
            "started",
            format!("{} ({} ago)", process_info.started_at(), length(age)),
        ),
        ("parents", parents(&explained.parents)),
        (
            "session",
            format!(
                "{} (led by {})",
                stat.sid,
                leader.unwrap_or("nobody any more")
            ),
        ),
        ("kept by", supervisor(&explained.supervisor)),
    ];
    if let Some(cgroup) = &explained.cgroup {
        rows.insert(4, ("cgroup", cgroup.clone()));
    }
    if !explained.addresses.is_empty() {
        let addresses = explained.addresses.iter().map(ToString::to_string);
        rows.insert(0, ("listens on", addresses.collect::<Vec<_>>().join(", ")));
    }
    let head = format!("pid {}  {}", stat.process.pid, process_info.command());
    let mut text = format!("{}\n", screen.paint(Paint::Strong, &head));
    for (name, value) in rows {
        text.push_str(&format!("  {name:<10}  {value}\n"));
    }
    text
}

fn parents(parents: &[(i32, String)]) -> String {
    let named = parents.iter().map(|(pid, name)| format!("{name} ({pid})"));
    let named: Vec<_> = named.collect();
    if named.is_empty() {
        "none".to_owned()
    } else {
        named.join(" < ")
    }
}

/// Who looks after it besides any stayd.
fn supervisor(supervisor: &ProcessSupervisor) -> String {
    match supervisor {
        ProcessSupervisor::Stayd(instance) => format!("stayd, in the instance {instance}"),
        ProcessSupervisor::Unit(unit) => format!("systemd, as {unit}"),
        ProcessSupervisor::Container(name) => format!("a container runtime ({name})"),
        ProcessSupervisor::Login(scope) => format!("nobody; started in a login session ({scope})"),
        ProcessSupervisor::Launchd => {
            "launchd, or nobody: everything on this system descends from it".to_owned()
        }
        ProcessSupervisor::Init(name) => {
            format!("{name}, the first process, which also gets every orphan")
        }
        ProcessSupervisor::Unknown => "nobody that is known".to_owned(),
    }
}

/// What it shows of one life; nothing where it shows nothing and is not named.
fn proofs(finding: &Finding) -> String {
    let shown = |(_, sample): &(_, Observation)| *sample == Observation::Shown;
    if finding.assessment.ownership == Ownership::Unrelated
        && !finding.assessment.evidence.iter().any(shown)
    {
        return String::new();
    }
    let mut text = format!("  held against the claim of {}:\n", life(finding));
    for (proof, sample) in &finding.assessment.evidence {
        let sample = match sample {
            Observation::Shown => "yes",
            Observation::Missing => "no ",
            Observation::Hidden => "?  ",
        };
        text.push_str(&format!("    {sample}  it {}\n", mark(*proof)));
    }
    if finding
        .assessment
        .evidence
        .iter()
        .any(|(_, sample)| *sample == Observation::Hidden)
    {
        text.push_str("    (? is hidden from this user; root would see it)\n");
    }
    text
}

/// A mark of a life: "it …".
const fn mark(proof: Proof) -> &'static str {
    match proof {
        Proof::Child => "has the claimed pid and birth (its start time)",
        Proof::Parentage => "descends from a process of the life",
        Proof::Member => "was written down as a member when it left the session",
        Proof::Cgroup => "is in the life's cgroup",
        Proof::Session => "is in the session that the life made",
        Proof::ClaimFd => "holds the life's claim file open (STAYD_CLAIM_FD)",
        Proof::Token => "carries the life's token (STAYD_TOKEN)",
        Proof::OrphanOfSoleInstance => "is an orphan that only this life can have left",
    }
}

fn life(finding: &Finding) -> String {
    let Finding {
        instance, service, ..
    } = finding;
    format!("{instance}/{service}, life {}", finding.life.0)
}

/// What stayd does with it, would do, and would not.
pub(super) fn sentences(explained: &Explained, ledgers: &[Ledger]) -> Vec<String> {
    if let Some(instance) = &explained.is_stayd_of {
        return vec![format!(
            "It is the stayd of {instance} itself: `stayd status` tells what it runs."
        )];
    }
    let told = explained.findings.iter();
    let told: Vec<_> = told
        .filter_map(|finding| sentence(explained, finding, ledgers))
        .collect();
    let pid = explained.process_info.stat.process.pid;
    let mut taken = ledgers
        .iter()
        .filter(|ledger| ledger.orphans.contains(&pid));
    if let (true, Some(ledger)) = (told.is_empty(), taken.next()) {
        return vec![format!(
            "It landed with the stayd of {} when its parent ended, unproven: one of its services may have left it, and it \
             shows no mark of any. stayd leaves it alone and never signals it. End it with `kill {pid}` if you know it.",
            ledger.instance
        )];
    }
    if told.is_empty() {
        let nothing = if ledgers.is_empty() {
            "there is no instance of stayd here that could know it"
        } else {
            "no claim names it, and it shows no mark of any service's life"
        };
        return vec![format!(
            "It is nobody's that stayd knows ({nothing}): stayd does nothing with it, and never signals it."
        )];
    }
    told
}

fn sentence(explained: &Explained, finding: &Finding, ledgers: &[Ledger]) -> Option<String> {
    let pid = explained.process_info.stat.process.pid;
    let (life, service) = (life(finding), &finding.service);
    let of_its = |ledger: &&Ledger| ledger.instance == finding.instance;
    let stayd = ledgers.iter().find(of_its).and_then(|ledger| ledger.stayd);
    let why = why(finding.assessment.ownership);
    Some(match finding.treatment {
        Treatment::Supervised => format!(
            "It is of {life} ({why}), which stayd (pid {}) looks after: it is watched, ended and started again with \
             the service. Use `stayd stop {service}` or `stayd restart {service}`, not kill.",
            stayd.unwrap_or_default()
        ),
        Treatment::Adopt => format!(
            "It is of {life} ({why}), and no stayd runs: the next one goes on with it (adopted), without a second copy; \
             were another command configured by then, it would be ended in order and started anew."
        ),
        Treatment::Replace => format!(
            "It is of {life} ({why}), and no stayd runs: the next one ends it in order and starts a new life, because \
             of leftover = \"replace\"."
        ),
        Treatment::KillTree => format!(
            "It is left of {life} ({why}), whose main process is gone, and no stayd runs: the next one ends it, then \
             starts a new life."
        ),
        Treatment::BlockService => format!(
            "The claim of {life} names this very process, but it shows no mark of that life, and a number can be written \
             by hand: stayd never signals it, and starts no second copy of {service} while it lives. End it with `kill \
             {pid}` if you know it."
        ),
        Treatment::PortConflict => format!(
            "It is not provably of {service} ({why}), whose port it holds: a conflict. stayd never signals it; {service} \
             {} blocked until the port is free, and then starts by itself. Stop it, or choose another port.",
            if stayd.is_some() { "stays" } else { "would be" }
        ),
        Treatment::Attached => format!(
            "It is not provably of {service} ({why}), whose port it holds: stayd (pid {}) watches it as if it were \
             (attached), and never signals it, at its own end neither. When it leaves, {service} starts by itself.",
            stayd.unwrap_or_default()
        ),
        Treatment::Attach => format!(
            "It is not provably of {service} ({why}), whose port it holds: a start of {service} attaches to it, which \
             is to watch it and never to signal it, and begins a life of its own when it leaves."
        ),
        Treatment::Outsider => format!(
            "It is not provably of {life} ({why}), which runs and wants this port: stayd concludes nothing from its \
             answers (port_owner = \"any\" believes them), and never signals it."
        ),
        Treatment::Orphaned => format!(
            "It is of {life} ({why}), and {service} is not in the configuration any more: nobody watches it, and stayd \
             leaves it alone. End it with `kill {pid}`, or put [service.{service}] back: the next start goes on with it."
        ),
        Treatment::None => match finding.assessment.ownership {
            Ownership::Unrelated | Ownership::Proven(_) => return None,
            Ownership::Unproven | Ownership::PidReused | Ownership::OtherBoot => {
                format!("It is not of {life}: {why}. stayd never signals it.")
            }
        },
    })
}

/// Why it is of a life, or is not.
pub(super) fn why(ownership: Ownership) -> String {
    match ownership {
        Ownership::Proven(proof) => format!("it {}", proof.words()),
        Ownership::Unproven => "the claim names it, but it shows no mark of the life".to_owned(),
        Ownership::PidReused => {
            "the claim names its number with another birth: the number was given anew".to_owned()
        }
        Ownership::OtherBoot => {
            "the claim was written in another boot or another pid namespace, and names nobody here"
                .to_owned()
        }
        Ownership::Unrelated => "it shows no mark of any life".to_owned(),
    }
}

/// What is not about one process.
pub(super) fn remarks(case: &Case) -> Vec<String> {
    let mut remarks: Vec<_> = case.picture.unseen.iter().map(unseen).collect();
    if case.picture.more > 0 {
        remarks.push(format!(
            "{} more processes hold the same port.",
            case.picture.more
        ));
    }
    if case.picture.holders.is_empty() && case.picture.unseen.is_empty() {
        remarks.push(nobody(case));
    }
    for ledger in &case.ledgers {
        for (service, reading) in &ledger.claims {
            if let Reading::Unverifiable(why) = reading {
                remarks.push(format!(
                    "The claim of {}/{service} is not believed ({why}); whatever it names is left alone.",
                    ledger.instance
                ));
            }
        }
    }
    remarks
}

fn unseen(listener: &Listener) -> String {
    let why = if identity::euid() == 0 {
        "it lives in another pid namespace (a container), or is the kernel itself"
    } else {
        "only that user and root may look; `sudo stayd explain` shows more"
    };
    format!(
        "{} is held by a process of uid {} that cannot be seen from here: {why}. stayd never signals it, and a service \
         that wants the port is blocked until it is free.",
        listener.addr, listener.uid
    )
}

fn nobody(case: &Case) -> String {
    let port = match case.target {
        Target::Process(pid) => {
            return format!("There is no process {pid}, or none that is shown to this user.");
        }
        Target::Port(port) => port,
    };
    if !socket::lists_everybodys() {
        return format!(
            "Nobody that is shown to this user listens on TCP port {port}; other users' processes are shown to root alone."
        );
    }
    let wanting = case.ledgers.iter().flat_map(|ledger| {
        let wants = ledger
            .services
            .iter()
            .filter(move |each| each.port == Some(port));
        wants.map(|service| format!("{}/{}", ledger.instance, service.name))
    });
    let wanting: Vec<_> = wanting.collect();
    let next = if wanting.is_empty() {
        String::new()
    } else {
        format!(" It is free for {}, which wants it.", wanting.join(", "))
    };
    format!("Nobody listens on TCP port {port} here (a container has ports of its own).{next}")
}
