//! The whole surface: method, path, access, handler. Nothing else decides who may do what.

use std::io;

/// How a request changes things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Only looks.
    Get,
    /// Does something.
    Post,
}

impl Method {
    /// As HTTP spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What a route demands of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever can connect: it gives nothing away.
    Anyone,
    /// The owner, root, the control group: sees everything.
    Look,
    /// The owner, root, the control group: changes what runs.
    Steer,
    /// The owner, root: decides which programs run.
    Own,
}

impl Access {
    /// Its name in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Look => "look",
            Self::Steer => "steer",
            Self::Own => "own",
        }
    }

    /// Whether `who` has it.
    #[must_use]
    pub const fn is_open_to(self, who: Who) -> bool {
        match (self, who) {
            (Self::Anyone, _) | (Self::Look | Self::Steer, Who::Owner | Who::Group) => true,
            (Self::Own, Who::Owner) => true,
            (Self::Look | Self::Steer, Who::Stranger) | (Self::Own, Who::Group | Who::Stranger) => {
                false
            }
        }
    }

    /// Who has it, for a sentence.
    #[must_use]
    pub const fn holders(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Look | Self::Steer => "only the owner, root and the control group",
            Self::Own => "only the owner and root",
        }
    }
}

/// Who connected, by the credentials the kernel gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user stayd runs as, or root.
    Owner,
    /// The control group.
    Group,
    /// Anybody else.
    Stranger,
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    owner_uid: u32,
    /// A control group is configured: the socket is root:GROUP 0660 in a 0750 directory, so the kernel has already
    /// checked that whoever connects is in it. Asking again would need the peer's supplementary groups, which the
    /// user database may take for ever to tell.
    group: Option<u32>,
}

impl Gate {
    /// For the user stayd runs as, and the members of the group with this name.
    ///
    /// Asks the group database, which can hang in a directory service: for the start, not for the loop.
    ///
    /// # Errors
    /// `NotFound` names a group that does not exist; else the system's refusal.
    pub fn new(owner_uid: u32, group: Option<&str>) -> io::Result<Self> {
        let group = group.map(group_id).transpose()?;
        Ok(Self { owner_uid, group })
    }

    /// The control group's number, for [`super::listen::bind`].
    #[must_use]
    pub const fn group(self) -> Option<u32> {
        self.group
    }

    /// What the peer with this uid is here.
    #[must_use]
    pub const fn judge(self, uid: u32) -> Who {
        if uid == 0 || uid == self.owner_uid {
            Who::Owner
        } else if self.group.is_some() {
            Who::Group
        } else {
            Who::Stranger
        }
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    let found = nix::unistd::Group::from_name(name)?;
    found.map(|group| group.gid.as_raw()).ok_or_else(|| {
        let message = format!(
            "cannot open the control socket to [control] group {name}: there is no such group"
        );
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// What a request is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Everything now.
    Status,
    /// The journal, as a list or as a stream.
    Events,
    /// The incidents.
    Incidents,
    /// One incident.
    Incident,
    /// Decisions about a service.
    Why,
    /// A service's output.
    Logs,
    /// A wish about a service.
    Request(Verb),
    /// A new version takes our place.
    Upgrade,
    /// stayd answers.
    Livez,
    /// Every service is healthy.
    Readyz,
}

/// A wish by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Be up.
    Start,
    /// Be down.
    Stop,
    /// A new life.
    Restart,
    /// Read your files again.
    Reload,
    /// No kills for a while.
    Hold,
    /// Kills again.
    Release,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// How.
    pub method: Method,
    /// Where; `{name}` and `{id}` stand for one segment.
    pub path: &'static str,
    /// Who.
    pub access: Access,
    /// What.
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
        handler: Handler::Request(verb),
    }
}

/// The table.
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

/// What the table says about a request.
#[derive(Debug)]
pub enum Found<'p> {
    /// This route, with the segment that stood for `{name}` or `{id}`.
    Route(&'static Route, Option<&'p str>),
    /// The path is known, the method is not.
    OtherMethod,
    /// Nothing.
    Nothing,
}

/// Looks a request up.
#[must_use]
pub fn find<'p>(method: &str, path: &'p str) -> Found<'p> {
    let mut known_path = false;
    for route in ROUTES {
        let Some(segment) = matches(route.path, path) else {
            continue;
        };
        if route.method.name() == method {
            return Found::Route(route, segment);
        }
        known_path = true;
    }
    if known_path {
        Found::OtherMethod
    } else {
        Found::Nothing
    }
}

/// None when `path` is not of this shape; else the segment behind the placeholder, if the shape has one.
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

/// The request's target for a service's route; names need no escaping (letters, digits, `-`, `_`, `.`).
#[must_use]
pub fn service_path(name: &str, leaf: &str) -> String {
    format!("/v1/services/{name}/{leaf}")
}

#[cfg(test)]
mod tests {
    use super::{Access, Found, Gate, Handler, ROUTES, Verb, Who, find};

    #[test]
    fn paths_are_found_whole_or_not_at_all() {
        let Found::Route(route, Some("db")) = find("POST", "/v1/services/db/restart") else {
            panic!("the route is in the table");
        };
        assert_eq!(route.handler, Handler::Request(Verb::Restart));
        assert!(matches!(
            find("GET", "/v1/services/db/restart"),
            Found::OtherMethod
        ));
        for path in [
            "/",
            "",
            "/v1/services//why",
            "/v1/services/a/b/why",
            "/v1/status/",
            "//v1/status",
        ] {
            assert!(matches!(find("GET", path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn access_is_in_the_table() {
        for route in ROUTES {
            assert!(route.access.is_open_to(Who::Owner), "{}", route.path);
            let for_all = route.path == "/livez";
            assert_eq!(
                route.access.is_open_to(Who::Stranger),
                for_all,
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
                route.access.is_open_to(Who::Group),
                for_the_group,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn a_peer_is_owner_root_group_or_stranger() {
        let closed = Gate::new(1000, None).expect("no group to look up");
        assert_eq!(closed.judge(1000), Who::Owner);
        assert_eq!(closed.judge(0), Who::Owner);
        assert_eq!(closed.judge(1001), Who::Stranger);
        let group = nix::unistd::Group::from_gid(nix::unistd::getegid())
            .expect("a database")
            .expect("our group");
        let open = Gate::new(1000, Some(&group.name)).expect("it exists");
        assert_eq!(open.judge(1001), Who::Group);
        let error = Gate::new(1000, Some("no such group")).expect_err("it does not exist");
        assert!(
            error.to_string().ends_with("there is no such group"),
            "{error}"
        );
    }
}
