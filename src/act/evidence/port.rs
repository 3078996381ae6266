//! Who holds the service's port.

use super::{Section, Subject, Time};
use crate::decide::action::RecordValue;
use crate::sys::identity;
use crate::sys::process;
use crate::sys::socket::{self, Listener};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// The kernel does not say who listens.
    Untold(String),
    /// No listener.
    Free,
    /// By this process, which may be hidden from us or not have been found in time.
    Held(Option<Holder>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    pid: i32,
    comm: String,
    kin: Kin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kin {
    Main,
    Member,
    /// stayd holds the socket for it.
    Stayd,
    Stranger,
}

pub(super) fn section(subject: &Subject, time: &Time) -> Section {
    subject.port.map_or_else(Section::default, |port| {
        tell(port, &look(port, subject, time))
    })
}

fn look(port: u16, subject: &Subject, time: &Time) -> Seen {
    match socket::listeners(port) {
        Err(error) => Seen::Untold(error.to_string()),
        Ok(listeners) => listeners
            .first()
            .map_or(Seen::Free, |one| Seen::Held(holder(one, subject, time))),
    }
}

/// The tree first: what it does not hold is searched for among all processes, as long as there is time.
fn holder(listener: &Listener, subject: &Subject, time: &Time) -> Option<Holder> {
    let members = subject.members.iter().map(|one| (one.pid, Kin::Member));
    let tree = std::iter::once((subject.main.pid, Kin::Main)).chain(members);
    let others = process::all().unwrap_or_default().into_iter();
    let (pid, kin) = tree
        .chain(std::iter::once((identity::pid(), Kin::Stayd)))
        .chain(others.map(|pid| (pid, Kin::Stranger)))
        .take_while(|_| !time.is_over())
        .find(|(pid, _)| socket::holds_listener(*pid, listener).unwrap_or(false))?;
    let comm = process::stat(pid).map(|stat| stat.comm).unwrap_or_default();
    Some(Holder { pid, comm, kin })
}

fn tell(port: u16, seen: &Seen) -> Section {
    let (sentence, holder) = match seen {
        Seen::Untold(why) => (format!("port {port}: cannot see who listens: {why}"), None),
        Seen::Free => (format!("nobody listens on port {port}"), None),
        Seen::Held(None) => (
            format!(
                "port {port} held by a process that is hidden from us or was not found in time"
            ),
            None,
        ),
        Seen::Held(Some(Holder { pid, comm, kin })) => {
            let who = match kin {
                Kin::Main => "itself".to_owned(),
                Kin::Member => format!("{comm}, of its tree"),
                Kin::Stayd => "stayd, for it: none of its processes has it open".to_owned(),
                Kin::Stranger => format!("{comm}, not of its tree"),
            };
            (format!("port {port} held by pid {pid} ({who})"), Some(*pid))
        }
    };
    let holder = holder.and_then(|pid| u64::try_from(pid).ok());
    Section {
        brief: Some(sentence.clone()),
        lines: vec![sentence],
        facts: holder
            .map(|pid| ("port_holder", RecordValue::Number(pid)))
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn every_kind_of_holder_has_its_words() {
        let brief = |seen| tell(8521, &seen).brief.expect("a brief");
        let held = |kin| {
            Seen::Held(Some(Holder {
                pid: 4720,
                comm: "redis".into(),
                kin,
            }))
        };
        assert_eq!(
            brief(held(Kin::Main)),
            "port 8521 held by pid 4720 (itself)"
        );
        assert_eq!(
            brief(held(Kin::Member)),
            "port 8521 held by pid 4720 (redis, of its tree)"
        );
        assert_eq!(
            brief(held(Kin::Stranger)),
            "port 8521 held by pid 4720 (redis, not of its tree)"
        );
        assert_eq!(
            brief(held(Kin::Stayd)),
            "port 8521 held by pid 4720 (stayd, for it: none of its processes has it open)"
        );
        assert_eq!(brief(Seen::Free), "nobody listens on port 8521");
        assert_eq!(
            tell(1, &held(Kin::Main)).facts,
            [("port_holder", RecordValue::Number(4720))]
        );
        assert!(tell(1, &Seen::Held(None)).facts.is_empty());
    }

    #[test]
    fn a_port_of_ours_is_ours() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = socket.local_addr().expect("bound").port();
        let subject = Subject {
            main: process::stat(pid()).expect("we live").process,
            members: Vec::new(),
            port: Some(port),
            transcript: Vec::new(),
            last_lines: Vec::new(),
        };
        let now = crate::sys::clock::sample().awake;
        let time = Time::until(now + Duration::from_secs(5));
        let Seen::Held(Some(holder)) = look(port, &subject, &time) else {
            panic!("a holder");
        };
        assert_eq!((holder.pid, holder.kin), (pid(), Kin::Main));
        let over = Time::until(Duration::ZERO);
        assert_eq!(look(port, &subject, &over), Seen::Held(None));
    }
}
