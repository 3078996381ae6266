//! Evidence: the process that holds the service's port.

use super::{Deadline, EvidenceTarget, Section};
use crate::decide::action::RecordValue;
use crate::sys::identity;
use crate::sys::process;
use crate::sys::socket::{self, Listener};

/// Whether a process listens on the port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PortState {
    /// The kernel does not list the listeners.
    Unknown(String),
    /// There is no listener.
    Free,
    /// This process listens. `None`: it is hidden from stayd, or was not found in time.
    Held(Option<Holder>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    pid: i32,
    comm: String,
    relation: HolderRelation,
}

/// How the holder is related to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HolderRelation {
    Main,
    Member,
    /// stayd holds the socket for the service.
    Stayd,
    Foreign,
}

pub(super) fn section(target: &EvidenceTarget, deadline: &Deadline) -> Section {
    target.port.map_or_else(Section::default, |port| {
        render(port, &sample(port, target, deadline))
    })
}

fn sample(port: u16, target: &EvidenceTarget, deadline: &Deadline) -> PortState {
    match socket::listeners(port) {
        Err(error) => PortState::Unknown(error.to_string()),
        Ok(listeners) if listeners.is_empty() => PortState::Free,
        Ok(listeners) => PortState::Held(holder(&listeners, target, deadline)),
    }
}

/// The process that has one of the listeners open. Searches the tree first, because a foreign process may listen on the port
/// at another address, and then all processes until the deadline.
fn holder(listeners: &[Listener], target: &EvidenceTarget, deadline: &Deadline) -> Option<Holder> {
    let members = target
        .members
        .iter()
        .map(|one| (one.pid, HolderRelation::Member));
    let tree = std::iter::once((target.main.pid, HolderRelation::Main)).chain(members);
    let others = process::all().unwrap_or_default().into_iter();
    let (pid, relation) = tree
        .chain(std::iter::once((identity::pid(), HolderRelation::Stayd)))
        .chain(others.map(|pid| (pid, HolderRelation::Foreign)))
        .take_while(|_| !deadline.is_over())
        .find(|(pid, _)| {
            socket::held_listeners(*pid, listeners).is_ok_and(|held| !held.is_empty())
        })?;
    let comm = process::stat(pid).map(|stat| stat.comm).unwrap_or_default();
    Some(Holder {
        pid,
        comm,
        relation,
    })
}

fn render(port: u16, state: &PortState) -> Section {
    let (sentence, holder) = match state {
        PortState::Unknown(why) => (
            format!("port {port}: cannot list the listeners: {why}"),
            None,
        ),
        PortState::Free => (format!("no process listens on port {port}"), None),
        PortState::Held(None) => (
            format!(
                "port {port} held by a process that is hidden from stayd or was not found in time"
            ),
            None,
        ),
        PortState::Held(Some(Holder {
            pid,
            comm,
            relation,
        })) => {
            let name = match relation {
                HolderRelation::Main => "itself".to_owned(),
                HolderRelation::Member => format!("{comm}, of its tree"),
                HolderRelation::Stayd => {
                    "stayd, for it: none of its processes has it open".to_owned()
                }
                HolderRelation::Foreign => format!("{comm}, not of its tree"),
            };
            (
                format!("port {port} held by pid {pid} ({name})"),
                Some(*pid),
            )
        }
    };
    let holder = holder.and_then(|pid| u64::try_from(pid).ok());
    Section {
        summary: Some(sentence.clone()),
        lines: vec![sentence],
        facts: holder
            .map(|pid| ("port_holder", RecordValue::Number(pid)))
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LastLines;
    use super::*;
    use crate::sys::identity::pid;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn the_relation_of_every_kind_of_holder_is_named() {
        let summary = |state| render(8521, &state).summary.expect("a summary");
        let held = |relation| {
            PortState::Held(Some(Holder {
                pid: 4720,
                comm: "redis".into(),
                relation,
            }))
        };
        assert_eq!(
            summary(held(HolderRelation::Main)),
            "port 8521 held by pid 4720 (itself)"
        );
        assert_eq!(
            summary(held(HolderRelation::Member)),
            "port 8521 held by pid 4720 (redis, of its tree)"
        );
        assert_eq!(
            summary(held(HolderRelation::Foreign)),
            "port 8521 held by pid 4720 (redis, not of its tree)"
        );
        assert_eq!(
            summary(held(HolderRelation::Stayd)),
            "port 8521 held by pid 4720 (stayd, for it: none of its processes has it open)"
        );
        assert_eq!(summary(PortState::Free), "no process listens on port 8521");
        assert_eq!(
            render(1, &held(HolderRelation::Main)).facts,
            [("port_holder", RecordValue::Number(4720))]
        );
        assert!(render(1, &PortState::Held(None)).facts.is_empty());
    }

    #[test]
    fn the_holder_of_a_port_is_found_unless_the_time_is_over() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = socket.local_addr().expect("bound").port();
        let target = EvidenceTarget {
            main: process::stat(pid()).expect("this process exists").process,
            members: Vec::new(),
            port: Some(port),
            transcript: Vec::new(),
            last_lines: LastLines::Read(Vec::new()),
        };
        let now = crate::sys::clock::sample().awake;
        let deadline = Deadline::at(now + Duration::from_secs(5));
        let PortState::Held(Some(holder)) = sample(port, &target, &deadline) else {
            panic!("a holder");
        };
        assert_eq!((holder.pid, holder.relation), (pid(), HolderRelation::Main));
        let over = Deadline::at(Duration::ZERO);
        assert_eq!(sample(port, &target, &over), PortState::Held(None));
    }
}
