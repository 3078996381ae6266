//! Parses PostgreSQL URLs as libpq does.

use super::{
    ESCAPES, ParsedUrl, UrlContext, check_no_at_sign, check_no_literal_password, parameters,
    split_at_first,
};
use crate::config::url_parts::{Authority, MASK, decode, host_and_port, port, split_port};
use crate::config::value::ValueError;
use crate::config::{Endpoint, Target};
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The port if the URL has none.
const DEFAULT_PORT: u16 = 5432;

/// Parses the part after `postgres://`.
pub(super) fn parse(rest: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    let (rest, query) = split_at_first(rest, '?');
    let (authority, database) = split_at_first(rest, '/');
    let database_part = &rest[authority.len()..];
    let authority = Authority::split(authority);
    let (host, port) = split_port(authority.host_port);
    let mut parts = Parts {
        user: authority.user.unwrap_or_default(),
        password: authority.password,
        database,
        host,
        port: port.unwrap_or_default(),
    };
    for (name, value) in parameters(query) {
        parts.set(name, value)?;
    }
    check_no_literal_password(authority.password, context)?;
    check_no_literal_password(parts.password, context)?;
    check_no_at_sign(database_part)?;
    check_no_at_sign(query)?;
    let fill = |text: &str| context.secrets.fill(text, decode);
    let user = Some(fill(parts.user)?).filter(|user| !user.is_empty());
    let user = user.unwrap_or_else(|| context.default_user.clone());
    let password = parts.password.map(fill).transpose()?;
    let database = Some(fill(parts.database)?).filter(|name| !name.is_empty());
    let database = database.unwrap_or_else(|| user.clone());
    let at = parts.endpoint(context)?;
    let shown = shown(&authority, database_part, query);
    Ok(ParsedUrl {
        shown,
        target: Target::Postgres {
            at,
            user,
            password,
            database,
        },
    })
}

/// The URL as written, with passwords replaced; `database` includes its slash.
fn shown(authority: &Authority<'_>, database: &str, query: &str) -> String {
    let userinfo = match (authority.user, authority.password) {
        (None, _) => String::new(),
        (Some(user), None) => format!("{user}@"),
        (Some(user), Some(_)) => format!("{user}:{MASK}@"),
    };
    let shown = |(name, value)| match name {
        "password" => format!("{name}={MASK}"),
        _ => format!("{name}={value}"),
    };
    let query = parameters(query).map(shown).collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    format!(
        "postgres://{userinfo}{}{database}{mark}{query}",
        authority.host_port
    )
}

/// The parts of a PostgreSQL URL; libpq allows a parameter in place of each part.
struct Parts<'t> {
    user: &'t str,
    password: Option<&'t str>,
    database: &'t str,
    host: &'t str,
    port: &'t str,
}

impl<'t> Parts<'t> {
    fn set(&mut self, name: &str, value: &'t str) -> Result<(), ValueError> {
        match (name, value) {
            ("user", _) => self.user = value,
            ("password", _) => self.password = Some(value),
            ("dbname", _) => self.database = value,
            ("host", _) => self.host = value,
            ("port", _) => self.port = value,
            ("sslmode", "disable" | "allow" | "prefer") => {}
            ("sslmode", _) => {
                return Err(ValueError::new(
                    "stayd connects to PostgreSQL without TLS, and this sslmode requires it",
                    "use a loopback address or a Unix socket, with sslmode=disable or without sslmode",
                ));
            }
            _ => {
                return Err(ValueError::new(
                    "it has an unknown parameter",
                    format!(
                        "known parameters: host, port, user, password, dbname, sslmode; {ESCAPES}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The endpoint. A host that begins with `/` (libpq also accepts it percent-encoded) is the folder of a Unix socket.
    fn endpoint(&self, context: &UrlContext<'_>) -> Result<Endpoint, ValueError> {
        let port = match self.port {
            "" => DEFAULT_PORT,
            digits => port(digits, &context.secrets)?,
        };
        let folder = context.secrets.fill(self.host, decode)?;
        if folder.starts_with('/') {
            let socket = format!(".s.PGSQL.{port}");
            return Ok(Endpoint::Unix(PathBuf::from(folder).join(socket)));
        }
        if folder.parse::<Ipv6Addr>().is_ok() {
            return Ok(Endpoint::Tcp(folder, port));
        }
        if folder.is_empty() {
            return Err(ValueError::new(
                "it names no host",
                "write `postgres://127.0.0.1:5432/DATABASE` or `postgres:///DATABASE?host=/run/postgresql`",
            ));
        }
        let (host, _) = host_and_port(self.host, &context.secrets)?;
        Ok(Endpoint::Tcp(host, port))
    }
}
