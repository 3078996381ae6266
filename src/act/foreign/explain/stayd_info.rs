//! What is known of one stayd and its services: from the running stayd, from its configuration and from its claims.

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
pub struct StaydInfo {
    /// Its name.
    pub name: String,
    /// Its pid, if it runs.
    pub pid: Option<i32>,
    /// Its services, as the running stayd or the configuration lists them.
    pub services: Vec<ServiceInfo>,
    /// Orphans that were reparented to it and that belong to no known instance, as the running stayd lists them.
    pub orphans: Vec<i32>,
    /// Its claims, by service.
    pub claims: Vec<(String, ClaimOnDisk)>,
}

/// A service of a stayd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// Its main process, as the running stayd reports it.
    pub pid: Option<i32>,
    /// The number of its current or last instance.
    pub life: u32,
    /// The port that it must own.
    pub port: Option<u16>,
    /// `leftover = "replace"`.
    pub replaces: bool,
    /// stayd watches a foreign process in its place.
    pub attached: bool,
    /// `stranger = "attach"`.
    pub attaches: bool,
}

/// The stayd that the process descends from.
pub(crate) fn supervising_stayd(
    stayds: &[StaydInfo],
    lineage: &[Stat],
) -> Option<ProcessSupervisor> {
    let pids = lineage.iter().skip(1).map(|stat| Some(stat.process.pid));
    let above = |pid| stayds.iter().find(|info| info.pid == pid);
    let mut known = pids.filter_map(above);
    known
        .next()
        .map(|info| ProcessSupervisor::Stayd(info.name.clone()))
}

/// A claim that a process can be compared with.
pub(crate) struct Claimed {
    /// The service.
    pub(crate) service: String,
    /// The claim.
    pub(crate) claim: Claim,
    /// The running stayd reports that this instance runs.
    pub(crate) is_running: bool,
}

/// The valid claims of a stayd.
pub(crate) fn claims_of(stayd: &StaydInfo) -> Vec<Claimed> {
    let read = stayd.claims.iter().filter_map(|(service, reading)| {
        let ClaimOnDisk::Valid(claim) = reading else {
            return None;
        };
        let is_running = |info: &ServiceInfo| {
            info.name == *service && info.pid.is_some() && info.life == claim.life
        };
        Some(Claimed {
            is_running: stayd.services.iter().any(is_running),
            service: service.clone(),
            claim: (**claim).clone(),
        })
    });
    read.collect()
}

/// The main processes that the running stayd lists and whose claims cannot be read.
pub(crate) fn listed_main_processes(stayd: &StaydInfo, lineage: &[Stat]) -> Vec<Finding> {
    let is_read = |info: &ServiceInfo| {
        let valid = |(name, reading): &(String, ClaimOnDisk)| {
            *name == info.name && matches!(reading, ClaimOnDisk::Valid(_))
        };
        stayd.claims.iter().any(valid)
    };
    let unread = stayd.services.iter().filter(|info| !is_read(info));
    let found = unread.filter_map(|info| {
        let position = lineage
            .iter()
            .position(|stat| Some(stat.process.pid) == info.pid)?;
        let proof = if position == 0 {
            Proof::Child
        } else {
            Proof::Parentage
        };
        Some(Finding {
            stayd: stayd.name.clone(),
            service: info.name.clone(),
            life: Life(info.life),
            assessment: Assessment {
                evidence: vec![(proof, Observation::Shown)],
                ownership: Ownership::Proven(proof),
            },
            treatment: Treatment::Supervised,
        })
    });
    found.collect()
}

/// The services whose port this process holds and that `known` does not name.
pub(crate) fn blocked_services(
    stayd: &StaydInfo,
    addresses: &[SocketAddr],
    known: &[Finding],
) -> Vec<Finding> {
    let is_known = |info: &&ServiceInfo| {
        let mut findings = known.iter();
        findings.any(|each| each.stayd == stayd.name && each.service == info.name)
    };
    let blocked = stayd.services.iter().filter(|info| !is_known(info));
    let blocked = blocked.filter(|info| holds(addresses, info.port));
    let found = blocked.map(|info| Finding {
        stayd: stayd.name.clone(),
        service: info.name.clone(),
        life: Life(info.life),
        assessment: Assessment {
            evidence: Vec::new(),
            ownership: Ownership::Unrelated,
        },
        treatment: treatment(
            Ownership::Unrelated,
            &ExplainContext {
                orphaned: false,
                stayd_runs: stayd.pid.is_some(),
                is_main: false,
                main_runs: info.pid.is_some(),
                replaces: info.replaces,
                holds_its_port: true,
                service_runs: info.pid.is_some(),
                attached: info.attached,
                attaches: info.attaches,
            },
        ),
    });
    found.collect()
}

pub(crate) fn holds(addresses: &[SocketAddr], port: Option<u16>) -> bool {
    port.is_some_and(|port| addresses.iter().any(|address| address.port() == port))
}
