//! Which runtimes are meant: the instance, where it keeps them, and what its configuration says of them.

use super::super::args::Common;
use super::super::configuration;
use super::super::exit::{Exit, Failure};
use super::super::find::{self, Candidate};
use super::super::instance;
use crate::act::runtime::cache::Cache;
use crate::act::runtime::listing::Fingerprint;
use crate::api::client::Client;
use crate::api::wire::{self, Status};
use crate::config::{self, Config, Service};
use crate::sys::identity;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Kept of each service where the configuration cannot be asked; its own default.
const KEEP_UNASKED: usize = 2;

/// An instance's runtimes.
pub(super) struct Place {
    /// STATE
    pub(super) state: PathBuf,
    /// What is in it.
    pub(super) cache: Cache,
    /// The running stayd, and what it says of itself.
    pub(super) running: Option<(Client, Status)>,
    /// Of this instance; or why it is not known.
    config: Result<Config, String>,
}

impl Place {
    /// The instance that the command line means, running or not.
    pub(super) async fn find(common: &Common) -> Result<Self, Failure> {
        let candidates = instance::candidates(common)?;
        let running = match find::client(common).await {
            Ok(client) => {
                let status: Status = client.get("/v1/status").await?;
                Some((client, status))
            }
            Err(failure) if failure.exit == Exit::NotRunning => None,
            Err(failure) => return Err(failure),
        };
        let (state, name) = match &running {
            Some((_, status)) => (
                status.daemon.state_dir.clone().into(),
                status.daemon.name.clone(),
            ),
            None => at_rest(&candidates)?,
        };
        let told = running
            .as_ref()
            .and_then(|(_, status)| status.daemon.config.as_deref());
        let config = match told {
            Some(file) => read(Path::new(file)),
            None => of_instance(common, &name),
        };
        Ok(Self {
            cache: Cache::of(&state),
            state,
            running,
            config,
        })
    }

    /// What services run from, by the word of the stayd that runs them; nothing without one.
    pub(super) fn told(&self) -> BTreeMap<String, Fingerprint> {
        let services = self.running.iter().flat_map(|(_, status)| &status.services);
        let runs_from = |service: &wire::Service| {
            let runtime = service.runtime.as_ref().filter(|_| service.pid.is_some())?;
            let fingerprint = Fingerprint::parse(runtime.fingerprint.as_deref()?)?;
            Some((service.name.clone(), fingerprint))
        };
        services.filter_map(runs_from).collect()
    }

    /// Only whoever owns the folder may change something in it: what root made there, its owner could not use.
    pub(super) fn check_owner(&self) -> Result<(), Failure> {
        let owner = match fs::metadata(&self.state) {
            Ok(seen) => seen.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        if owner == identity::euid() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Permission,
            format!(
                "cannot change the runtimes in {}: they belong to user {owner}, and this is user {}; run it as that user \
                 (sudo -u '#{owner}' stayd runtime …)",
                self.state.display(),
                identity::euid()
            ),
        ))
    }

    /// The folder, or something in it, cannot be read.
    pub(super) fn unreadable(&self, error: &io::Error) -> Failure {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::System
        };
        let shown = self.state.display();
        Failure::new(
            exit,
            format!("cannot read the runtimes in {shown}: {error}"),
        )
    }

    /// Where `service` is copied from: by the configuration, or by what is remembered of the last copy.
    pub(super) fn source_of(&self, service: &str) -> Result<PathBuf, Failure> {
        let source = |service: &Service| Some(service.runtime.as_ref()?.source.clone());
        let configured = self.service(service);
        let remembered = || Some(self.cache.record(service).source);
        let known = match configured {
            Some(configured) => source(configured),
            None => remembered().filter(|path| path.is_absolute()),
        };
        known.ok_or_else(|| self.has_none(service))
    }

    /// Whether anything is known of a runtime of `service`; with its words if not.
    pub(super) fn check_service(&self, service: &str) -> Result<(), Failure> {
        let record = self.cache.record(service);
        let configured = self
            .service(service)
            .is_some_and(|one| one.runtime.is_some());
        if configured || !record.used.is_empty() {
            return Ok(());
        }
        Err(self.has_none(service))
    }

    fn has_none(&self, service: &str) -> Failure {
        let message = match (&self.config, self.service(service)) {
            (_, Some(_)) => format!(
                "cannot find a runtime of {service}: it has none; add [service.{service}.runtime]"
            ),
            (Ok(config), None) => {
                let with_one = config.services.iter().filter(|one| one.runtime.is_some());
                let names: Vec<_> = with_one.map(|one| one.name.as_str()).collect();
                let names = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                format!("cannot find a service called {service}: with a runtime there is {names}")
            }
            (Err(why), None) => format!(
                "cannot find a runtime of {service}: nothing is remembered of one, and the configuration is not known: {why}"
            ),
        };
        Failure::new(Exit::Usage, message)
    }

    /// How many of the newest runtimes `service` keeps; none of one that is not configured any more.
    pub(super) fn keep(&self, service: &str) -> usize {
        let runs = |(_, status): &(Client, Status)| {
            let mut services = status.services.iter();
            services.any(|one| one.name == service)
        };
        match (&self.config, self.service(service)) {
            (Ok(_), Some(configured)) => configured
                .runtime
                .as_ref()
                .map_or(0, |runtime| usize::try_from(runtime.keep).unwrap_or(1)),
            // the stayd that runs has not read the file again
            (Ok(_), None) if !self.running.as_ref().is_some_and(runs) => 0,
            (Ok(_) | Err(_), None) => KEEP_UNASKED,
            (Err(_), Some(_)) => KEEP_UNASKED,
        }
    }

    /// Why it is not known how many are to be kept.
    pub(super) fn unconfigured(&self) -> Option<String> {
        let why = self.config.as_ref().err()?;
        Some(format!(
            "{why}; {KEEP_UNASKED} runtimes of each service are kept"
        ))
    }

    fn service(&self, name: &str) -> Option<&Service> {
        let config = self.config.as_ref().ok()?;
        config.services.iter().find(|service| service.name == name)
    }
}

/// The state folder of an instance that does not run: the only one there is, or the one that it would get.
fn at_rest(candidates: &[Candidate]) -> Result<(PathBuf, String), Failure> {
    let here = |candidate: &&Candidate| {
        let mut states = candidate.states.iter();
        states.any(|state| state.join("runtime").exists())
    };
    let with_runtimes: Vec<_> = candidates.iter().filter(here).collect();
    let chosen = match (with_runtimes.as_slice(), candidates) {
        ([one], _) => *one,
        ([], [one]) => one,
        ([], _) => {
            return Err(Failure::new(
                Exit::NotRunning,
                "cannot find any runtime: no stayd is running here, and no instance has kept one; name a configuration with \
                 -c FILE",
            ));
        }
        (several, _) => {
            let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
            let message = format!(
                "cannot choose between the instances {}: name one with -c FILE or --state-dir DIR",
                names.join(", ")
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    let used = chosen.states.iter().find(|state| state.exists());
    let state = used.or_else(|| chosen.states.first()).ok_or_else(|| {
        Failure::new(
            Exit::System,
            "cannot tell where the state folder is: HOME is not set to an absolute path; set it, or name a folder with \
             --state-dir DIR",
        )
    })?;
    Ok((state.clone(), chosen.name.clone()))
}

fn read(file: &Path) -> Result<Config, String> {
    let loaded = config::load(file, &instance::variable);
    loaded
        .map(|loaded| loaded.config)
        .map_err(|findings| configuration::wrong(&findings).message)
}

/// A file that just lies about may be another instance's.
fn of_instance(common: &Common, name: &str) -> Result<Config, String> {
    let given = common.config.is_some() && common.state_dir.is_some();
    let loaded = configuration::from_file(common).map_err(|failure| failure.message)?;
    if given || loaded.config.name == name {
        return Ok(loaded.config);
    }
    Err(format!(
        "no configuration of the instance {name} is found; name it with -c FILE"
    ))
}
