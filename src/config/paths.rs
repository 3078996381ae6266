//! Locations of configuration, state folder, runtime folder and control socket, as functions of user, system and environment.
//!
//! The daemon and its clients must calculate the same paths, so nothing here accesses a disk.

use super::finding::{Finding, Location};
use std::path::{Path, PathBuf};

/// The environment variable that names a configuration.
const CONFIG_VARIABLE: &str = "STAYD_CONFIG";
/// The file name of the control socket.
pub const SOCKET_NAME: &str = "control.sock";

/// The systems whose conventions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux: XDG folders.
    Linux,
    /// macOS: ~/Library.
    MacOs,
}

impl System {
    /// The system that this program was built for.
    #[must_use]
    pub fn here() -> Self {
        if std::env::consts::OS == "macos" {
            Self::MacOs
        } else {
            Self::Linux
        }
    }

    /// The longest path of a socket in bytes, without the final NUL (`sun_path`: unix(7), sys/un.h).
    #[must_use]
    pub const fn longest_socket_path(self) -> usize {
        match self {
            Self::Linux => 107,
            Self::MacOs => 103,
        }
    }
}

/// Calculates paths for a user, from the environment and the system.
#[derive(Clone, Copy)]
pub struct Paths<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The effective uid.
    pub euid: u32,
    /// The system.
    pub system: System,
}

impl<'a> Paths<'a> {
    /// The paths for this process and this environment.
    #[must_use]
    pub fn here(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            euid: crate::sys::identity::euid(),
            system: System::here(),
        }
    }

    /// The paths of root in the same environment; a client tries them after those of its user.
    #[must_use]
    pub fn as_root(self) -> Self {
        Self { euid: 0, ..self }
    }

    /// A folder from an environment variable. The XDG specification requires that a relative path is ignored.
    fn folder(&self, variable: &str) -> Option<PathBuf> {
        (self.env)(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    fn home(&self) -> Option<PathBuf> {
        self.folder("HOME")
    }

    fn config_folder(&self) -> Option<PathBuf> {
        match self.system {
            System::Linux => self
                .folder("XDG_CONFIG_HOME")
                .or_else(|| Some(self.home()?.join(".config"))),
            System::MacOs => Some(self.home()?.join("Library/Application Support")),
        }
    }

    /// The configuration that `named`, else the variable STAYD_CONFIG, names.
    #[must_use]
    pub fn named_config(&self, named: Option<&Path>) -> Option<PathBuf> {
        let by_variable = || (self.env)(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        named
            .map(Path::to_owned)
            .or_else(|| by_variable().map(PathBuf::from))
    }

    /// Where `stayd install -- COMMAND` writes the configuration of the instance `name`.
    ///
    /// # Errors
    /// The environment does not name the home folder of the user.
    pub fn written_config(&self, name: &str) -> Result<PathBuf, Finding> {
        let folder = if self.euid == 0 {
            Some("/etc".into())
        } else {
            self.config_folder()
        };
        folder
            .map(|folder| folder.join("stayd").join(format!("{name}.toml")))
            .ok_or_else(|| {
                let message =
                    "cannot place the configuration: HOME is not set to an absolute path; set it";
                Finding::error(&Location::Environment, message)
            })
    }

    /// The paths where a configuration is searched, in this order. A configuration that was named is the only one.
    #[must_use]
    pub fn configs(&self, named: Option<&Path>) -> Vec<PathBuf> {
        if let Some(path) = self.named_config(named) {
            return vec![path];
        }
        let own = self
            .config_folder()
            .map(|folder| folder.join("stayd/stayd.toml"));
        let mut paths = vec![PathBuf::from("stayd.toml")];
        paths.extend(own);
        paths.push("/etc/stayd/stayd.toml".into());
        paths
    }

    /// The configuration to use: the one that was named, otherwise the first one that `exists`.
    ///
    /// # Errors
    /// There is none; the finding lists all paths.
    pub fn find_config(
        &self,
        named: Option<&Path>,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<PathBuf, Finding> {
        let paths = self.configs(named);
        let certain = paths.len() == 1;
        let searched: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        paths.into_iter().find(|path| certain || exists(path)).ok_or_else(|| {
            let message = format!(
                "cannot find a configuration: there is none at {}; write one, give its path with -c FILE, \
                 or run `stayd --foreground -- COMMAND`",
                searched.join(", "),
            );
            Finding::error(&Location::Environment, message)
        })
    }

    /// The folder that contains the state folder of each instance.
    ///
    /// # Errors
    /// The environment does not name the home folder of the user.
    pub fn state_root(&self) -> Result<PathBuf, Finding> {
        if self.euid == 0 {
            return Ok("/var/lib/stayd".into());
        }
        let root = match self.system {
            System::Linux => self
                .folder("XDG_STATE_HOME")
                .or_else(|| Some(self.home()?.join(".local/state"))),
            System::MacOs => self
                .home()
                .map(|home| home.join("Library/Application Support")),
        };
        root.map(|root| root.join("stayd")).ok_or_else(|| {
            let message = "cannot tell where the state folder is: HOME is not set to an absolute path; \
                           set it, or name a folder with --state-dir DIR";
            Finding::error(&Location::Environment, message)
        })
    }

    /// The state folder of the instance `name`: the given one, otherwise systemd's, otherwise one below
    /// [`Paths::state_root`].
    ///
    /// `STATE_DIRECTORY` applies only if its last component is the name. A unit that runs stayd together with another program
    /// may have a different directory, which a client cannot determine.
    ///
    /// # Errors
    /// The environment does not name the home folder of the user.
    pub fn state_dir(&self, name: &str, given: Option<&Path>) -> Result<PathBuf, Finding> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let by_systemd = (self.env)("STATE_DIRECTORY").and_then(|list| {
            let mut folders = list.split(':').map(PathBuf::from);
            folders.find(|path| {
                path.is_absolute() && path.file_name().is_some_and(|last| last == name)
            })
        });
        match by_systemd {
            Some(folder) => Ok(folder),
            None => Ok(self.state_root()?.join(name)),
        }
    }

    /// The state folders that a client tries for `name`: that of its user, then that of root.
    #[must_use]
    pub fn client_state_dirs(&self, name: &str, given: Option<&Path>) -> Vec<PathBuf> {
        if let Some(given) = given {
            return vec![given.to_owned()];
        }
        let mut folders: Vec<_> = self.state_dir(name, None).into_iter().collect();
        folders.extend(self.as_root().state_dir(name, None));
        folders.dedup();
        folders
    }

    /// The runtime folder of the instance `name`. It may not exist yet, and the system may remove it when the user logs out.
    #[must_use]
    pub fn runtime_dir(&self, name: &str) -> PathBuf {
        let temporary = || {
            let root = self.folder("TMPDIR").unwrap_or_else(|| "/tmp".into());
            root.join(format!("stayd-{}", self.euid))
        };
        let root = match (self.euid, self.system) {
            (0, System::Linux) => "/run/stayd".into(),
            (0, System::MacOs) => "/var/run/stayd".into(),
            (_, System::Linux) => self
                .folder("XDG_RUNTIME_DIR")
                .map_or_else(temporary, |root| root.join("stayd")),
            (_, System::MacOs) => temporary(),
        };
        root.join(name)
    }

    /// The path of the control socket: in the state folder, or in the runtime folder if a group may use it or if the path
    /// would be too long for a socket.
    ///
    /// # Errors
    /// Both paths are too long.
    pub fn control_socket(
        &self,
        name: &str,
        state: &Path,
        group: bool,
    ) -> Result<PathBuf, Finding> {
        let candidates = self.socket_places(name, state).into_iter();
        let usable = |path: &PathBuf| self.is_socket_path(path);
        candidates.skip(usize::from(group)).find(usable).ok_or_else(|| {
            let longest = self.system.longest_socket_path();
            let message = format!(
                "cannot place the control socket: its path below {} is longer than {longest} bytes; \
                 shorten `name`, or give a shorter folder with --state-dir DIR",
                self.runtime_dir(name).display(),
            );
            Finding::error(&Location::Environment, message)
        })
    }

    /// The paths of the control socket that a client tries, the more likely one first; paths that are too long for a socket
    /// are left out.
    #[must_use]
    pub fn control_sockets(&self, name: &str, state: &Path) -> Vec<PathBuf> {
        let mut paths = self.socket_places(name, state).to_vec();
        paths.retain(|path| self.is_socket_path(path));
        paths
    }

    fn socket_places(&self, name: &str, state: &Path) -> [PathBuf; 2] {
        [
            state.join(SOCKET_NAME),
            self.runtime_dir(name).join(SOCKET_NAME),
        ]
    }

    fn is_socket_path(&self, path: &Path) -> bool {
        path.as_os_str().len() <= self.system.longest_socket_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "HOME" => "/home/ann",
            "XDG_RUNTIME_DIR" => "/run/user/7",
            "XDG_STATE_HOME" => "relative/is/ignored",
            _ => return None,
        };
        Some(value.into())
    }

    fn ann(system: System) -> Paths<'static> {
        Paths {
            env: &env,
            euid: 7,
            system,
        }
    }

    #[test]
    fn each_user_has_a_state_and_a_runtime_folder_on_each_system() {
        let state = |paths: Paths<'_>| paths.state_dir("db", None).expect("a home");
        assert_eq!(
            state(ann(System::Linux)),
            Path::new("/home/ann/.local/state/stayd/db")
        );
        let mac = Path::new("/home/ann/Library/Application Support/stayd/db");
        assert_eq!(state(ann(System::MacOs)), mac);
        assert_eq!(
            state(ann(System::Linux).as_root()),
            Path::new("/var/lib/stayd/db")
        );
        assert_eq!(
            ann(System::Linux).runtime_dir("db"),
            Path::new("/run/user/7/stayd/db")
        );
        assert_eq!(
            ann(System::MacOs).runtime_dir("db"),
            Path::new("/tmp/stayd-7/db")
        );
        let dirs = ann(System::Linux).client_state_dirs("db", None);
        assert_eq!(
            dirs,
            [
                Path::new("/home/ann/.local/state/stayd/db"),
                Path::new("/var/lib/stayd/db")
            ]
        );
    }

    #[test]
    fn the_state_directory_of_systemd_applies_only_if_it_ends_with_the_name() {
        for (value, name, taken) in [
            ("/var/lib/stayd/db", "db", true),
            ("/var/lib/other:/var/lib/stayd/db", "db", true),
            ("/var/lib/stayd", "db", false),
            ("stayd/db", "db", false),
        ] {
            let env = |variable: &str| (variable == "STATE_DIRECTORY").then(|| value.to_owned());
            let paths = Paths {
                env: &env,
                euid: 0,
                system: System::Linux,
            };
            let found = paths.state_dir(name, None).expect("root needs no home");
            assert_eq!(found, Path::new("/var/lib/stayd/db"), "{value}");
            let given = paths.state_dir(name, Some(Path::new("/x"))).expect("given");
            assert_eq!(given, Path::new("/x"));
            let other = Paths { euid: 7, ..paths }.state_dir(name, None);
            assert_eq!(
                other.is_ok(),
                taken,
                "{value}: without HOME only systemd can name a folder"
            );
        }
    }

    #[test]
    fn a_socket_path_that_is_too_long_falls_back_to_the_runtime_folder() {
        let paths = ann(System::Linux);
        let short = Path::new("/home/ann/state");
        let long = PathBuf::from(format!("/{}", "x".repeat(100)));
        let runtime = Path::new("/run/user/7/stayd/db/control.sock");
        let place = |state, group| {
            paths
                .control_socket("db", state, group)
                .expect("short enough")
        };
        assert_eq!(place(short, false), short.join("control.sock"));
        assert_eq!(place(&long, false), runtime);
        assert_eq!(
            paths.control_sockets("db", &long),
            [runtime],
            "clients try the same path"
        );
        assert_eq!(place(short, true), runtime);
        let error = paths
            .control_socket(&"n".repeat(90), &long, false)
            .expect_err("both too long");
        assert!(error.message.contains("shorten `name`"), "{error}");
    }

    #[test]
    fn a_named_configuration_is_the_only_candidate() {
        let nothing = |_: &Path| false;
        let paths = ann(System::Linux);
        let named = paths
            .find_config(Some(Path::new("x.toml")), &nothing)
            .expect("named");
        assert_eq!(named, Path::new("x.toml"));
        let user = Path::new("/home/ann/.config/stayd/stayd.toml");
        let found = paths
            .find_config(None, &|path| path == user)
            .expect("user's");
        assert_eq!(found, user);
        let error = paths
            .find_config(None, &nothing)
            .expect_err("none")
            .to_string();
        assert!(
            error.contains("stayd.toml, /home/ann/.config/stayd/stayd.toml, /etc/stayd/stayd.toml"),
            "{error}"
        );
        let env = |name: &str| (name == "STAYD_CONFIG").then(|| "/y.toml".to_owned());
        let paths = Paths {
            env: &env,
            euid: 0,
            system: System::Linux,
        };
        assert_eq!(paths.configs(None), [Path::new("/y.toml")]);
    }
}
