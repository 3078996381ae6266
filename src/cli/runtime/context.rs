//! What the verbs of `stayd runtime` work on: an instance's runtime cache, its daemon if one runs, and its configuration.

use crate::act::runtime::cache::Cache;
use crate::act::runtime::listing::Fingerprint;
use crate::api::client::Client;
use crate::api::wire::{self, Status};
use crate::cli::args::CommonOptions;
use crate::cli::connect;
use crate::cli::exit::{Exit, Failure};
use crate::cli::load_config;
use crate::cli::paths::{self, InstanceCandidate};
use crate::config::{self, Config, Service};
use crate::sys::identity;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many runtimes of each service are kept if the configuration is not known; the default of `runtime.keep`.
const KEEP_DEFAULT: usize = 2;

/// One stayd instance, as the verbs see it.
pub(super) struct RuntimeContext {
    /// STATE
    pub(super) state: PathBuf,
    /// The runtimes in STATE.
    pub(super) cache: Cache,
    /// The running daemon and its status; none if none runs.
    pub(super) running: Option<(Client, Status)>,
    /// The configuration of the instance, or why it is not known.
    config: Result<Config, String>,
}

impl RuntimeContext {
    /// Finds the instance that the command line means, running or not.
    pub(super) async fn find(common: &CommonOptions) -> Result<Self, Failure> {
        let candidates = paths::instance_candidates(common)?;
        let running = match connect::client(common).await {
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
            None => state_without_daemon(&candidates)?,
        };
        let reported = running
            .as_ref()
            .and_then(|(_, status)| status.daemon.config.as_deref());
        let config = match reported {
            Some(file) => load(Path::new(file)),
            None => find_config(common, &name),
        };
        Ok(Self {
            cache: Cache::of(&state),
            state,
            running,
            config,
        })
    }

    /// The runtime that each service runs from, as the running daemon reports it; empty if no daemon runs.
    pub(super) fn reported_runtimes(&self) -> BTreeMap<String, Fingerprint> {
        let services = self.running.iter().flat_map(|(_, status)| &status.services);
        let runs_from = |service: &wire::Service| {
            let runtime = service.runtime.as_ref().filter(|_| service.pid.is_some())?;
            let fingerprint = Fingerprint::parse(runtime.fingerprint.as_deref()?)?;
            Some((service.name.clone(), fingerprint))
        };
        services.filter_map(runs_from).collect()
    }

    /// Fails unless this user owns the state folder. What root created there, the owner could not use.
    pub(super) fn check_owner(&self) -> Result<(), Failure> {
        let owner = match fs::metadata(&self.state) {
            Ok(metadata) => metadata.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        if owner == identity::euid() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Permission,
            format!(
                "cannot change the runtimes in {}: they belong to user {owner}, and this is user {}; run the command as that \
                 user (sudo -u '#{owner}' stayd runtime …)",
                self.state.display(),
                identity::euid()
            ),
        ))
    }

    /// The error that the state folder, or something in it, cannot be read.
    pub(super) fn unreadable(&self, error: &io::Error) -> Failure {
        let shown = self.state.display();
        Failure::new(
            Exit::of_system_error(error.kind()),
            format!("cannot read the runtimes in {shown}: {error}"),
        )
    }

    /// The folder that `service` is copied from: from the configuration, else from the record of the last copy.
    pub(super) fn source_of(&self, service: &str) -> Result<PathBuf, Failure> {
        let source = |service: &Service| Some(service.runtime.as_ref()?.source.clone());
        let configured = self.service(service);
        let recorded = || Some(self.cache.record(service).source);
        let known = match configured {
            Some(configured) => source(configured),
            None => recorded().filter(|path| path.is_absolute()),
        };
        known.ok_or_else(|| self.no_runtime(service))
    }

    /// Fails unless the configuration or a record names a runtime of `service`.
    pub(super) fn check_service(&self, service: &str) -> Result<(), Failure> {
        let record = self.cache.record(service);
        let configured = self
            .service(service)
            .is_some_and(|one| one.runtime.is_some());
        if configured || !record.used.is_empty() {
            return Ok(());
        }
        Err(self.no_runtime(service))
    }

    fn no_runtime(&self, service: &str) -> Failure {
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
                format!("cannot find a service called {service}: services with a runtime: {names}")
            }
            (Err(why), None) => format!(
                "cannot find a runtime of {service}: no runtime was recorded, and the configuration is not known: {why}"
            ),
        };
        Failure::new(Exit::Usage, message)
    }

    /// How many of the newest runtimes of `service` are kept; 0 if the service is no longer configured.
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
            // A service that the daemon still runs is not gone: the daemon has not read the file again.
            (Ok(_), None) if !self.running.as_ref().is_some_and(runs) => 0,
            (Ok(_) | Err(_), None) => KEEP_DEFAULT,
            (Err(_), Some(_)) => KEEP_DEFAULT,
        }
    }

    /// A warning that the default number of runtimes is kept, if the configuration is not known.
    pub(super) fn config_warning(&self) -> Option<String> {
        let why = self.config.as_ref().err()?;
        Some(format!(
            "{why}; {KEEP_DEFAULT} runtimes of each service are kept"
        ))
    }

    fn service(&self, name: &str) -> Option<&Service> {
        let config = self.config.as_ref().ok()?;
        config.services.iter().find(|service| service.name == name)
    }
}

/// The state folder and name of an instance without a daemon: the only instance with runtimes, else the only candidate.
fn state_without_daemon(candidates: &[InstanceCandidate]) -> Result<(PathBuf, String), Failure> {
    let has_runtimes = |candidate: &&InstanceCandidate| {
        let mut states = candidate.states.iter();
        states.any(|state| state.join("runtime").exists())
    };
    let with_runtimes: Vec<_> = candidates.iter().filter(has_runtimes).collect();
    let chosen = match (with_runtimes.as_slice(), candidates) {
        ([one], _) => *one,
        ([], [one]) => one,
        ([], _) => {
            return Err(Failure::new(
                Exit::NotRunning,
                "cannot find any runtime: no stayd is running here, and no instance has a runtime; name a configuration with \
                 -c FILE",
            ));
        }
        (several, _) => {
            let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
            return Err(connect::ambiguous(&names));
        }
    };
    let existing = chosen.states.iter().find(|state| state.exists());
    let state = existing.or_else(|| chosen.states.first()).ok_or_else(|| {
        Failure::new(
            Exit::System,
            "cannot find the state folder: HOME is not set to an absolute path; set it, or name a folder with --state-dir DIR",
        )
    })?;
    Ok((state.clone(), chosen.name.clone()))
}

fn load(file: &Path) -> Result<Config, String> {
    let loaded = config::load(file, &paths::variable);
    loaded
        .map(|loaded| loaded.config)
        .map_err(|findings| load_config::failure(&findings).in_a_sentence())
}

/// The configuration of the instance `name`. A file that was only found may belong to another instance.
fn find_config(common: &CommonOptions, name: &str) -> Result<Config, String> {
    let given = common.config.is_some() && common.state_dir.is_some();
    let loaded = load_config::from_file(common).map_err(|failure| failure.in_a_sentence())?;
    if given || loaded.config.name == name {
        return Ok(loaded.config);
    }
    Err(format!(
        "cannot find the configuration of the instance {name}; name it with -c FILE"
    ))
}
