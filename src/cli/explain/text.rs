//! Prints an explanation as text for people.

use super::{Explanation, Target};
use crate::act::claims::ClaimOnDisk;
use crate::act::foreign::explain::{ExplainedProcess, Finding, StaydInfo};
use crate::cli::console::{Console, Style, Text};
use crate::cli::format::{duration, local_time};
use crate::decide::explain::{Observation, Ownership, ProcessSupervisor, Treatment};
use crate::decide::ownership::Proof;
use crate::sys::identity;
use crate::sys::socket::{self, Listener};
use std::time::SystemTime;

/// The whole explanation.
pub(super) fn answer(console: Console, explanation: &Explanation, now: SystemTime) -> Text {
    let mut text = console.text();
    for explained in &explanation.found.holders {
        add_description(&mut text, explained, now);
        // A stayd reads the output of its services, so it holds their claim files itself.
        let findings = explained.findings.iter();
        for finding in findings.filter(|_| explained.is_stayd_of.is_none()) {
            add_evidence(&mut text, finding);
        }
        for sentence in sentences(explained, &explanation.stayds) {
            text.plain("  => ").plain(&sentence).end_line();
        }
    }
    for sentence in remarks(explanation) {
        text.plain(&sentence).end_line();
    }
    text
}

fn add_description(text: &mut Text, explained: &ExplainedProcess, now: SystemTime) {
    let process_info = &explained.process_info;
    let stat = &process_info.stat;
    let uid = process_info
        .uid
        .map_or("?".to_owned(), |uid| uid.to_string());
    let age = now
        .duration_since(process_info.started_at)
        .unwrap_or_default();
    let leader = match explained.session_leader.as_deref() {
        Some(leader) => format!("leader: {leader}"),
        None => "its leader has ended".to_owned(),
    };
    let mut rows = vec![
        ("user", format!("{} (uid {uid})", process_info.user())),
        (
            "started",
            format!(
                "{} ({} ago)",
                local_time(process_info.started_at),
                duration(age)
            ),
        ),
        ("parents", parents(&explained.parents)),
        ("session", format!("{} ({leader})", stat.sid)),
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
    text.styled(Style::Bold, &head).end_line();
    for (name, value) in rows {
        text.plain(&format!("  {name:<10}  {value}")).end_line();
    }
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

/// The program that restarts or adopts the process, as far as its cgroup and parents show.
fn supervisor(supervisor: &ProcessSupervisor) -> String {
    match supervisor {
        ProcessSupervisor::Stayd(instance) => format!("stayd, in the instance {instance}"),
        ProcessSupervisor::Unit(unit) => format!("systemd, as {unit}"),
        ProcessSupervisor::Container(name) => format!("a container runtime ({name})"),
        ProcessSupervisor::Login(scope) => {
            format!("no supervisor; started in a login session ({scope})")
        }
        ProcessSupervisor::Launchd => {
            "launchd or no supervisor: every process on this system descends from launchd"
                .to_owned()
        }
        ProcessSupervisor::Init(name) => {
            format!("{name}, the first process, which also adopts every orphan")
        }
        ProcessSupervisor::Unknown => "no supervisor that is known".to_owned(),
    }
}

/// Adds the ownership evidence that the process shows for one claim; nothing if it shows none and the claim does not name it.
fn add_evidence(text: &mut Text, finding: &Finding) {
    let shown = |(_, observation): &(_, Observation)| *observation == Observation::Shown;
    if finding.assessment.ownership == Ownership::Unrelated
        && !finding.assessment.evidence.iter().any(shown)
    {
        return;
    }
    text.plain(&format!("  compared with the claim of {}:", life(finding)))
        .end_line();
    for (proof, observation) in &finding.assessment.evidence {
        let observation = match observation {
            Observation::Shown => "yes",
            Observation::Missing => "no ",
            Observation::Hidden => "?  ",
        };
        text.plain(&format!(
            "    {observation}  it {}",
            evidence_as_text(*proof)
        ))
        .end_line();
    }
    if finding
        .assessment
        .evidence
        .iter()
        .any(|(_, observation)| *observation == Observation::Hidden)
    {
        text.plain("    (? = this user may not see it; root may)")
            .end_line();
    }
}

/// A piece of ownership evidence, to follow "it …".
const fn evidence_as_text(proof: Proof) -> &'static str {
    match proof {
        Proof::Child => "has the claimed pid and start time",
        Proof::Parentage => "descends from a process of the instance",
        Proof::Member => "was recorded as a member when it left the session",
        Proof::Cgroup => "is in the instance's cgroup",
        Proof::Session => "is in the session that the instance created",
        Proof::ClaimFd => "has inherited the instance's claim file (STAYD_CLAIM_FD)",
        Proof::Token => "carries the instance's token (STAYD_TOKEN)",
        Proof::OrphanOfSoleInstance => "is an orphan that only this instance can have left",
    }
}

fn life(finding: &Finding) -> String {
    let Finding { stayd, service, .. } = finding;
    format!("{stayd}/{service}, life {}", finding.life.0)
}

/// What stayd does with the process and would do, one sentence per service that it may belong to or conflicts with.
pub(super) fn sentences(explained: &ExplainedProcess, stayds: &[StaydInfo]) -> Vec<String> {
    if let Some(instance) = &explained.is_stayd_of {
        return vec![format!(
            "This process is the stayd of {instance} itself: `stayd status` shows what it runs."
        )];
    }
    let sentences = explained.findings.iter();
    let sentences: Vec<_> = sentences
        .filter_map(|finding| sentence(explained, finding, stayds))
        .collect();
    if !sentences.is_empty() {
        return sentences;
    }
    let pid = explained.process_info.stat.process.pid;
    let mut adopters = stayds.iter().filter(|info| info.orphans.contains(&pid));
    if let Some(info) = adopters.next() {
        return vec![format!(
            "It became a child of the stayd of {} when its parent ended. It is unproven: a service of that stayd may have left \
             it, but it shows no evidence of any. stayd leaves it alone and never signals it. End it with `kill {pid}` if you \
             know what it is.",
            info.name
        )];
    }
    let why = if stayds.is_empty() {
        "there is no instance of stayd here that it could belong to"
    } else {
        "no claim names it, and it shows no evidence of any service"
    };
    vec![format!(
        "It belongs to no service of stayd ({why}): stayd does nothing with it and never signals it."
    )]
}

fn sentence(
    explained: &ExplainedProcess,
    finding: &Finding,
    stayds: &[StaydInfo],
) -> Option<String> {
    let pid = explained.process_info.stat.process.pid;
    let (life, service) = (life(finding), &finding.service);
    let of_its = |info: &&StaydInfo| info.name == finding.stayd;
    let stayd = stayds.iter().find(of_its).and_then(|info| info.pid);
    let why = why(finding.assessment.ownership);
    Some(match finding.treatment {
        Treatment::Supervised => format!(
            "It belongs to {life} ({why}), which stayd (pid {}) supervises: stayd watches it, ends it and starts it again with \
             the service. Use `stayd stop {service}` or `stayd restart {service}`, not kill.",
            stayd.unwrap_or_default()
        ),
        Treatment::Adopt => format!(
            "It belongs to {life} ({why}), and no stayd runs: the next stayd adopts it and starts no second copy. If the \
             configured command has changed by then, it stops the process in order and starts the service anew."
        ),
        Treatment::Replace => format!(
            "It belongs to {life} ({why}), and no stayd runs: because of leftover = \"replace\", the next stayd stops it in \
             order and starts a new instance."
        ),
        Treatment::KillTree => format!(
            "It is left from {life} ({why}), whose main process has ended, and no stayd runs: the next stayd ends it and then \
             starts a new instance."
        ),
        Treatment::BlockService => format!(
            "The claim of {life} names exactly this process, but it shows no evidence of that instance, and a claim can be \
             forged: stayd never signals it, and starts no second copy of {service} while it runs. End it with `kill {pid}` if \
             you know what it is."
        ),
        Treatment::PortConflict => format!(
            "Nothing proves that it belongs to {service} ({why}), but it holds its port: a conflict. stayd never signals it; \
             {service} {} blocked until the port is free, and then starts by itself. Stop it, or use another port.",
            if stayd.is_some() { "stays" } else { "would be" }
        ),
        Treatment::Attached => format!(
            "Nothing proves that it belongs to {service} ({why}), but it holds its port: stayd (pid {}) is attached, which means \
             that it watches the process like the service, and never signals it, not even when stayd itself stops. When it \
             ends, {service} starts by itself.",
            stayd.unwrap_or_default()
        ),
        Treatment::Attach => format!(
            "Nothing proves that it belongs to {service} ({why}), but it holds its port: when {service} starts, stayd attaches to \
             it, which means that it watches the process and never signals it. When it ends, stayd starts an instance of {service}."
        ),
        Treatment::Outsider => format!(
            "Nothing proves that it belongs to {life} ({why}), which runs and needs this port: stayd draws no conclusion from its \
             answers (port_owner = \"any\" accepts them), and never signals it."
        ),
        Treatment::Orphaned => format!(
            "It belongs to {life} ({why}), but {service} is no longer configured: stayd does not watch it and leaves it alone. \
             End it with `kill {pid}`, or put [service.{service}] back: the next start adopts it."
        ),
        Treatment::None => match finding.assessment.ownership {
            Ownership::Unrelated | Ownership::Proven(_) => return None,
            Ownership::Unproven | Ownership::PidReused | Ownership::OtherBoot => {
                format!("It does not belong to {life}: {why}. stayd never signals it.")
            }
        },
    })
}

/// Why a process belongs to an instance, or does not.
pub(super) fn why(ownership: Ownership) -> String {
    match ownership {
        Ownership::Proven(proof) => format!("it {}", proof.words()),
        Ownership::Unproven => {
            "the claim names it, but it shows no evidence of the instance".to_owned()
        }
        Ownership::PidReused => {
            "the claim names its pid with another start time: the kernel has reused the pid"
                .to_owned()
        }
        Ownership::OtherBoot => {
            "the claim was written in another boot or another pid namespace, so its pids mean nothing here"
                .to_owned()
        }
        Ownership::Unrelated => "it shows no evidence of any instance".to_owned(),
    }
}

/// Sentences that are not about one visible process.
pub(super) fn remarks(explanation: &Explanation) -> Vec<String> {
    let found = &explanation.found;
    let mut remarks: Vec<_> = found.unseen.iter().map(hidden_holder).collect();
    if found.more > 0 {
        remarks.push(format!("{} more processes hold the same port.", found.more));
    }
    if found.holders.is_empty() && found.unseen.is_empty() {
        remarks.push(no_process(explanation));
    }
    remarks.extend(port_of_that_number(explanation));
    for info in &explanation.stayds {
        for (service, reading) in &info.claims {
            if let ClaimOnDisk::Unverifiable(why) = reading {
                remarks.push(format!(
                    "The claim of {}/{service} is not valid ({why}); stayd leaves the processes that it names alone.",
                    info.name
                ));
            }
        }
    }
    remarks
}

/// Says how to ask about the port whose number was given as a pid, if a process listens on it or no process has that pid.
fn port_of_that_number(explanation: &Explanation) -> Option<String> {
    let Target::Process(pid) = explanation.target else {
        return None;
    };
    let port = u16::try_from(pid).ok()?;
    let listens = socket::listeners(port).is_ok_and(|found| !found.is_empty());
    if listens {
        Some(format!(
            "A process listens on TCP port {port}: `stayd explain :{port}` explains that one."
        ))
    } else if explanation.found.holders.is_empty() {
        Some(format!(
            "For a TCP port, write a colon before its number: `stayd explain :{port}`."
        ))
    } else {
        None
    }
}

fn hidden_holder(listener: &Listener) -> String {
    let why = if identity::euid() == 0 {
        "it is in another pid namespace (a container), or is the kernel itself"
    } else {
        "only that user and root may see it; `sudo stayd explain` shows more"
    };
    format!(
        "{} is held by a process of uid {} that is not visible from here: {why}. stayd never signals it, and a service that needs \
         the port is blocked until it is free.",
        listener.addr, listener.uid
    )
}

fn no_process(explanation: &Explanation) -> String {
    let port = match explanation.target {
        Target::Process(pid) => {
            return format!("There is no process {pid}, or this user may not see it.");
        }
        Target::Port(port) => port,
    };
    if !socket::lists_all_users() {
        return format!(
            "No process that this user may see listens on TCP port {port}; only root sees the processes of other users."
        );
    }
    let waiting = explanation.stayds.iter().flat_map(|info| {
        let wants = info
            .services
            .iter()
            .filter(move |each| each.port == Some(port));
        wants.map(|service| format!("{}/{}", info.name, service.name))
    });
    let waiting: Vec<_> = waiting.collect();
    let next = if waiting.is_empty() {
        String::new()
    } else {
        format!(" It is free for {}.", waiting.join(", "))
    };
    format!("No process listens on TCP port {port} here (a container has its own ports).{next}")
}
