//! Prints an explanation as JSON.

use super::text::{remarks, sentences, why};
use super::{Explanation, Target};
use crate::act::foreign::explain::{ExplainedProcess, Finding, StaydInfo};
use crate::api::wire::SCHEMA;
use crate::decide::explain::{Observation, Ownership, ProcessSupervisor, Treatment};
use crate::decide::ownership::Proof;
use crate::sys::socket;
use serde_json::{Value, json};

/// The whole explanation.
pub(super) fn answer(explanation: &Explanation) -> Value {
    let (port, pid) = match explanation.target {
        Target::Port(port) => (Some(port), None),
        Target::Process(pid) => (None, Some(pid)),
    };
    let found = &explanation.found;
    let processes = found.holders.iter();
    let processes: Vec<_> = processes
        .map(|explained| process(explained, &explanation.stayds))
        .collect();
    let unseen = found.unseen.iter();
    let unseen: Vec<_> = unseen
        .map(|listener| json!({ "address": listener.addr.to_string(), "uid": listener.uid }))
        .collect();
    json!({
        "schema": SCHEMA,
        "port": port,
        "pid": pid,
        "processes": processes,
        "more": found.more,
        "unseen": unseen,
        "all_listed": socket::lists_all_users(),
        "remarks": remarks(explanation),
    })
}

fn process(explained: &ExplainedProcess, stayds: &[StaydInfo]) -> Value {
    let process_info = &explained.process_info;
    let addresses = explained.addresses.iter().map(ToString::to_string);
    let parents = explained.parents.iter();
    let parents: Vec<_> = parents
        .map(|(pid, name)| json!({ "pid": pid, "name": name }))
        .collect();
    let findings: Vec<_> = explained.findings.iter().map(finding).collect();
    let (supervisor, kept_as) = supervisor(&explained.supervisor);
    json!({
        "pid": process_info.stat.process.pid,
        "name": process_info.stat.comm,
        "command": process_info.command,
        "uid": process_info.uid,
        "user": process_info.user,
        "started_at": process_info.started_at(),
        "addresses": addresses.collect::<Vec<_>>(),
        "parents": parents,
        "session": { "id": process_info.stat.sid, "leader": explained.session_leader },
        "cgroup": explained.cgroup,
        "kept_by": supervisor,
        "kept_as": kept_as,
        "stayd_of": explained.is_stayd_of,
        "claims": findings,
        "sentences": sentences(explained, stayds),
    })
}

const fn supervisor(supervisor: &ProcessSupervisor) -> (&'static str, Option<&String>) {
    match supervisor {
        ProcessSupervisor::Stayd(instance) => ("stayd", Some(instance)),
        ProcessSupervisor::Unit(unit) => ("systemd", Some(unit)),
        ProcessSupervisor::Container(name) => ("container", Some(name)),
        ProcessSupervisor::Login(scope) => ("login", Some(scope)),
        ProcessSupervisor::Launchd => ("launchd", None),
        ProcessSupervisor::Init(_) => ("first-process", None),
        ProcessSupervisor::Unknown => ("nobody", None),
    }
}

fn finding(finding: &Finding) -> Value {
    let evidence = finding.assessment.evidence.iter();
    let evidence: serde_json::Map<_, _> = evidence
        .map(|(proof, observation)| (evidence_name(*proof).to_owned(), observed(*observation)))
        .collect();
    json!({
        "instance": finding.stayd,
        "service": finding.service,
        "life": finding.life.0,
        "ours": matches!(finding.assessment.ownership, Ownership::Proven(_)),
        "standing": ownership(finding.assessment.ownership),
        "why": why(finding.assessment.ownership),
        "marks": evidence,
        "outcome": outcome(finding.treatment),
    })
}

/// null where this user may not see it.
const fn observed(observation: Observation) -> Value {
    match observation {
        Observation::Shown => Value::Bool(true),
        Observation::Missing => Value::Bool(false),
        Observation::Hidden => Value::Null,
    }
}

const fn evidence_name(proof: Proof) -> &'static str {
    match proof {
        Proof::Child => "main",
        Proof::Parentage => "parentage",
        Proof::Member => "member",
        Proof::Cgroup => "cgroup",
        Proof::Session => "session",
        Proof::ClaimFd => "claim-fd",
        Proof::Token => "token",
        Proof::OrphanOfSoleInstance => "orphan",
    }
}

const fn ownership(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Proven(_) => "ours",
        Ownership::Unproven => "unproven",
        Ownership::PidReused => "number-reused",
        Ownership::OtherBoot => "of-elsewhere",
        Ownership::Unrelated => "not-its",
    }
}

const fn outcome(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Supervised => "kept",
        Treatment::Adopt => "adopt",
        Treatment::Replace => "replace",
        Treatment::KillTree => "end",
        Treatment::BlockService => "block",
        Treatment::PortConflict => "conflict",
        Treatment::Attached => "attached",
        Treatment::Attach => "attach",
        Treatment::Outsider => "outsider",
        Treatment::Orphaned => "forgotten",
        Treatment::None => "nothing",
    }
}
