//! A configuration without a file: `stayd --foreground [OPTIONS] -- COMMAND`, and `stayd probe URL`.

use super::cross_check;
use super::finding::{Finding, Findings, Location};
use super::keys::{self, Key};
use super::listen;
use super::prerequisite;
use super::section::Section;
use super::service::ServiceBuilder;
use super::value::{self, Value};
use super::words::name_from;
use super::{Config, Loaded, Probe};
use std::path::{Path, PathBuf};

/// The options as the user typed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `--name`
    pub name: Option<String>,
    /// `--probe`
    pub probe: Option<String>,
    /// `--ready`
    pub ready: Option<String>,
    /// `--query`
    pub query: Option<String>,
    /// `--interval`
    pub interval: Option<String>,
    /// `--timeout`
    pub timeout: Option<String>,
    /// `--failures`
    pub failures: Option<String>,
    /// `--port`
    pub port: Option<String>,
    /// `--socket`: addresses.
    pub sockets: Vec<String>,
    /// `--stop-grace`
    pub stop_grace: Option<String>,
    /// `--env`: `K=V` pairs.
    pub env: Vec<String>,
    /// `--cwd`
    pub cwd: Option<PathBuf>,
    /// `--runtime`: the folder that is copied, and whose copy the service runs from.
    pub runtime: Option<PathBuf>,
}

const COMMAND: Location = Location::Option("COMMAND");

impl Config {
    /// A configuration with one service, as described on the command line. `here` is the absolute working directory, `env`
    /// the environment from which `${NAME}` is taken.
    ///
    /// # Errors
    /// All errors; each finding names the option, the cause, and what to do.
    pub fn from_command_line(
        options: &CommandLine,
        here: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Loaded, Vec<Finding>> {
        let mut findings = Findings::default();
        let section = section(options, &mut findings);
        let mut builder = ServiceBuilder {
            env,
            folder: here,
            from_command_line: true,
            findings: &mut findings,
        };
        let service = builder.service(&section);
        let name = instance_name(options, &section.name, here, &mut findings);
        let config = service.map(|service| Self {
            name,
            file: None,
            services: vec![service],
            control_group: None,
        });
        let sections = [section];
        if let Some(config) = &config {
            listen::check(config, &sections, &mut findings);
            cross_check::warn(config, &sections, &mut findings);
        }
        let warnings = findings.into_result()?;
        let config = config.ok_or_else(Vec::new)?;
        Ok(Loaded {
            prerequisites: prerequisite::all(&config, &sections, env),
            config,
            warnings,
        })
    }
}

/// A single probe, for `stayd probe URL --query SQL --timeout TIME`.
///
/// # Errors
/// As in [`Config::from_command_line`]; a literal password is an error.
pub fn probe_from_command_line(
    url: &str,
    query: Option<&str>,
    timeout: &str,
    here: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Probe, Vec<Finding>> {
    let options = CommandLine {
        command: vec!["probe".into()],
        probe: Some(url.into()),
        query: query.map(Into::into),
        timeout: Some(timeout.into()),
        ..CommandLine::default()
    };
    let loaded = Config::from_command_line(&options, here, env).map_err(|mut findings| {
        // The verb has the URL as its argument.
        let wrong_option = |finding: &&mut Finding| finding.location == Location::Option("--probe");
        for finding in findings.iter_mut().filter(wrong_option) {
            finding.location = Location::Option("URL");
        }
        findings
    })?;
    let probe = loaded
        .config
        .services
        .into_iter()
        .next()
        .and_then(|service| service.probe);
    probe.ok_or_else(Vec::new)
}

/// The section of the service, as if the options had been written in a file.
fn section(options: &CommandLine, findings: &mut Findings) -> Section {
    let program = options
        .command
        .first()
        .map(Path::new)
        .and_then(Path::file_name);
    let name = name_from(&program.unwrap_or_default().to_string_lossy());
    let mut section = Section::new(&name, COMMAND);
    let cwd = options
        .cwd
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    let runtime = options
        .runtime
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    for (option, path, text) in [
        ("--probe", "service.*.watchdog.probe", &options.probe),
        ("--ready", "service.*.ready.probe", &options.ready),
        ("--query", "service.*.watchdog.query", &options.query),
        (
            "--interval",
            "service.*.watchdog.interval",
            &options.interval,
        ),
        ("--timeout", "service.*.watchdog.timeout", &options.timeout),
        (
            "--failures",
            "service.*.watchdog.failures",
            &options.failures,
        ),
        ("--port", "service.*.port", &options.port),
        ("--stop-grace", "service.*.stop.grace", &options.stop_grace),
        ("--cwd", "service.*.cwd", &cwd),
        ("--runtime", "service.*.runtime.source", &runtime),
    ] {
        let (Some(text), Some(key)) = (text, keys::find(path)) else {
            continue;
        };
        let location = Location::Option(option);
        if key.parent() == "service.*.watchdog" && options.probe.is_none() {
            findings.error(&location, "cannot use it without a probe; add --probe URL");
        }
        match value::from_text(key.kind, text) {
            Ok(value) => section.set(key, value, location),
            Err(error) => findings.error(&location, format!("cannot read it: {error}")),
        }
    }
    set_command(options, &mut section, findings);
    set_env(options, &mut section, findings);
    set_sockets(options, &mut section);
    section
}

fn set_command(options: &CommandLine, section: &mut Section, findings: &mut Findings) {
    let missing = options
        .command
        .first()
        .is_none_or(|program| program.trim().is_empty());
    if missing {
        findings.error(
            &COMMAND,
            "cannot start a service: no program is given; write it after `--`",
        );
    }
    if let Some(key) = keys::find("service.*.command") {
        section.set(key, Value::Texts(options.command.clone()), COMMAND);
    }
}

fn set_env(options: &CommandLine, section: &mut Section, findings: &mut Findings) {
    const LOCATION: Location = Location::Option("--env");
    let mut pairs = Vec::new();
    for text in &options.env {
        let Some((name, text)) = text.split_once('=') else {
            findings.error(
                &LOCATION,
                "cannot read it: it has no `=`; write --env NAME=VALUE",
            );
            continue;
        };
        match value::env_value(name, text) {
            Ok(text) => pairs.push((name.to_owned(), text)),
            Err(error) => findings.error(&LOCATION, format!("cannot read it: {error}")),
        }
    }
    if let Some(key) = keys::find("service.*.env").filter(|_: &&Key| !pairs.is_empty()) {
        section.set(key, Value::Env(pairs), LOCATION);
    }
}

fn set_sockets(options: &CommandLine, section: &mut Section) {
    if let Some(key) = keys::find(listen::KEY).filter(|_| !options.sockets.is_empty()) {
        let texts = Value::Texts(options.sockets.clone());
        section.set(key, texts, Location::Option("--socket"));
    }
}

/// The given name, otherwise the command and its working directory: two projects may run the same program.
fn instance_name(
    options: &CommandLine,
    service: &str,
    here: &Path,
    findings: &mut Findings,
) -> String {
    if let Some(name) = &options.name {
        if let Err(error) = value::from_text(keys::Kind::Name, name) {
            findings.error(
                &Location::Option("--name"),
                format!("cannot read it: {error}"),
            );
        }
        return name.clone();
    }
    let folder = options
        .cwd
        .as_ref()
        .map_or_else(|| here.to_owned(), |cwd| here.join(cwd));
    match folder.components().collect::<PathBuf>().file_name() {
        Some(folder) => name_from(&format!("{service}-{}", folder.to_string_lossy())),
        None => service.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;

    fn load(options: &CommandLine) -> Result<Loaded, Vec<String>> {
        let env = |name: &str| (name == "PW").then(|| "geh:e@im".to_owned());
        Config::from_command_line(options, Path::new("/srv/my shop"), &env)
            .map_err(|findings| findings.iter().map(ToString::to_string).collect())
    }

    fn options(command: &str) -> CommandLine {
        let command = command.split(' ').map(Into::into).collect();
        CommandLine {
            command,
            ..CommandLine::default()
        }
    }

    #[test]
    fn the_default_name_is_made_of_the_command_and_its_folder() {
        let loaded = load(&options("/usr/bin/postgres -D data")).expect("good");
        assert_eq!(loaded.config.name, "postgres-my-shop");
        let service = &loaded.config.services[0];
        assert_eq!(
            (service.name.as_str(), service.command.len()),
            ("postgres", 3)
        );
        assert_eq!(service.cwd, Path::new("/srv/my shop"));
        let warning = loaded.warnings[0].to_string();
        assert!(warning.contains("add --probe URL"), "{warning}");
    }

    #[test]
    fn options_are_parsed_as_the_keys_of_a_file() {
        let loaded = load(&CommandLine {
            probe: Some("postgres://app:${PW}@127.0.0.1/shop".into()),
            query: Some("SELECT 2".into()),
            failures: Some("5".into()),
            env: vec!["A=b=c".into()],
            cwd: Some("sub".into()),
            name: Some("x".into()),
            ..options("db")
        })
        .expect("good");
        let service = &loaded.config.services[0];
        assert_eq!(
            service.policy.watchdog.map(|watchdog| watchdog.failures),
            Some(5)
        );
        assert_eq!(service.env["A"], "b=c");
        assert_eq!(service.cwd, Path::new("/srv/my shop/sub"));
        let Some(Target::Postgres { password, .. }) = service.probe.as_ref().map(|p| &p.target)
        else {
            panic!("postgres")
        };
        assert_eq!(password.as_deref(), Some("geh:e@im"));
        assert!(!format!("{loaded:?}").contains("geh"), "{loaded:?}");
    }

    #[test]
    fn a_literal_password_is_refused() {
        for (url, what) in [
            ("postgres://a:geheim@h/d", "a password"),
            ("http://a:geheim@h/", "a password"),
            ("http://geheim@h/", "a user name without a password"),
            ("postgres://h/d?password=geheim", "a password"),
        ] {
            let error = load(&CommandLine {
                probe: Some(url.into()),
                ..options("db")
            });
            let error = error.expect_err(url).join("\n");
            assert!(
                error.starts_with(&format!("--probe: cannot use `probe`: it contains {what}")),
                "{error}"
            );
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_scheme_is_not_quoted_where_it_may_hold_a_password() {
        for url in ["app:geheim:80/", "app:geheim@h:80", "h:80/?token=geheim"] {
            let error = load(&CommandLine {
                probe: Some(url.into()),
                ..options("db")
            });
            let error = error.expect_err(url).join("\n");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_option() {
        let error = load(&CommandLine {
            interval: Some("5".into()),
            sockets: vec!["x".into()],
            env: vec!["A".into()],
            port: Some("0".into()),
            name: Some("a b".into()),
            ..options("")
        })
        .expect_err("all wrong")
        .join("\n");
        for part in [
            "--interval: cannot use it without a probe; add --probe URL",
            "--interval: cannot read it: 5 has no unit; write `5s`",
            "--socket: cannot use `sockets`: `x` is not an address to listen on",
            "--env: cannot read it: it has no `=`",
            "--port: cannot read it: 0 is out of range",
            "--name: cannot read it: `a b` is not a valid name",
            "COMMAND: cannot start a service: no program is given",
        ] {
            assert!(error.contains(part), "{part} in\n{error}");
        }
    }

    #[test]
    fn a_single_probe_is_parsed_as_in_a_configuration() {
        let probe = |url: &str, query| {
            probe_from_command_line(url, query, "2s", Path::new("/x"), &|_| None)
        };
        let sqlite = probe("sqlite:a.db?write=1", Some("SELECT 1")).expect("good");
        assert_eq!(sqlite.target.address(), "/x/a.db");
        assert_eq!(sqlite.timeout.as_secs(), 2);
        assert!(probe("tcp://127.0.0.1:1", Some("SELECT 1")).is_err());
    }
}
