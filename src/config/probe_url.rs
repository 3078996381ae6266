//! Parses probe URLs into probe targets. No error quotes any part of a URL, because it may contain a secret.

mod postgres;

use super::keys::nearest_of;
use super::secret::{Secrets, find_outside, has_reference, only_references};
use super::url_parts::{Authority, decode, host_and_port};
use super::value::ValueError;
use super::words::split_words;
use super::{Endpoint, Target};
use std::path::PathBuf;

/// A URL scheme and its documentation.
pub(super) struct Scheme {
    /// The form of the whole URL.
    pub(super) form: &'static str,
    /// The part before the colon.
    pub(super) name: &'static str,
    /// Whether this version supports it.
    pub(super) supported: bool,
    /// Its documentation.
    pub(super) doc: &'static str,
}

const fn scheme(
    form: &'static str,
    name: &'static str,
    supported: bool,
    doc: &'static str,
) -> Scheme {
    Scheme {
        form,
        name,
        supported,
        doc,
    }
}

/// All schemes, in the order of the documentation.
#[rustfmt::skip]
pub(super) const SCHEMES: &[Scheme] = &[
    scheme("postgres://USER:PASSWORD@HOST:PORT/DATABASE", "postgres", true,
        "A query over the PostgreSQL protocol, on a kept connection; each sixth attempt, and each one after a failed one, also logs in anew. `postgres:///DATABASE?host=/run/postgresql` uses a Unix socket."),
    scheme("sqlite:PATH[?write=1]", "sqlite", true,
        "A query on the file itself; `write=1` also takes and releases a write lock. It does not test the process that serves the file."),
    scheme("http://HOST:PORT/PATH", "http", true,
        "An HTTP GET. A status within `expect` is alive, any other well-formed answer is degraded."),
    scheme("tcp://HOST:PORT", "tcp", true,
        "Succeeds when a connection is accepted. This is the weakest test: a wedged service may still pass it."),
    scheme("unix:PATH", "unix", true,
        "The same for a Unix socket."),
    scheme("exec:COMMAND", "exec", true,
        "Runs a command as the service's user, without a shell. Exit status 0 means alive; 4, 126, 127 or a failed start mean no verdict; any other status means dead."),
    scheme("notify", "notify", true,
        "The service itself sends WATCHDOG=1; it gets NOTIFY_SOCKET and WATCHDOG_USEC."),
    scheme("mysql://…", "mysql", false, "Not in this version."),
    scheme("redis://…", "redis", false, "Not in this version."),
    scheme("surrealdb://…", "surrealdb", false, "Not in this version."),
    scheme("https://…", "https", false, "Not in this version."),
];

/// What the parser needs besides the URL.
pub(super) struct UrlContext<'a> {
    pub(super) secrets: Secrets<'a>,
    /// Whether the URL comes from a command line, which every user can read.
    pub(super) from_command_line: bool,
    /// The PostgreSQL role if the URL names none.
    pub(super) default_user: String,
}

/// A parsed URL.
pub(super) struct ParsedUrl {
    /// The URL without secrets, for display.
    pub(super) shown: String,
    /// The target.
    pub(super) target: Target,
}

const ESCAPES: &str = "in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25";

/// Parses a probe URL.
///
/// # Errors
/// The cause and what to write; never any part of the URL.
pub(super) fn parse(text: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    if let Some(whole) = context.secrets.whole(text)? {
        // The referenced value may contain a password, and references in it are not replaced.
        let hidden = UrlContext {
            secrets: Secrets {
                env: &|_| None,
                folder: context.secrets.folder,
            },
            from_command_line: false,
            default_user: context.default_user.clone(),
        };
        if has_reference(&whole) || whole.starts_with("file:") {
            return Err(ValueError::new(
                "the value it refers to is itself a reference",
                "store the URL itself there",
            ));
        }
        let target = parse_literal(whole.trim(), &hidden)?.target;
        return Ok(ParsedUrl {
            shown: text.to_owned(),
            target,
        });
    }
    parse_literal(text.trim(), context)
}

fn parse_literal(text: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "notify" if rest.is_empty() => Ok(plain(text, Target::Notify)),
        "notify" => Err(ValueError::new(
            "`notify` takes no argument",
            "write `notify`",
        )),
        "postgres" | "postgresql" => postgres::parse(slashes(rest, "postgres")?, context),
        "http" => http(slashes(rest, "http")?, context),
        "tcp" => tcp(text, slashes(rest, "tcp")?, context),
        "unix" => Ok(plain(
            text,
            Target::Connect(Endpoint::Unix(path(rest, context)?)),
        )),
        "sqlite" => sqlite(text, rest, context),
        "exec" => exec(text, rest),
        _ => Err(without_scheme(text).unwrap_or_else(|| unknown(name))),
    }
}

/// The error for an address or a port without a scheme; none for another text. Quotes nothing that could be a secret: neither
/// what is between a user and a host, nor a path.
fn without_scheme(text: &str) -> Option<ValueError> {
    let (address, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let (host, port) = address.rsplit_once(':').unwrap_or(("127.0.0.1", address));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let is_host = !host.is_empty() && host.chars().all(is_name);
    port.parse::<u16>().ok().filter(|_| is_host)?;
    let advice = if path.is_empty() {
        format!("write `http://{host}:{port}` or `tcp://{host}:{port}`")
    } else {
        format!("write `http://{host}:{port}/PATH`")
    };
    Some(ValueError::new("it has no scheme", advice))
}

fn plain(shown: &str, target: Target) -> ParsedUrl {
    ParsedUrl {
        shown: shown.to_owned(),
        target,
    }
}

fn form(name: &str) -> &'static str {
    SCHEMES
        .iter()
        .find(|scheme| scheme.name == name)
        .map_or("", |scheme| scheme.form)
}

fn slashes<'t>(rest: &'t str, name: &str) -> Result<&'t str, ValueError> {
    rest.strip_prefix("//").ok_or_else(|| {
        ValueError::new(
            format!("`{name}:` must be followed by `//`"),
            format!("write `{}`", form(name)),
        )
    })
}

fn unknown(name: &str) -> ValueError {
    let known = |supported| {
        SCHEMES
            .iter()
            .filter(move |scheme| scheme.supported == supported)
            .map(|s| s.name)
    };
    let all = known(true).collect::<Vec<_>>().join(", ");
    if let Some(later) = known(false).find(|later| *later == name) {
        let cause = format!("this version does not support `{later}` probes");
        return ValueError::new(
            cause,
            format!("use `exec:COMMAND` with a client program, or one of {all}"),
        );
    }
    let advice = match nearest_of(name, known(true)) {
        Some(near) => format!("did you mean `{}`?", form(near)),
        None => format!("begin it with one of {all}"),
    };
    ValueError::new("its scheme is not known", advice)
}

/// A path, which may be relative to the folder of the configuration.
fn path(text: &str, context: &UrlContext<'_>) -> Result<PathBuf, ValueError> {
    let text = text
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(text);
    if text.starts_with("//") {
        return Err(ValueError::new(
            "a path cannot have a host",
            "write the path directly after the colon",
        ));
    }
    let path = context.secrets.fill(text, decode)?;
    if path.is_empty() {
        return Err(ValueError::new(
            "it has no path",
            "write the path directly after the colon",
        ));
    }
    Ok(context.secrets.folder.join(path))
}

fn sqlite(shown: &str, rest: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    let (file, query) = split_at_first(rest, '?');
    let mut write = false;
    for (name, value) in parameters(query) {
        write = match (name, value) {
            ("write", "1") => true,
            ("write", "0") => false,
            _ => {
                return Err(ValueError::new(
                    "it has an unknown parameter",
                    "write `?write=1` or no parameter",
                ));
            }
        };
    }
    Ok(plain(
        shown,
        Target::Sqlite {
            path: path(file, context)?,
            write,
        },
    ))
}

fn exec(shown: &str, rest: &str) -> Result<ParsedUrl, ValueError> {
    if has_reference(rest) {
        return Err(ValueError::new(
            "every user can read a command line, so it must not contain secrets",
            "put the value into `env` and let the command read it there",
        ));
    }
    let words = split_words(rest).map_err(|error| {
        ValueError::new(
            error.to_string(),
            "close it, or write a backslash before it",
        )
    })?;
    if words.first().is_none_or(String::is_empty) {
        return Err(ValueError::new(
            "it names no program",
            "write `exec:PROGRAM ARGUMENT`",
        ));
    }
    Ok(plain(shown, Target::Exec(words)))
}

fn tcp(shown: &str, rest: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if find_outside(rest, &['/', '?', '#', '@']).is_some() {
        return Err(ValueError::new(
            "`tcp` takes only a host and a port",
            "write `tcp://HOST:PORT`",
        ));
    }
    let (host, port) = host_and_port(rest, &context.secrets)?;
    let port = port.ok_or_else(|| ValueError::new("it has no port", "write `tcp://HOST:PORT`"))?;
    Ok(plain(shown, Target::Connect(Endpoint::Tcp(host, port))))
}

fn http(rest: &str, context: &UrlContext<'_>) -> Result<ParsedUrl, ValueError> {
    let end = find_outside(rest, &['/', '?', '#']).unwrap_or(rest.len());
    let (authority, written_path) = rest.split_at(end);
    let authority = Authority::split(authority);
    check_no_at_sign(written_path)?;
    check_no_literal_password(authority.password, context)?;
    if authority.password.is_none() {
        check_no_literal_token(authority.user, context)?;
    }
    let (host, port) = host_and_port(authority.host_port, &context.secrets)?;
    let user = authority.decoded(authority.user, &context.secrets)?;
    let password = authority.decoded(authority.password, &context.secrets)?;
    if user
        .as_ref()
        .is_some_and(|user| authority.password.is_some() && user.contains(':'))
    {
        return Err(ValueError::new(
            "an HTTP user name cannot contain a colon",
            "put it into the password",
        ));
    }
    let credentials = user.map(|user| match password {
        Some(password) => format!("{user}:{password}"),
        None if user.contains(':') => user,
        None => format!("{user}:"),
    });
    let literal = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let header = port.map_or_else(|| literal.clone(), |port| format!("{literal}:{port}"));
    let path = request_path(written_path, context)?;
    let at = Endpoint::Tcp(host, port.unwrap_or(80));
    let userinfo = if authority.userinfo.is_empty() {
        ""
    } else {
        "***@"
    };
    let shown = format!("http://{userinfo}{}{written_path}", authority.host_port);
    let target = Target::Http {
        at,
        host: header,
        path,
        credentials,
    };
    Ok(ParsedUrl { shown, target })
}

/// The path for the request line. It is sent as written, so it must not contain anything that would end the line.
fn request_path(text: &str, context: &UrlContext<'_>) -> Result<String, ValueError> {
    if find_outside(text, &['#']).is_some() {
        return Err(ValueError::new(
            "HTTP does not send the part after `#`",
            "remove it, or write %23",
        ));
    }
    let path = context.secrets.fill(text, |plain| Ok(plain.to_owned()))?;
    if path.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(ValueError::new(
            "its path contains blanks or other characters that HTTP does not allow",
            "percent-encode them, a blank as %20",
        ));
    }
    Ok(if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    })
}

/// Refuses a `@` after the host. It is most likely part of a password with a `/`, which would be parsed as a path and
/// displayed.
fn check_no_at_sign(rest: &str) -> Result<(), ValueError> {
    match find_outside(rest, &['@']) {
        Some(_) => Err(ValueError::new(
            "there is a `@` after the host",
            format!("write it as %40; {ESCAPES}"),
        )),
        None => Ok(()),
    }
}

/// Refuses a literal password on a command line, where only a reference to it is allowed.
fn check_no_literal_password(
    password: Option<&str>,
    context: &UrlContext<'_>,
) -> Result<(), ValueError> {
    if context.from_command_line && !password.is_none_or(only_references) {
        return Err(ValueError::new(
            "it contains a password, and every user can read a command line",
            "write `${NAME}` for a variable or `${file:PATH}` for a file instead",
        ));
    }
    Ok(())
}

/// Refuses a literal user name without a password on a command line: for many HTTP services it is a token.
fn check_no_literal_token(user: Option<&str>, context: &UrlContext<'_>) -> Result<(), ValueError> {
    if context.from_command_line && !user.is_none_or(only_references) {
        return Err(ValueError::new(
            "it contains a user name without a password, which is a token for many services, and every user can read a command \
             line",
            "write `${NAME}` for a variable or `${file:PATH}` for a file instead",
        ));
    }
    Ok(())
}

/// The text before and after the first `at` outside of references.
fn split_at_first(text: &str, at: char) -> (&str, &str) {
    find_outside(text, &[at]).map_or((text, ""), |found| {
        (&text[..found], &text[found + at.len_utf8()..])
    })
}

/// The parameters of a query such as `a=b&c=d`; a value may contain a reference.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = query;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (first, after) = split_at_first(rest, '&');
        rest = after;
        Some(split_at_first(first, '='))
    })
}

#[cfg(test)]
mod tests;
