//! Collects and checks the values of a plist or unit, so that rendering cannot fail.

use crate::config::{Config, Service};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Added to the longest chain of stop graces: time for the SIGKILL, the reaping and the last record.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// Added to the longest chain of startup budgets: time for stayd's own start on a cold disk.
const START_MARGIN: Duration = Duration::from_secs(30);
/// The folder of a LaunchDaemon's log.
const SYSTEM_LOGS: &str = "/Library/Logs/stayd";

/// Whether the job belongs to a user or to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A user's job: a user unit, a LaunchAgent.
    User,
    /// A job of the machine: a system unit, a LaunchDaemon.
    System,
}

/// The values that differ between the plists and units of instances.
///
/// No text contains a control character, and all paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderInputs {
    pub(super) scope: Scope,
    pub(super) name: String,
    pub(super) label: String,
    pub(super) program: String,
    pub(super) config: String,
    pub(super) log_folder: String,
    pub(super) stop_budget: Duration,
    pub(super) start_budget: Duration,
    pub(super) control_group: bool,
}

/// Why a plist or unit cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The instance is described by a command line, but a job needs a configuration file.
    NoFile,
    /// A path that cannot be written into a plist or unit.
    Path {
        /// What the path is for, such as `program`.
        of: &'static str,
        /// The path.
        path: PathBuf,
        /// What is wrong with it, as a predicate: "is not absolute".
        wrong: &'static str,
    },
    /// A label with a character that launchd refuses.
    Label(String),
}

impl fmt::Display for RenderError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => write!(
                out,
                "cannot render: there is no configuration file; write a stayd.toml and name it with -c"
            ),
            Self::Path { of, path, wrong } => write!(
                out,
                "cannot render: the path of the {of} {wrong}: {path:?}; move or rename it"
            ),
            Self::Label(label) => write!(
                out,
                "cannot render: the label {label:?} may only have letters, digits, '.', '-' and '_'; choose another with --label"
            ),
        }
    }
}

impl std::error::Error for RenderError {}

impl RenderInputs {
    /// The values for the instance `config`, run by `program`. `home` is the home folder of the user that the job belongs to.
    ///
    /// The time limits come from the services: the longest chain of stop graces and the longest chain of startup budgets. The
    /// label is `stayd.NAME`; [`Self::with_label`] changes it.
    ///
    /// # Errors
    /// [`RenderError`]: no configuration file, or a path that cannot be written into a plist or unit.
    pub fn from_config(
        config: &Config,
        scope: Scope,
        program: &Path,
        home: &Path,
    ) -> Result<Self, RenderError> {
        let file = config.file.as_deref().ok_or(RenderError::NoFile)?;
        let logs = match scope {
            Scope::User => home.join("Library/Logs/stayd"),
            Scope::System => PathBuf::from(SYSTEM_LOGS),
        };
        let runnable = text_of("program", program)?;
        if runnable.contains(['"', '\'', '\\']) {
            return Err(RenderError::Path {
                of: "program",
                path: program.to_owned(),
                wrong: "has a quote or a backslash, which systemd refuses in a program",
            });
        }
        let inputs = Self {
            scope,
            name: config.name.clone(),
            label: String::new(),
            program: runnable,
            config: text_of("configuration file", file)?,
            log_folder: text_of("home folder", &logs)?,
            stop_budget: longest_chain(&config.services, |service| service.policy.stop_grace)
                + STOP_MARGIN,
            start_budget: longest_chain(&config.services, |service| service.policy.startup)
                + START_MARGIN,
            control_group: config.control_group.is_some(),
        };
        inputs.with_label(&format!("stayd.{}", config.name))
    }

    /// The same values with another launchd label.
    ///
    /// # Errors
    /// [`RenderError::Label`] if the label is empty or has other characters than letters, digits, `.`, `-` and `_`.
    pub fn with_label(self, label: &str) -> Result<Self, RenderError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if label.is_empty() || !label.chars().all(is_allowed) {
            return Err(RenderError::Label(label.to_owned()));
        }
        Ok(Self {
            label: label.to_owned(),
            ..self
        })
    }

    /// The values that the files in `launchd/` and `systemd/` are rendered from: an instance with one service and default
    /// settings. `home` is the home folder of the user.
    #[must_use]
    pub fn sample(scope: Scope, home: &str) -> Self {
        let (program, config, log_folder) = match scope {
            Scope::User => (
                "/usr/local/bin/stayd",
                format!("{home}/studio/stayd.toml"),
                format!("{home}/Library/Logs/stayd"),
            ),
            Scope::System => (
                "/usr/bin/stayd",
                "/etc/stayd/stayd.toml".into(),
                SYSTEM_LOGS.into(),
            ),
        };
        Self {
            scope,
            name: "studio".into(),
            label: "stayd.studio".into(),
            program: program.into(),
            config,
            log_folder,
            stop_budget: Duration::from_secs(5) + STOP_MARGIN,
            start_budget: Duration::from_secs(60) + START_MARGIN,
            control_group: false,
        }
    }

    /// How long the OS supervisor must wait for an orderly stop.
    #[must_use]
    pub fn stop_budget(&self) -> Duration {
        self.stop_budget
    }

    /// The folder that must exist before launchd starts the job, because launchd opens the log first.
    #[must_use]
    pub fn log_folder(&self) -> &Path {
        Path::new(&self.log_folder)
    }
}

fn text_of(of: &'static str, path: &Path) -> Result<String, RenderError> {
    let wrong = |wrong| RenderError::Path {
        of,
        path: path.to_owned(),
        wrong,
    };
    let text = path.to_str().ok_or_else(|| wrong("is not UTF-8"))?;
    if !path.is_absolute() {
        return Err(wrong("is not absolute"));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("has a control character"));
    }
    Ok(text.to_owned())
}

/// The largest sum of `cost` along a chain of `after`. Services on one chain start and stop one after the other.
///
/// The number of passes is the number of services, so that the loop also ends for a cycle (which the configuration refuses).
fn longest_chain(services: &[Service], cost: impl Fn(&Service) -> Duration) -> Duration {
    let mut until: Vec<Duration> = services.iter().map(&cost).collect();
    for _ in services {
        for (index, service) in services.iter().enumerate() {
            let before = services
                .iter()
                .zip(&until)
                .filter(|(other, _)| service.after.contains(&other.name))
                .map(|(_, until)| *until)
                .max()
                .unwrap_or_default();
            until[index] = cost(service).saturating_add(before);
        }
    }
    until.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{RenderError, RenderInputs, Scope};
    use crate::config::{self, Config};
    use std::path::Path;
    use std::time::Duration;

    /// The configuration in this text.
    fn configured(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("studio.toml");
        std::fs::write(&file, text).expect("written");
        config::load(&file, &|_| None)
            .expect("a configuration")
            .config
    }

    fn inputs(config: &Config) -> Result<RenderInputs, RenderError> {
        RenderInputs::from_config(
            config,
            Scope::User,
            Path::new("/bin/stayd"),
            Path::new("/home/ada"),
        )
    }

    #[test]
    fn budgets_cover_the_longest_chain_of_dependents() {
        let config = configured(
            "[service.db]\ncommand = [\"true\"]\nstop = { grace = \"30s\" }\nstartup = { within = \"2m\" }\n\
             [service.app]\ncommand = [\"true\"]\nafter = [\"db\"]\nstop = { grace = \"7s\" }\n\
             [service.alone]\ncommand = [\"true\"]\nstop = { grace = \"35s\" }\n",
        );
        let inputs = inputs(&config).expect("rendered");
        assert_eq!(inputs.stop_budget(), Duration::from_secs(30 + 7 + 10));
        assert_eq!(inputs.start_budget, Duration::from_secs(120 + 60 + 30));
        assert_eq!(inputs.label, "stayd.studio");
        assert_eq!(
            inputs.log_folder(),
            Path::new("/home/ada/Library/Logs/stayd")
        );
    }

    #[test]
    fn values_that_a_plist_or_unit_cannot_contain_are_refused() {
        let mut config = configured("[service.db]\ncommand = [\"true\"]\n");
        let label = inputs(&config).expect("rendered").with_label("a label");
        assert_eq!(label, Err(RenderError::Label("a label".into())));
        let relative = Path::new("bin/stayd");
        let refused = RenderInputs::from_config(&config, Scope::System, relative, Path::new("/"));
        let sentence = refused.expect_err("relative").to_string();
        assert!(sentence.contains("program is not absolute"), "{sentence}");
        config.file = Some("/etc/a\nExecStart=/bin/evil".into());
        let sentence = inputs(&config).expect_err("a second line").to_string();
        assert!(sentence.contains("control character"), "{sentence}");
        config.file = None;
        assert_eq!(inputs(&config), Err(RenderError::NoFile));
    }
}
