//! What is known of a stayd and its services: from the running stayd, from its configuration, from its claims.

use super::Finding;
use crate::act::claims::{Claim, ClaimOnDisk};
use crate::decide::event::Life;
use crate::decide::explain::{
    Assessment, ExplainContext, Observation, Ownership, ProcessSupervisor, Treatment, treatment,
};
use crate::decide::ownership::Proof;
use crate::sys::process::Stat;
use std::net::SocketAddr;

/// What is known of one stayd.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Its name.
    pub instance: String,
    /// Its pid, if it runs.
    pub stayd: Option<i32>,
    /// Its services, as the running stayd or the configuration lists them.
    pub services: Vec<Watched>,
    /// Orphans that landed with it and that no service can be proven to own, as the running stayd lists them.
    pub orphans: Vec<i32>,
    /// Its claims, by service.
    pub claims: Vec<(String, ClaimOnDisk)>,
}

/// A service of a stayd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// Its main process, as the running stayd tells.
    pub pid: Option<i32>,
    /// Its current or last life.
    pub life: u32,
    /// The port it wants.
    pub port: Option<u16>,
    /// `leftover = "replace"`.
    pub replaces: bool,
    /// stayd watches a foreign process in its place.
    pub attached: bool,
    /// `stranger = "attach"`.
    pub attaches: bool,
}

/// The stayd that the process descends from.
pub(crate) fn stayd_above(ledgers: &[Ledger], line: &[Stat]) -> Option<ProcessSupervisor> {
    let pids = line.iter().skip(1).map(|stat| Some(stat.process.pid));
    let above = |pid| ledgers.iter().find(|ledger| ledger.stayd == pid);
    let mut known = pids.filter_map(above);
    known
        .next()
        .map(|ledger| ProcessSupervisor::Stayd(ledger.instance.clone()))
}

/// A claim that a process can be compared with.
pub(crate) struct Claimed {
    /// The service.
    pub(crate) service: String,
    /// The claim.
    pub(crate) claim: Claim,
    /// The running stayd says that this instance runs.
    pub(crate) runs: bool,
}

/// The claims of a stayd that can be believed.
pub(crate) fn claims_of(ledger: &Ledger) -> Vec<Claimed> {
    let read = ledger.claims.iter().filter_map(|(service, reading)| {
        let ClaimOnDisk::Valid(claim) = reading else {
            return None;
        };
        let runs = |watched: &Watched| {
            watched.name == *service && watched.pid.is_some() && watched.life == claim.life
        };
        Some(Claimed {
            runs: ledger.services.iter().any(runs),
            service: service.clone(),
            claim: (**claim).clone(),
        })
    });
    read.collect()
}

/// The main processes that the running stayd lists, where its claims cannot be read.
pub(crate) fn by_word(ledger: &Ledger, line: &[Stat]) -> Vec<Finding> {
    let is_read = |watched: &Watched| {
        let valid = |(name, reading): &(String, ClaimOnDisk)| {
            *name == watched.name && matches!(reading, ClaimOnDisk::Valid(_))
        };
        ledger.claims.iter().any(valid)
    };
    let told = ledger.services.iter().filter(|watched| !is_read(watched));
    let found = told.filter_map(|watched| {
        let place = line
            .iter()
            .position(|stat| Some(stat.process.pid) == watched.pid)?;
        let proof = if place == 0 {
            Proof::Child
        } else {
            Proof::Parentage
        };
        Some(Finding {
            instance: ledger.instance.clone(),
            service: watched.name.clone(),
            life: Life(watched.life),
            assessment: Assessment {
                evidence: vec![(proof, Observation::Shown)],
                ownership: Ownership::Proven(proof),
            },
            treatment: Treatment::Supervised,
        })
    });
    found.collect()
}

/// The services that want a port which this process holds, where nothing else is known.
pub(crate) fn in_the_way(
    ledger: &Ledger,
    addresses: &[SocketAddr],
    known: &[Finding],
) -> Vec<Finding> {
    let is_known = |watched: &&Watched| {
        let mut findings = known.iter();
        findings.any(|each| each.instance == ledger.instance && each.service == watched.name)
    };
    let blocked = ledger.services.iter().filter(|watched| !is_known(watched));
    let blocked = blocked.filter(|watched| holds(addresses, watched.port));
    let found = blocked.map(|watched| Finding {
        instance: ledger.instance.clone(),
        service: watched.name.clone(),
        life: Life(watched.life),
        assessment: Assessment {
            evidence: Vec::new(),
            ownership: Ownership::Unrelated,
        },
        treatment: treatment(
            Ownership::Unrelated,
            &ExplainContext {
                orphaned: false,
                stayd_runs: ledger.stayd.is_some(),
                is_main: false,
                main_lives: watched.pid.is_some(),
                replaces: watched.replaces,
                holds_its_port: true,
                service_runs: watched.pid.is_some(),
                attached: watched.attached,
                attaches: watched.attaches,
            },
        ),
    });
    found.collect()
}

pub(crate) fn holds(addresses: &[SocketAddr], port: Option<u16>) -> bool {
    port.is_some_and(|port| addresses.iter().any(|address| address.port() == port))
}
