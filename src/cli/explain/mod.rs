//! `stayd explain :PORT` and `stayd explain PID`: who it is, what is proven about it, what stayd would do with it.
//!
//! A running stayd is asked for its services; the claims are read from the state folder, so that it works without one.

mod json;
mod words;

use super::args::Common;
use super::configuration;
use super::exit::{Exit, Failure, Outcome};
use super::find::Candidate;
use super::instance;
use super::screen::{Screen, tell};
use crate::act::claims::{self, Reading};
use crate::act::foreign::explain::{Ledger, Picture, Watched, explain_port, explain_process};
use crate::api::client::{Client, ClientError};
use crate::api::wire::Status;
use crate::config::Config;
use crate::decide::explain::Treatment;
use crate::decide::policy::{OnLeftover, OnStranger};
use crate::sys;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A stayd that has not told its status by then is explained without.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// What was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Who listens there.
    Port(u16),
    /// Who that is.
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

/// All that an answer is made of.
struct Case {
    target: Target,
    ledgers: Vec<Ledger>,
    picture: Picture,
}

/// Explains: 0 when all is told, 1 for a conflict or a process that is not there, 4 when the holder cannot be seen.
pub(super) fn explain(screen: Screen, common: &Common, what: &str) -> Outcome {
    let target = Target::parse(what).ok_or_else(|| {
        let message = format!(
            "cannot explain {what}: write `:8080` for who listens on a TCP port, or `4711` for a process"
        );
        Failure::new(Exit::Usage, message)
    })?;
    let program = sys::identity::own_program()
        .map_err(|error| Failure::system("find its own program", &error))?;
    super::block_on(async {
        let ledgers = ledgers(common).await?;
        let picture = look(target, &ledgers, program).await?;
        let case = Case {
            target,
            ledgers,
            picture,
        };
        if common.json {
            screen.json(&json::answer(&case), false)?;
        } else {
            screen.print(&words::answer(screen, &case, sys::clock::sample().wall))?;
        }
        Ok(verdict(&case))
    })
}

async fn look(target: Target, ledgers: &[Ledger], program: PathBuf) -> Result<Picture, Failure> {
    match target {
        Target::Process(pid) => Ok(explain_process(pid, ledgers, program).await),
        Target::Port(port) => explain_port(port, ledgers, program)
            .await
            .map_err(|error| Failure::system(&format!("list who listens on port {port}"), &error)),
    }
}

fn verdict(case: &Case) -> Exit {
    let findings = case.picture.holders.iter().flat_map(|each| &each.findings);
    let mut fates = findings.map(|finding| finding.treatment);
    if fates.any(|treatment| matches!(treatment, Treatment::PortConflict | Treatment::BlockService))
    {
        return Exit::No;
    }
    let nobody = case.picture.holders.is_empty();
    match case.target {
        Target::Process(_) if nobody => Exit::No,
        Target::Port(_) if !case.picture.unseen.is_empty() => Exit::NoVerdict,
        Target::Port(_) if nobody && !sys::socket::lists_everybodys() => Exit::NoVerdict,
        Target::Port(_) | Target::Process(_) => Exit::Done,
    }
}

/// The instances that the command line may mean, running or not.
async fn ledgers(common: &Common) -> Result<Vec<Ledger>, Failure> {
    let config = configuration::from_file(common).ok();
    let config = config.map(|loaded| loaded.config);
    let mut ledgers = Vec::new();
    for candidate in instance::candidates(common)? {
        let config = config.as_ref();
        // a state folder is called as one likes; the file that is named with it says whose it is
        let given = common.config.is_some() && common.state_dir.is_some();
        let config = config.filter(|config| given || config.name == candidate.name);
        ledgers.push(ledger(&candidate, config).await);
    }
    Ok(ledgers)
}

async fn ledger(candidate: &Candidate, config: Option<&Config>) -> Ledger {
    let mut ledger = Ledger {
        instance: config
            .map_or(&candidate.name, |config| &config.name)
            .clone(),
        services: config.map(configured).unwrap_or_default(),
        ..Ledger::default()
    };
    let claimed = candidate.states.iter().flat_map(|state| claims(state));
    match running(candidate).await {
        Daemon::ServiceMessage(status) => {
            ledger.instance.clone_from(&status.daemon.name);
            ledger.stayd = Some(status.daemon.pid);
            ledger.claims = claims(Path::new(&status.daemon.state_dir));
            ledger.services = told(&status, &ledger.services);
            let orphans = status.daemon.orphans.iter();
            ledger.orphans = orphans.map(|orphan| orphan.pid).collect();
        }
        Daemon::Silent => {
            ledger.stayd = candidate.states.iter().find_map(|state| locked_by(state));
            ledger.claims = claimed.collect();
        }
        Daemon::Absent => ledger.claims = claimed.collect(),
    }
    ledger
}

/// What the stayd of an instance said.
enum Daemon {
    /// Its status.
    ServiceMessage(Box<Status>),
    /// It is there and does not answer, or not to us.
    Silent,
    /// Nobody is there.
    Absent,
}

/// The lock says who holds it.
fn locked_by(state: &Path) -> Option<i32> {
    let lock = std::fs::read_to_string(state.join("lock")).ok()?;
    lock.trim().parse().ok()
}

async fn running(candidate: &Candidate) -> Daemon {
    for socket in &candidate.sockets {
        let client = Client::new(socket);
        let asked = client.get::<Status>("/v1/status");
        let why = match tokio::time::timeout(STATUS_WITHIN, asked).await {
            Ok(Ok(status)) => return Daemon::ServiceMessage(Box::new(status)),
            Ok(Err(ClientError::NotRunning(_))) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_late) => format!("no answer within {} s", STATUS_WITHIN.as_secs()),
        };
        tell(&format!(
            "stayd: cannot ask the stayd of {}: {why}; going by its claims alone",
            candidate.name
        ));
        return Daemon::Silent;
    }
    Daemon::Absent
}

fn claims(state: &Path) -> Vec<(String, Reading)> {
    claims::read_all(state).unwrap_or_else(|error| {
        tell(&format!(
            "stayd: cannot read the claims in {}: {error}; going on without them",
            state.display()
        ));
        Vec::new()
    })
}

fn configured(config: &Config) -> Vec<Watched> {
    let services = config.services.iter().map(|service| Watched {
        name: service.name.clone(),
        port: service.port,
        replaces: service.policy.leftover == OnLeftover::Replace,
        attaches: service.policy.stranger == OnStranger::Attach,
        ..Watched::default()
    });
    services.collect()
}

/// A running stayd knows its services better than a file that may have changed since, but for what it does not tell.
fn told(status: &Status, configured: &[Watched]) -> Vec<Watched> {
    let services = status.services.iter().map(|service| {
        let known = configured.iter().find(|each| each.name == service.name);
        let attached = service.ownership == "attached";
        Watched {
            name: service.name.clone(),
            // a stranger's number proves nothing
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
