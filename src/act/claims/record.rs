//! What a claim says.

use crate::decide::event::Exit;
use crate::sys::process::Process;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// 128 random bits in a life's environment (`STAYD_TOKEN`), as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A fresh one from the system's generator.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn fresh() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// Its 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_well_formed(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The file behind a life's claim fd. Inodes are reused at once, so its birth belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFile {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// When it was made, nanoseconds since 1970; 0 where the file system does not say.
    #[serde(rename = "birth")]
    pub created: u64,
}

/// A process as a claim names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub pid: i32,
    /// Kernel start time, see [`Process::start_time`].
    #[serde(rename = "birth")]
    pub start_time: u64,
}

impl From<Process> for Member {
    fn from(process: Process) -> Self {
        Self {
            pid: process.pid,
            start_time: process.start_time,
        }
    }
}

impl From<Member> for Process {
    fn from(member: Member) -> Self {
        Self {
            pid: member.pid,
            start_time: member.start_time,
        }
    }
}

/// How a life ended after which none was to follow by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// exit(2) with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody saw it.
    Unknown,
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(number) => Self::Signal(number),
            Exit::Unknown => Self::Unknown,
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Code(code) => Self::Code(code),
            Ended::Signal(number) => Self::Signal(number),
            Ended::Unknown => Self::Unknown,
        }
    }
}

/// STATE/claims/SERVICE.json, as the contract lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The main process's number; none between the intent and the spawn.
    pub pid: Option<i32>,
    /// Its kernel start time.
    #[serde(rename = "birth")]
    pub start_time: Option<u64>,
    /// The boot it was written in.
    pub boot_id: String,
    /// Inode of the pid namespace that `pid` counts in; 0 where there are none.
    pub pid_ns: u64,
    /// The life's mark in its environment.
    pub token: Token,
    /// Which life.
    pub life: u32,
    /// What the life's claim fd is.
    pub claim_fd: ClaimFile,
    /// The process that the life began with, whose number is its session's; the main process may be its heir.
    #[serde(default)]
    pub first: Option<Member>,
    /// It was told to end.
    #[serde(default)]
    pub ending: bool,
    /// It is over, and none follows by itself.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// The user it ran as.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Processes of the life seen outside its tree.
    pub members: Vec<Member>,
    /// The program file.
    pub program: PathBuf,
    /// A hash of its whole command, which may hold secrets.
    #[serde(default)]
    pub command_key: Option<String>,
    /// The user it was to run as, by the name in the configuration.
    #[serde(default)]
    pub user: Option<String>,
    /// A hash of the variables it was given, which may hold secrets. None: from a stayd that wrote neither this nor `user`.
    #[serde(default)]
    pub env_key: Option<String>,
    /// Of its runtime, when it has one.
    pub fingerprint: Option<String>,
    /// Path of that runtime.
    pub runtime: Option<PathBuf>,
    /// Working directory.
    pub workspace: PathBuf,
    /// The port it must own.
    pub port: Option<u16>,
    /// When the main process started, RFC 3339.
    pub started_at: Option<String>,
}

impl Claim {
    /// The main process, once there is one.
    #[must_use]
    pub fn main(&self) -> Option<Process> {
        Some(Process {
            pid: self.pid?,
            start_time: self.start_time?,
        })
    }
}
