//! Explains a process, or the processes that hold a port: compares them with the claims of every known stayd.
//!
//! It only reads: it sends no signal, writes nothing and connects to nothing.

mod stayd_info;

pub use stayd_info::{ServiceInfo, StaydInfo};

use crate::act::helper::Helpers;
use crate::act::process_exit::still_runs;
use crate::act::process_info::{ProcessInfo, ProcessInspector, Shown, lineage};
use crate::act::spawn::spawner::Spawner;
use crate::act::tree::is_in_other_cgroup;
use crate::decide::event::Life;
use crate::decide::explain::{
    Assessment, ExplainContext, Ownership, ProcessSupervisor, StoredClaim, Treatment, Visibility,
    assess, supervisor, treatment,
};
use crate::decide::ownership::ObservedProcess;
use crate::sys::identity;
use crate::sys::process::{self, Process, Stat};
use crate::sys::socket::{self, Listener};
use stayd_info::{
    Claimed, blocked_services, claims_of, holds, listed_main_processes, supervising_stayd,
};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The most time for everything that is read from processes' own memory, together.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of listening sockets of one port that are examined (with SO_REUSEPORT each worker has one).
const LISTENERS_MAX: usize = 64;
/// The largest number of processes that are described; the others are counted.
const HOLDERS_MAX: usize = 16;

/// The processes that hold a port, or the one process that was asked about.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// The processes, those with the lowest numbers first.
    pub holders: Vec<ExplainedProcess>,
    /// How many more hold the port.
    pub more: usize,
    /// Listening sockets that no visible process has open.
    pub unseen: Vec<Listener>,
}

/// A process and what is known about it.
#[derive(Clone, Debug)]
pub struct ExplainedProcess {
    /// Its description.
    pub process_info: ProcessInfo,
    /// Its listening addresses on the port in question, or on ports that a service must own.
    pub addresses: Vec<SocketAddr>,
    /// Its parents, the nearest first: pid and short name.
    pub parents: Vec<(i32, String)>,
    /// The short name of its session's leader, if that runs.
    pub session_leader: Option<String>,
    /// Its cgroup, on Linux.
    pub cgroup: Option<String>,
    /// What supervises it.
    pub supervisor: ProcessSupervisor,
    /// The process is itself the stayd of this name.
    pub is_stayd_of: Option<String>,
    /// The comparison with each claim.
    pub findings: Vec<Finding>,
}

/// The comparison of a process with the claim of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stayd's name.
    pub stayd: String,
    /// The service.
    pub service: String,
    /// The number of the instance in the claim.
    pub life: Life,
    /// The evidence that the process shows, and what it proves.
    pub assessment: Assessment,
    /// What stayd would do with the process.
    pub treatment: Treatment,
}

/// Explains the processes that listen on TCP `port`. `program` is stayd's own program.
///
/// # Errors
/// The kernel does not list its sockets or its processes.
pub async fn explain_port(
    port: u16,
    stayds: &[StaydInfo],
    program: PathBuf,
) -> io::Result<Holders> {
    let listeners = socket::listeners(port)?;
    let mut holders: BTreeMap<i32, Vec<SocketAddr>> = BTreeMap::new();
    let mut unseen = Vec::new();
    for listener in listeners.into_iter().take(LISTENERS_MAX) {
        let pids = socket::find_holders(&listener, LISTENERS_MAX)?;
        if pids.is_empty() {
            unseen.push(listener);
        }
        for pid in pids {
            holders.entry(pid).or_default().push(listener.addr);
        }
    }
    let more = holders.len().saturating_sub(HOLDERS_MAX);
    let shown: Vec<_> = holders.into_iter().take(HOLDERS_MAX).collect();
    let holders = explain_all(shown, stayds, program).await;
    Ok(Holders {
        holders,
        more,
        unseen,
    })
}

/// Explains one process. The result is empty when there is no such process, or when the kernel hides it.
pub async fn explain_process(pid: i32, stayds: &[StaydInfo], program: PathBuf) -> Holders {
    let services = stayds.iter().flat_map(|stayd| &stayd.services);
    let listeners = services
        .filter_map(|info| info.port)
        .flat_map(|port| socket::listeners(port).unwrap_or_default());
    let held = listeners.filter(|each| socket::holds_listener(pid, each).unwrap_or(false));
    let addresses = held.map(|listener| listener.addr).collect();
    Holders {
        holders: explain_all(vec![(pid, addresses)], stayds, program).await,
        ..Holders::default()
    }
}

async fn explain_all(
    pids: Vec<(i32, Vec<SocketAddr>)>,
    stayds: &[StaydInfo],
    program: PathBuf,
) -> Vec<ExplainedProcess> {
    let spawner = Spawner::new();
    let helpers = Helpers::new(spawner.clone(), &program);
    let explaining = async {
        let mut explainer = Explainer {
            inspector: ProcessInspector::new(&helpers, READ_TIMEOUT),
            tokens: BTreeMap::new(),
            here: (
                identity::boot_id().unwrap_or_default(),
                identity::pid_namespace(),
            ),
        };
        let mut explained = Vec::new();
        for (pid, addresses) in pids {
            explained.extend(explainer.explain(pid, addresses, stayds).await);
        }
        explained
    };
    spawner.reap_during(explaining).await
}

struct Explainer {
    inspector: ProcessInspector,
    /// The tokens that were read, so that each process's token is read once.
    tokens: BTreeMap<Process, Shown<Option<String>>>,
    /// This boot, and stayd's pid namespace.
    here: (String, u64),
}

impl Explainer {
    async fn explain(
        &mut self,
        pid: i32,
        addresses: Vec<SocketAddr>,
        stayds: &[StaydInfo],
    ) -> Option<ExplainedProcess> {
        let process_info = self.inspector.describe(pid).await?;
        let lineage = lineage(&process_info.stat);
        let mut findings = Vec::new();
        for stayd in stayds {
            for claim in claims_of(stayd) {
                findings.push(
                    self.compare_with_claim(stayd, &claim, &lineage, &addresses)
                        .await,
                );
            }
            findings.extend(listed_main_processes(stayd, &lineage));
            findings.extend(blocked_services(stayd, &addresses, &findings));
        }
        let parents = lineage.iter().skip(1);
        let parents: Vec<_> = parents
            .map(|stat| (stat.process.pid, stat.comm.clone()))
            .collect();
        let names: Vec<&str> = parents.iter().map(|(_, name)| name.as_str()).collect();
        let cgroup = process::cgroup(pid);
        Some(ExplainedProcess {
            addresses,
            supervisor: supervising_stayd(stayds, &lineage)
                .unwrap_or_else(|| supervisor(cgroup.as_deref(), &names)),
            session_leader: process::stat(process_info.stat.sid)
                .ok()
                .map(|stat| stat.comm),
            is_stayd_of: stayds
                .iter()
                .find(|stayd| stayd.pid == Some(pid))
                .map(|stayd| stayd.name.clone()),
            cgroup,
            parents,
            process_info,
            findings,
        })
    }

    /// Compares a process with one claim. Starts at the oldest parent, so that descendants of a member are recognized as such.
    async fn compare_with_claim(
        &mut self,
        stayd: &StaydInfo,
        claimed: &Claimed,
        lineage: &[Stat],
        addresses: &[SocketAddr],
    ) -> Finding {
        let info = stayd
            .services
            .iter()
            .find(|each| each.name == claimed.service);
        let claim = &claimed.claim;
        let members: Vec<Process> = claim.members.iter().map(|&each| each.into()).collect();
        let stored = StoredClaim {
            life: Life(claim.life),
            main: claim.main(),
            first: claim.first.map(Process::from),
            uid: claim.uid.unwrap_or_else(identity::euid),
            members: &members,
            present: (&claim.boot_id, claim.pid_ns) == (&self.here.0, self.here.1),
            runs: claimed.is_running,
            ourselves: stayd.pid.unwrap_or_else(identity::pid),
        };
        let mut assessment = Assessment {
            evidence: Vec::new(),
            ownership: Ownership::Unrelated,
        };
        for stat in lineage.iter().rev() {
            let below_member = matches!(assessment.ownership, Ownership::Proven(_));
            let (mut seen, visibility) = self.observe(stayd, claimed, stat).await;
            seen.below_member = below_member;
            assessment = assess(&stored, &seen, visibility);
        }
        let around = ExplainContext {
            orphaned: info.is_none() && !stayd.services.is_empty(),
            stayd_runs: stayd.pid.is_some(),
            is_main: claim
                .main()
                .is_none_or(|main| Some(main) == lineage.first().map(|stat| stat.process)),
            main_runs: claim.main().is_some_and(still_runs),
            replaces: info.is_some_and(|info| info.replaces),
            holds_its_port: holds(addresses, info.map_or(claim.port, |info| info.port)),
            service_runs: claimed.is_running,
            attached: info.is_some_and(|info| info.attached),
            attaches: info.is_some_and(|info| info.attaches),
        };
        Finding {
            stayd: stayd.name.clone(),
            service: claimed.service.clone(),
            life: stored.life,
            treatment: treatment(assessment.ownership, &around),
            assessment,
        }
    }

    async fn observe(
        &mut self,
        stayd: &StaydInfo,
        claimed: &Claimed,
        stat: &Stat,
    ) -> (ObservedProcess, Visibility) {
        let Process { pid, .. } = stat.process;
        let claim = &claimed.claim;
        let held = process::inherits(pid, &claim.inherited_file());
        let token = self.token_of(stat.process).await;
        let carried = |token: &Option<String>| token.as_deref() == Some(claim.token.as_str());
        let leader = process::stat(stat.sid).ok();
        let seen = ObservedProcess {
            process: stat.process,
            below_member: false,
            session: stat.sid,
            session_leader: leader.map(|leader| leader.process),
            in_cgroup: is_in_cgroup(pid, stayd, claimed),
            holds_claim: *held.as_ref().unwrap_or(&false),
            in_other_cgroup: claim
                .main()
                .is_some_and(|main| is_in_other_cgroup(pid, main.pid)),
            carries_token: matches!(&token, Shown::This(token) if carried(token)),
            uid: process::uid(pid).unwrap_or(u32::MAX),
            our_child: false,
            descends_from_us: stayd.pid.is_some_and(|pid| descends_from(stat, pid)),
            spawned: stat.before_exec,
        };
        let visibility = Visibility {
            descriptors: held.is_ok(),
            environment: token != Shown::Hidden,
        };
        (seen, visibility)
    }

    async fn token_of(&mut self, process: Process) -> Shown<Option<String>> {
        if let Some(known) = self.tokens.get(&process) {
            return known.clone();
        }
        let token = self.inspector.token_of(process).await;
        self.tokens.insert(process, token.clone());
        token
    }
}

/// Whether the process or one of its parents is a child of `ancestor`.
fn descends_from(stat: &Stat, ancestor: i32) -> bool {
    lineage(stat).iter().any(|one| one.ppid == ancestor)
}

/// Whether the process is in the instance's cgroup. Compares only the cgroup's name, so it works wherever that stayd runs.
fn is_in_cgroup(pid: i32, stayd: &StaydInfo, claimed: &Claimed) -> bool {
    let name =
        crate::act::tree::cgroups::name(&stayd.name, &claimed.service, Life(claimed.claim.life));
    process::cgroup(pid).is_some_and(|cgroup| cgroup.split('/').any(|part| part == name))
}
