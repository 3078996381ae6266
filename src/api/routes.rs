//! The route table: method, path, required access and handler of every request. Access is decided here alone.

use std::io;

/// The HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes something.
    Post,
}

impl Method {
    /// As in the request line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The access that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every process that can connect; the answer discloses nothing.
    Anyone,
    /// For the owner, root and the control group: read everything.
    Look,
    /// For the owner, root and the control group: start, stop and hold services.
    Steer,
    /// For the owner and root: decide which programs run.
    Own,
}

impl Access {
    /// `x-access` in docs/openapi.json.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Look => "look",
            Self::Steer => "steer",
            Self::Own => "own",
        }
    }

    /// Whether a peer with this role has it.
    #[must_use]
    pub const fn is_open_to(self, role: PeerRole) -> bool {
        match (self, role) {
            (Self::Anyone, _) | (Self::Look | Self::Steer, PeerRole::Owner | PeerRole::Group) => {
                true
            }
            (Self::Own, PeerRole::Owner) => true,
            (Self::Look | Self::Steer, PeerRole::Other)
            | (Self::Own, PeerRole::Group | PeerRole::Other) => false,
        }
    }

    /// The users that have it, for a message.
    #[must_use]
    pub const fn holders(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Look | Self::Steer => "only the owner, root and the control group",
            Self::Own => "only the owner and root",
        }
    }
}

/// The role of a peer, from the credentials that the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// The user stayd runs as, or root.
    Owner,
    /// A member of the control group.
    Group,
    /// Any other user.
    Other,
}

/// Maps the uid of a peer to its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessControl {
    owner_uid: u32,
    /// With a control group the socket is root:GROUP 0660 in a 0750 directory, so the kernel has already checked that a
    /// connecting peer is in the group. Checking again would need the peer's supplementary groups, and a user database
    /// can hang.
    group: Option<u32>,
}

impl AccessControl {
    /// For the user that stayd runs as, and the members of the group with this name.
    ///
    /// It reads the group database, which can hang in a directory service. Call it at the start, not from the loop.
    ///
    /// # Errors
    /// `NotFound` if there is no such group; otherwise the error of the group database.
    pub fn new(owner_uid: u32, group: Option<&str>) -> io::Result<Self> {
        let group = group.map(group_id).transpose()?;
        Ok(Self { owner_uid, group })
    }

    /// The control group's gid, for [`super::listen::bind`].
    #[must_use]
    pub const fn group(self) -> Option<u32> {
        self.group
    }

    /// The role of a peer with this uid.
    #[must_use]
    pub const fn role_of(self, uid: u32) -> PeerRole {
        if uid == 0 || uid == self.owner_uid {
            PeerRole::Owner
        } else if self.group.is_some() {
            PeerRole::Group
        } else {
            PeerRole::Other
        }
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    let found = nix::unistd::Group::from_name(name)?;
    found.map(|group| group.gid.as_raw()).ok_or_else(|| {
        let message = format!(
            "cannot open the control socket to the [control] group {name}: there is no such group"
        );
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// The handler of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The state of stayd and its services.
    Status,
    /// Records of the journal, as a list or as a stream.
    Events,
    /// The incidents.
    Incidents,
    /// One incident.
    Incident,
    /// Recorded decisions about a service.
    Why,
    /// A service's captured output.
    Logs,
    /// A command about a service.
    Command(Verb),
    /// In-place upgrade.
    Upgrade,
    /// Whether stayd answers.
    Livez,
    /// Whether every service is healthy.
    Readyz,
}

/// The commands about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Replace its instance by a new one.
    Restart,
    /// Send its reload signal.
    Reload,
    /// Suppress kills for a while.
    Hold,
    /// End a hold.
    Release,
}

impl Verb {
    /// Its word in a path and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Hold => "hold",
            Self::Release => "release",
        }
    }
}

/// One entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{name}` and `{id}` stand for one segment.
    pub path: &'static str,
    /// The required access.
    pub access: Access,
    /// What answers it.
    pub handler: Handler,
}

const fn get(path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method: Method::Get,
        path,
        access,
        handler,
    }
}

const fn post(path: &'static str, verb: Verb) -> Route {
    Route {
        method: Method::Post,
        path,
        access: Access::Steer,
        handler: Handler::Command(verb),
    }
}

/// Every route.
pub const ROUTES: &[Route] = &[
    get("/v1/status", Access::Look, Handler::Status),
    get("/v1/events", Access::Look, Handler::Events),
    get("/v1/incidents", Access::Look, Handler::Incidents),
    get("/v1/incidents/{id}", Access::Look, Handler::Incident),
    get("/v1/services/{name}/why", Access::Look, Handler::Why),
    get("/v1/services/{name}/logs", Access::Look, Handler::Logs),
    Route {
        method: Method::Post,
        path: "/v1/upgrade",
        access: Access::Own,
        handler: Handler::Upgrade,
    },
    post("/v1/services/{name}/start", Verb::Start),
    post("/v1/services/{name}/stop", Verb::Stop),
    post("/v1/services/{name}/restart", Verb::Restart),
    post("/v1/services/{name}/reload", Verb::Reload),
    post("/v1/services/{name}/hold", Verb::Hold),
    post("/v1/services/{name}/release", Verb::Release),
    get("/livez", Access::Anyone, Handler::Livez),
    get("/readyz", Access::Look, Handler::Readyz),
];

/// The result of [`find`].
#[derive(Debug)]
pub enum Lookup<'p> {
    /// This route, with the segment in the place of `{name}` or `{id}`.
    Route(&'static Route, Option<&'p str>),
    /// The path exists, but not with this method; the methods that it supports.
    OtherMethod(Vec<&'static str>),
    /// No route has this path.
    UnknownPath,
}

/// Finds the route of a request.
#[must_use]
pub fn find<'p>(method: &str, path: &'p str) -> Lookup<'p> {
    let mut supported = Vec::new();
    for route in ROUTES {
        let Some(segment) = matches(route.path, path) else {
            continue;
        };
        if route.method.name() == method {
            return Lookup::Route(route, segment);
        }
        supported.push(route.method.name());
    }
    if supported.is_empty() {
        Lookup::UnknownPath
    } else {
        Lookup::OtherMethod(supported)
    }
}

/// `None` if `path` does not match `shape`; otherwise the segment in the place of the placeholder, if there is one.
fn matches<'p>(shape: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut segment = None;
    let (mut shapes, mut parts) = (shape.split('/'), path.split('/'));
    loop {
        match (shapes.next(), parts.next()) {
            (None, None) => return Some(segment),
            (Some(shape), Some(part)) if shape.starts_with('{') && !part.is_empty() => {
                segment = Some(part);
            }
            (Some(shape), Some(part)) if shape == part => {}
            _ => return None,
        }
    }
}

/// The path of a service's route. Service names need no escaping (letters, digits, `-`, `_`, `.`).
#[must_use]
pub fn service_path(name: &str, leaf: &str) -> String {
    format!("/v1/services/{name}/{leaf}")
}

#[cfg(test)]
mod tests {
    use super::{Access, AccessControl, Handler, Lookup, PeerRole, ROUTES, Verb, find};

    #[test]
    fn only_whole_paths_match() {
        let Lookup::Route(route, Some("db")) = find("POST", "/v1/services/db/restart") else {
            panic!("the route is in the table");
        };
        assert_eq!(route.handler, Handler::Command(Verb::Restart));
        assert!(matches!(
            find("GET", "/v1/services/db/restart"),
            Lookup::OtherMethod(_)
        ));
        for path in [
            "/",
            "",
            "/v1/services//why",
            "/v1/services/a/b/why",
            "/v1/status/",
            "//v1/status",
        ] {
            assert!(matches!(find("GET", path), Lookup::UnknownPath), "{path}");
        }
    }

    #[test]
    fn every_route_has_the_access_of_its_method() {
        for route in ROUTES {
            assert!(route.access.is_open_to(PeerRole::Owner), "{}", route.path);
            let for_every_user = route.path == "/livez";
            assert_eq!(
                route.access.is_open_to(PeerRole::Other),
                for_every_user,
                "{}",
                route.path
            );
            assert_eq!(
                matches!(route.access, Access::Steer | Access::Own),
                route.method.name() == "POST",
                "{}",
                route.path
            );
            let for_the_group = route.path != "/v1/upgrade";
            assert_eq!(
                route.access.is_open_to(PeerRole::Group),
                for_the_group,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn a_peer_is_owner_group_or_other() {
        let without_group = AccessControl::new(1000, None).expect("no group to look up");
        assert_eq!(without_group.role_of(1000), PeerRole::Owner);
        assert_eq!(without_group.role_of(0), PeerRole::Owner);
        assert_eq!(without_group.role_of(1001), PeerRole::Other);
        let group = nix::unistd::Group::from_gid(nix::unistd::getegid())
            .expect("a database")
            .expect("our group");
        let with_group = AccessControl::new(1000, Some(&group.name)).expect("it exists");
        assert_eq!(with_group.role_of(1001), PeerRole::Group);
        let error = AccessControl::new(1000, Some("no such group")).expect_err("it does not exist");
        assert!(
            error.to_string().ends_with("there is no such group"),
            "{error}"
        );
    }
}
