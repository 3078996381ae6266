//! `stayd explain :PORT` and `stayd explain PID`: what a process is, what proves that it belongs to a service, and what stayd
//! does with it.
//!
//! A running daemon is asked for its services. The claims are read from the state folder, so that this also works without a
//! daemon.

mod json;
mod text;

use super::args::CommonOptions;
use super::console::{Console, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use super::load_config;
use super::paths::{self, InstanceCandidate};
use crate::act::claims::{self, ClaimOnDisk};
use crate::act::foreign::explain::{
    Holders, ServiceInfo, StaydInfo, explain_port, explain_process,
};
use crate::api::client::{Client, ClientError};
use crate::api::wire::Status;
use crate::config::Config;
use crate::decide::explain::Treatment;
use crate::decide::policy::{OnLeftover, OnStranger};
use crate::sys;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for the status of a running daemon. Without an answer, the explanation uses the claims alone.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// What to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The processes that listen on this TCP port.
    Port(u16),
    /// The process with this pid.
    Process(i32),
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0).map(Self::Port),
            None => text.parse().ok().filter(|pid| *pid > 0).map(Self::Process),
        }
    }
}

/// The usage error for a text that is neither a port nor a pid.
fn not_a_target(what: &str) -> Failure {
    let port = what.rsplit_once(':').map(|(_host, port)| port);
    let port = port.and_then(|port| Target::parse(&format!(":{port}")));
    let advice = match port {
        Some(Target::Port(port)) => format!(
            "write `:{port}` for the processes that listen on TCP port {port}, at any address"
        ),
        Some(Target::Process(_)) | None => {
            "write `:PORT` for the processes that listen on a TCP port, such as `:8080`, or the pid of a process"
                .to_owned()
        }
    };
    Failure::new(Exit::Usage, format!("cannot explain {what}: {advice}"))
}

/// Everything that an answer is made from.
struct Explanation {
    target: Target,
    stayds: Vec<StaydInfo>,
    found: Holders,
}

/// Prints the explanation. The exit status is 0, 1 for a conflict or a process that does not exist, or 4 if the process that
/// holds the port is not visible.
pub(super) fn explain(console: Console, common: &CommonOptions, what: &str) -> Outcome {
    let target = Target::parse(what).ok_or_else(|| not_a_target(what))?;
    let program = paths::own_program()?;
    super::block_on(async {
        let stayds = stayds(common).await?;
        let found = examine(target, &stayds, program).await?;
        let explanation = Explanation {
            target,
            stayds,
            found,
        };
        if common.json {
            console.json(&json::answer(&explanation))?;
        } else {
            console.print(&text::answer(
                console,
                &explanation,
                sys::clock::sample().wall,
            ))?;
        }
        Ok(exit(&explanation))
    })
}

async fn examine(
    target: Target,
    stayds: &[StaydInfo],
    program: PathBuf,
) -> Result<Holders, Failure> {
    match target {
        Target::Process(pid) => Ok(explain_process(pid, stayds, program).await),
        Target::Port(port) => explain_port(port, stayds, program).await.map_err(|error| {
            Failure::system(&format!("list the listeners on port {port}"), &error)
        }),
    }
}

fn exit(explanation: &Explanation) -> Exit {
    let findings = explanation
        .found
        .holders
        .iter()
        .flat_map(|each| &each.findings);
    let mut treatments = findings.map(|finding| finding.treatment);
    if treatments
        .any(|treatment| matches!(treatment, Treatment::PortConflict | Treatment::BlockService))
    {
        return Exit::No;
    }
    let no_process = explanation.found.holders.is_empty();
    match explanation.target {
        Target::Process(_) if no_process => Exit::No,
        Target::Port(_) if !explanation.found.unseen.is_empty() => Exit::NoVerdict,
        Target::Port(_) if no_process && !sys::socket::lists_all_users() => Exit::NoVerdict,
        Target::Port(_) | Target::Process(_) => Exit::Done,
    }
}

/// The instances that the command line may mean, running or not.
async fn stayds(common: &CommonOptions) -> Result<Vec<StaydInfo>, Failure> {
    let config = load_config::from_file(common).ok();
    let config = config.map(|loaded| loaded.config);
    let mut stayds = Vec::new();
    for candidate in paths::instance_candidates(common)? {
        let config = config.as_ref();
        // A state folder may have any name. If the command line names both, the file says which instance the folder is of.
        let given = common.config.is_some() && common.state_dir.is_some();
        let config = config.filter(|config| given || config.name == candidate.name);
        stayds.push(stayd_info(&candidate, config).await);
    }
    Ok(stayds)
}

async fn stayd_info(candidate: &InstanceCandidate, config: Option<&Config>) -> StaydInfo {
    let mut info = StaydInfo {
        name: config
            .map_or(&candidate.name, |config| &config.name)
            .clone(),
        services: config.map(configured).unwrap_or_default(),
        ..StaydInfo::default()
    };
    let claimed = candidate.states.iter().flat_map(|state| claims(state));
    match ask_daemon(candidate).await {
        DaemonAnswer::Status(status) => {
            info.name.clone_from(&status.daemon.name);
            info.pid = Some(status.daemon.pid);
            info.claims = claims(Path::new(&status.daemon.state_dir));
            info.services = reported(&status, &info.services);
            let orphans = status.daemon.orphans.iter();
            info.orphans = orphans.map(|orphan| orphan.pid).collect();
        }
        DaemonAnswer::Silent => {
            info.pid = candidate.states.iter().find_map(|state| lock_holder(state));
            info.claims = claimed.collect();
        }
        DaemonAnswer::Absent => info.claims = claimed.collect(),
    }
    info
}

/// The answer of an instance's daemon.
enum DaemonAnswer {
    /// Its status.
    Status(Box<Status>),
    /// It runs, but does not answer, or refuses this user.
    Silent,
    /// No daemon runs.
    Absent,
}

/// The pid that the lock file names.
fn lock_holder(state: &Path) -> Option<i32> {
    let lock = std::fs::read_to_string(state.join("lock")).ok()?;
    lock.trim().parse().ok()
}

async fn ask_daemon(candidate: &InstanceCandidate) -> DaemonAnswer {
    for socket in &candidate.sockets {
        let client = Client::new(socket);
        let request = client.get::<Status>("/v1/status");
        let why = match tokio::time::timeout(STATUS_WITHIN, request).await {
            Ok(Ok(status)) => return DaemonAnswer::Status(Box::new(status)),
            Ok(Err(ClientError::NotRunning(_))) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_late) => format!("no answer within {} s", STATUS_WITHIN.as_secs()),
        };
        print_stderr(&format!(
            "stayd: cannot get the status of the stayd of {}: {why}; using its claims alone",
            candidate.name
        ));
        return DaemonAnswer::Silent;
    }
    DaemonAnswer::Absent
}

fn claims(state: &Path) -> Vec<(String, ClaimOnDisk)> {
    claims::read_all(state).unwrap_or_else(|error| {
        print_stderr(&format!(
            "stayd: cannot read the claims in {}: {error}; continuing without them",
            state.display()
        ));
        Vec::new()
    })
}

fn configured(config: &Config) -> Vec<ServiceInfo> {
    let services = config.services.iter().map(|service| ServiceInfo {
        name: service.name.clone(),
        port: service.port,
        replaces: service.policy.leftover == OnLeftover::Replace,
        attaches: service.policy.stranger == OnStranger::Attach,
        ..ServiceInfo::default()
    });
    services.collect()
}

/// The services as the running daemon reports them, because the file may have changed since it was read; settings that the
/// status does not contain come from the file.
fn reported(status: &Status, configured: &[ServiceInfo]) -> Vec<ServiceInfo> {
    let services = status.services.iter().map(|service| {
        let known = configured.iter().find(|each| each.name == service.name);
        let attached = service.ownership == "attached";
        ServiceInfo {
            name: service.name.clone(),
            // The pid of an attached foreign process proves nothing.
            pid: service.pid.filter(|_| !attached),
            life: service.life,
            port: service.port,
            replaces: known.is_some_and(|known| known.replaces),
            attached,
            attaches: known.is_some_and(|known| known.attaches),
        }
    });
    services.collect()
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_port_has_a_colon_and_a_process_none() {
        assert_eq!(Target::parse(":8080"), Some(Target::Port(8080)));
        assert_eq!(Target::parse("8080"), Some(Target::Process(8080)));
        for nonsense in [":0", ":65536", "0", "-1", "db", ":", ""] {
            assert_eq!(Target::parse(nonsense), None, "{nonsense}");
        }
    }
}
