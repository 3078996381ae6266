//! The content of a claim: the types that are serialized to STATE/claims/SERVICE.json.

use crate::decide::event::Exit;
use crate::sys::listen_fds::FIRST_INHERITED;
use crate::sys::process::{InheritedFile, Process};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// 128 random bits in an instance's environment (`STAYD_TOKEN`), as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A new token from the system's random generator.
    ///
    /// # Errors
    /// When the system returns no random bytes.
    pub fn fresh() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// The 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Identifies the file behind an instance's claim fd. File systems reuse inodes at once, so the creation time is part
/// of the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFile {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
    /// Creation time in nanoseconds since 1970; 0 where the file system does not record it.
    #[serde(rename = "birth")]
    pub created: u64,
}

/// A process in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedProcess {
    /// Process id.
    pub pid: i32,
    /// Kernel start time, see [`Process::start_time`].
    #[serde(rename = "birth")]
    pub start_time: u64,
}

impl From<Process> for RecordedProcess {
    fn from(process: Process) -> Self {
        Self {
            pid: process.pid,
            start_time: process.start_time,
        }
    }
}

impl From<RecordedProcess> for Process {
    fn from(member: RecordedProcess) -> Self {
        Self {
            pid: member.pid,
            start_time: member.start_time,
        }
    }
}

/// The recorded exit of an instance after which no restart follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedExit {
    /// It called exit(2) with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The exit status is not known.
    Unknown,
}

impl From<Exit> for RecordedExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(number) => Self::Signal(number),
            Exit::Unknown => Self::Unknown,
        }
    }
}

impl From<RecordedExit> for Exit {
    fn from(ended: RecordedExit) -> Self {
        match ended {
            RecordedExit::Code(code) => Self::Code(code),
            RecordedExit::Signal(number) => Self::Signal(number),
            RecordedExit::Unknown => Self::Unknown,
        }
    }
}

/// The content of STATE/claims/SERVICE.json. The member names are fixed by the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Process id of the main process; none until the process is spawned.
    pub pid: Option<i32>,
    /// Kernel start time of the main process.
    #[serde(rename = "birth")]
    pub start_time: Option<u64>,
    /// Id of the boot in which the claim was written.
    pub boot_id: String,
    /// Inode of the pid namespace of `pid`; 0 on systems without pid namespaces.
    pub pid_ns: u64,
    /// The token in the instance's environment.
    pub token: Token,
    /// The number of the instance.
    pub life: u32,
    /// The file behind the instance's claim fd.
    pub claim_fd: ClaimFile,
    /// The number of the claim fd in the first process; none in a claim of an older stayd.
    #[serde(default)]
    pub claim_fd_number: Option<i32>,
    /// The first process of the instance; its pid is the session id. The main process may be its successor.
    #[serde(default)]
    pub first: Option<RecordedProcess>,
    /// The instance was ready once.
    #[serde(default)]
    pub ready: bool,
    /// stayd has begun to end the instance.
    #[serde(default)]
    pub ending: bool,
    /// The instance has ended and no restart follows.
    #[serde(default)]
    pub ended: Option<RecordedExit>,
    /// The user id that the instance ran as.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Processes of the instance that were seen outside its tree.
    pub members: Vec<RecordedProcess>,
    /// The program file.
    pub program: PathBuf,
    /// A hash of the whole command; the command itself may hold secrets.
    #[serde(default)]
    pub command_key: Option<String>,
    /// The user to run as, by the name in the configuration.
    #[serde(default)]
    pub user: Option<String>,
    /// A hash of the environment that stayd passed; the variables themselves may hold secrets. None in a claim of an
    /// older stayd, which wrote neither this nor `user`.
    #[serde(default)]
    pub env_key: Option<String>,
    /// The fingerprint of its runtime, if it has one.
    pub fingerprint: Option<String>,
    /// The path of that runtime.
    pub runtime: Option<PathBuf>,
    /// The working directory.
    pub workspace: PathBuf,
    /// The port that the service must own.
    pub port: Option<u16>,
    /// When the main process started, RFC 3339.
    pub started_at: Option<String>,
}

impl Claim {
    /// The claim fd's file, as the processes of the instance have inherited it.
    #[must_use]
    pub fn inherited_file(&self) -> InheritedFile {
        InheritedFile {
            dev: self.claim_fd.dev,
            ino: self.claim_fd.inode,
            number: self.claim_fd_number.unwrap_or(FIRST_INHERITED),
        }
    }

    /// The main process; none until it is spawned.
    #[must_use]
    pub fn main(&self) -> Option<Process> {
        Some(Process {
            pid: self.pid?,
            start_time: self.start_time?,
        })
    }
}
