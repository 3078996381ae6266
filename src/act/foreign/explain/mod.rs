//! Explains a process, or the processes that hold a port: compares them with the claims of every known stayd.
//!
//! It only looks: it sends no signal, writes nothing and connects to nothing.

mod ledger;

pub use ledger::{Ledger, Watched};

use crate::act::helper::Helpers;
use crate::act::process_info::{ProcessInfo, ProcessInspector, Shown, line_of};
use crate::act::spawn::spawner::Spawner;
use crate::decide::event::Life;
use crate::decide::explain::{
    Assessment, ExplainContext, Ownership, ProcessSupervisor, StoredClaim, Treatment, Visibility,
    assess, supervisor, treatment,
};
use crate::decide::ownership::ObservedProcess;
use crate::sys::identity;
use crate::sys::process::{self, Process, Stat};
use crate::sys::socket::{self, Listener};
use ledger::{Claimed, by_word, claims_of, holds, in_the_way, stayd_above};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is read from processes' own memory takes no longer than this, together.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// At most so many listening sockets of one port are looked at (with SO_REUSEPORT each worker has one).
const LISTENERS_MAX: usize = 64;
/// At most so many processes are described; the others are counted.
const HOLDERS_MAX: usize = 16;

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    /// The processes, those with the lowest numbers first.
    pub holders: Vec<Explained>,
    /// How many more hold the port.
    pub more: usize,
    /// Listening sockets that are open in no process that stayd may see.
    pub unseen: Vec<Listener>,
}

/// A process and what is known about it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Its description.
    pub process_info: ProcessInfo,
    /// Its listening addresses on the port in question, or on ports that a service wants.
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
    pub instance: String,
    /// The service.
    pub service: String,
    /// The life in the claim.
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
pub async fn explain_port(port: u16, ledgers: &[Ledger], program: PathBuf) -> io::Result<Holders> {
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
    let holders = explain_all(shown, ledgers, program).await;
    Ok(Holders {
        holders,
        more,
        unseen,
    })
}

/// Explains one process. The result is empty when there is no such process, or the kernel hides it.
pub async fn explain_process(pid: i32, ledgers: &[Ledger], program: PathBuf) -> Holders {
    let wanted = ledgers.iter().flat_map(|ledger| &ledger.services);
    let listeners = wanted
        .filter_map(|watched| watched.port)
        .flat_map(|port| socket::listeners(port).unwrap_or_default());
    let held = listeners.filter(|each| socket::holds_listener(pid, each).unwrap_or(false));
    let addresses = held.map(|listener| listener.addr).collect();
    Holders {
        holders: explain_all(vec![(pid, addresses)], ledgers, program).await,
        ..Holders::default()
    }
}

async fn explain_all(
    pids: Vec<(i32, Vec<SocketAddr>)>,
    ledgers: &[Ledger],
    program: PathBuf,
) -> Vec<Explained> {
    let spawner = Spawner::new();
    let helpers = Helpers::new(spawner.clone(), &program);
    let looking = async {
        let mut look = Look {
            inspector: ProcessInspector::new(&helpers, LOOK_DEADLINE),
            tokens: BTreeMap::new(),
            here: (
                identity::boot_id().unwrap_or_default(),
                identity::pid_namespace(),
            ),
        };
        let mut explained = Vec::new();
        for (pid, addresses) in pids {
            explained.extend(look.explain(pid, addresses, ledgers).await);
        }
        explained
    };
    spawner.attend(looking).await
}

struct Look {
    inspector: ProcessInspector,
    /// Each process's token is read once.
    tokens: BTreeMap<Process, Shown<Option<String>>>,
    /// This boot, and stayd's pid namespace.
    here: (String, u64),
}

impl Look {
    async fn explain(
        &mut self,
        pid: i32,
        addresses: Vec<SocketAddr>,
        ledgers: &[Ledger],
    ) -> Option<Explained> {
        let process_info = self.inspector.describe(pid).await?;
        let line = line_of(&process_info.stat);
        let mut findings = Vec::new();
        for ledger in ledgers {
            for claim in claims_of(ledger) {
                findings.push(self.hold_against(ledger, &claim, &line, &addresses).await);
            }
            findings.extend(by_word(ledger, &line));
            findings.extend(in_the_way(ledger, &addresses, &findings));
        }
        let parents = line.iter().skip(1);
        let parents: Vec<_> = parents
            .map(|stat| (stat.process.pid, stat.comm.clone()))
            .collect();
        let names: Vec<&str> = parents.iter().map(|(_, name)| name.as_str()).collect();
        let cgroup = process::cgroup(pid);
        Some(Explained {
            addresses,
            supervisor: stayd_above(ledgers, &line)
                .unwrap_or_else(|| supervisor(cgroup.as_deref(), &names)),
            session_leader: process::stat(process_info.stat.sid)
                .ok()
                .map(|stat| stat.comm),
            is_stayd_of: ledgers
                .iter()
                .find(|ledger| ledger.stayd == Some(pid))
                .map(|ledger| ledger.instance.clone()),
            cgroup,
            parents,
            process_info,
            findings,
        })
    }

    /// Goes from the oldest parent down, so that descendants of a member are known to descend from it.
    async fn hold_against(
        &mut self,
        ledger: &Ledger,
        claimed: &Claimed,
        line: &[Stat],
        addresses: &[SocketAddr],
    ) -> Finding {
        let watched = ledger
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
            runs: claimed.runs,
            ourselves: ledger.stayd.unwrap_or_else(identity::pid),
        };
        let mut assessment = Assessment {
            evidence: Vec::new(),
            ownership: Ownership::Unrelated,
        };
        for stat in line.iter().rev() {
            let below_member = matches!(assessment.ownership, Ownership::Proven(_));
            let (mut seen, visibility) = self.look_at(ledger, claimed, stat).await;
            seen.below_member = below_member;
            assessment = assess(&stored, &seen, visibility);
        }
        let around = ExplainContext {
            orphaned: watched.is_none() && !ledger.services.is_empty(),
            stayd_runs: ledger.stayd.is_some(),
            is_main: claim
                .main()
                .is_none_or(|main| Some(main) == line.first().map(|stat| stat.process)),
            main_lives: claim.main().is_some_and(lives),
            replaces: watched.is_some_and(|watched| watched.replaces),
            holds_its_port: holds(
                addresses,
                watched.map_or(claim.port, |watched| watched.port),
            ),
            service_runs: claimed.runs,
            attached: watched.is_some_and(|watched| watched.attached),
            attaches: watched.is_some_and(|watched| watched.attaches),
        };
        Finding {
            instance: ledger.instance.clone(),
            service: claimed.service.clone(),
            life: stored.life,
            treatment: treatment(assessment.ownership, &around),
            assessment,
        }
    }

    async fn look_at(
        &mut self,
        ledger: &Ledger,
        claimed: &Claimed,
        stat: &Stat,
    ) -> (ObservedProcess, Visibility) {
        let Process { pid, .. } = stat.process;
        let claim = &claimed.claim;
        let held = process::holds_file(pid, claim.claim_fd.dev, claim.claim_fd.inode);
        let token = self.token_of(stat.process).await;
        let carried = |token: &Option<String>| token.as_deref() == Some(claim.token.as_str());
        let leader = process::stat(stat.sid).ok();
        let seen = ObservedProcess {
            process: stat.process,
            below_member: false,
            session: stat.sid,
            session_leader: leader.map(|leader| leader.process),
            in_cgroup: is_in_cgroup(pid, ledger, claimed),
            holds_claim: *held.as_ref().unwrap_or(&false),
            carries_token: matches!(&token, Shown::This(token) if carried(token)),
            uid: process::uid(pid).unwrap_or(u32::MAX),
            our_child: false,
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

/// Whether the process is in the instance's cgroup. The cgroup's name tells, wherever its stayd runs.
fn is_in_cgroup(pid: i32, ledger: &Ledger, claimed: &Claimed) -> bool {
    let name = crate::act::tree::cgroups::name(
        &ledger.instance,
        &claimed.service,
        Life(claimed.claim.life),
    );
    process::cgroup(pid).is_some_and(|cgroup| cgroup.split('/').any(|part| part == name))
}

fn lives(process: Process) -> bool {
    process::stat(process.pid).is_ok_and(|stat| stat.process == process && stat.is_alive())
}
