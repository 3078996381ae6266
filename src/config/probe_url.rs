//! Probe URLs: from text to whom to ask. No error quotes any part of a URL: it may hold a secret.

mod postgres;

use super::keys::nearest_of;
use super::secret::{Secrets, find_outside, has_reference, only_references, rfind_outside};
use super::url_parts::{Authority, decode, host_and_port};
use super::value::ValueError;
use super::words::split_words;
use super::{Endpoint, Target};
use std::path::PathBuf;

/// A scheme and what is said about it in the reference.
pub(super) struct Scheme {
    /// As a person writes the whole URL.
    pub(super) form: &'static str,
    /// The part before the colon.
    pub(super) name: &'static str,
    /// Whether this version asks it.
    pub(super) supported: bool,
    /// One sentence.
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

/// Every scheme of the contract.
#[rustfmt::skip]
pub(super) const SCHEMES: &[Scheme] = &[
    scheme("postgres://USER:PASSWORD@HOST:PORT/DATABASE", "postgres", true,
        "A query over PostgreSQL's protocol, on a kept connection; `postgres:///DATABASE?host=/run/postgresql` over a Unix socket."),
    scheme("sqlite:PATH[?write=1]", "sqlite", true,
        "A query on the file itself; `write=1` takes and drops a write lock. It says nothing about the process that serves the file."),
    scheme("http://HOST:PORT/PATH", "http", true,
        "A GET; any well-formed answer is life, one outside `expect` is degraded."),
    scheme("tcp://HOST:PORT", "tcp", true,
        "A connection is accepted: the weakest question, which a wedged service may still answer."),
    scheme("unix:PATH", "unix", true,
        "The same over a Unix socket."),
    scheme("exec:COMMAND", "exec", true,
        "A command, split without a shell and run as the service's user: 0 is alive; 4, 126, 127 or no spawn is no verdict; anything else is dead."),
    scheme("notify", "notify", true,
        "The service sends WATCHDOG=1 itself; it gets NOTIFY_SOCKET and WATCHDOG_USEC."),
    scheme("mysql://…", "mysql", false, "Not in this version."),
    scheme("redis://…", "redis", false, "Not in this version."),
    scheme("surrealdb://…", "surrealdb", false, "Not in this version."),
    scheme("https://…", "https", false, "Not in this version."),
];

/// What a URL may lean on.
pub(super) struct Context<'a> {
    pub(super) secrets: Secrets<'a>,
    /// The URL comes from a command line, which every user can read.
    pub(super) from_command_line: bool,
    /// PostgreSQL's role where the URL names none.
    pub(super) default_user: String,
}

/// A URL, read.
pub(super) struct Parsed {
    /// What may be shown.
    pub(super) shown: String,
    /// Whom to ask.
    pub(super) target: Target,
}

const ESCAPES: &str = "in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25";

/// Reads a probe URL.
///
/// # Errors
/// Why it is none and what to write; never any part of it.
pub(super) fn parse(text: &str, context: &Context<'_>) -> Result<Parsed, ValueError> {
    if let Some(whole) = context.secrets.whole(text)? {
        // What stands elsewhere may hold a password, and is taken as it is.
        let hidden = Context {
            secrets: Secrets {
                env: &|_| None,
                folder: context.secrets.folder,
            },
            from_command_line: false,
            default_user: context.default_user.clone(),
        };
        if has_reference(&whole) || whole.starts_with("file:") {
            return Err(ValueError::new(
                "the place it names holds only another name",
                "put the URL there",
            ));
        }
        let target = parse_literal(whole.trim(), &hidden)?.target;
        return Ok(Parsed {
            shown: text.to_owned(),
            target,
        });
    }
    parse_literal(text.trim(), context)
}

fn parse_literal(text: &str, context: &Context<'_>) -> Result<Parsed, ValueError> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "notify" if rest.is_empty() => Ok(plain(text, Target::Notify)),
        "notify" => Err(ValueError::new(
            "`notify` has nothing behind it",
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
        _ => Err(unknown(name)),
    }
}

fn plain(shown: &str, target: Target) -> Parsed {
    Parsed {
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
            format!("`{name}:` wants `//`"),
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
        let cause = format!("`{later}` probes are not in this version");
        return ValueError::new(
            cause,
            format!("use `exec:COMMAND` with a client of it, or one of {all}"),
        );
    }
    let cure = match nearest_of(name, known(true)) {
        Some(near) => format!("did you mean `{}`?", form(near)),
        None => format!("begin it with one of {all}"),
    };
    ValueError::new("its scheme is not known", cure)
}

/// A path of the configuration: relative to its folder.
fn path(text: &str, context: &Context<'_>) -> Result<PathBuf, ValueError> {
    let text = text
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(text);
    if text.starts_with("//") {
        return Err(ValueError::new(
            "a path has no host",
            "write the path right behind the colon",
        ));
    }
    let path = context.secrets.fill(text, decode)?;
    if path.is_empty() {
        return Err(ValueError::new(
            "it has no path",
            "write the path right behind the colon",
        ));
    }
    Ok(context.secrets.folder.join(path))
}

fn sqlite(shown: &str, rest: &str, context: &Context<'_>) -> Result<Parsed, ValueError> {
    let (file, query) = split_at_first(rest, '?');
    let mut write = false;
    for (name, value) in parameters(query) {
        write = match (name, value) {
            ("write", "1") => true,
            ("write", "0") => false,
            _ => {
                return Err(ValueError::new(
                    "it has a parameter that is not known",
                    "write `?write=1` or none",
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

fn exec(shown: &str, rest: &str) -> Result<Parsed, ValueError> {
    if has_reference(rest) {
        return Err(ValueError::new(
            "a command line can be read by every user, so it holds no secrets",
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

fn tcp(shown: &str, rest: &str, context: &Context<'_>) -> Result<Parsed, ValueError> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if find_outside(rest, &['/', '?', '#', '@']).is_some() {
        return Err(ValueError::new(
            "`tcp` has a host and a port alone",
            "write `tcp://HOST:PORT`",
        ));
    }
    let (host, port) = host_and_port(rest, &context.secrets)?;
    let port = port.ok_or_else(|| ValueError::new("it has no port", "write `tcp://HOST:PORT`"))?;
    Ok(plain(shown, Target::Connect(Endpoint::Tcp(host, port))))
}

fn http(rest: &str, context: &Context<'_>) -> Result<Parsed, ValueError> {
    let end = find_outside(rest, &['/', '?', '#']).unwrap_or(rest.len());
    let (authority, written_path) = rest.split_at(end);
    let authority = Authority::split(authority);
    check_no_at_sign(written_path)?;
    check_no_literal_password(authority.password.or(authority.user), context)?;
    let (host, port) = host_and_port(authority.host_port, &context.secrets)?;
    let user = authority.decoded(authority.user, &context.secrets)?;
    let password = authority.decoded(authority.password, &context.secrets)?;
    if user
        .as_ref()
        .is_some_and(|user| authority.password.is_some() && user.contains(':'))
    {
        return Err(ValueError::new(
            "a user of HTTP holds no colon",
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
    let who = if authority.userinfo.is_empty() {
        ""
    } else {
        "***@"
    };
    let shown = format!("http://{who}{}{written_path}", authority.host_port);
    let target = Target::Http {
        at,
        host: header,
        path,
        credentials,
    };
    Ok(Parsed { shown, target })
}

/// What goes into the request line: as written, so it may hold nothing that would end it.
fn request_path(text: &str, context: &Context<'_>) -> Result<String, ValueError> {
    if find_outside(text, &['#']).is_some() {
        return Err(ValueError::new(
            "what stands behind `#` is never sent",
            "remove it, or write %23",
        ));
    }
    let path = context.secrets.fill(text, |plain| Ok(plain.to_owned()))?;
    if path.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(ValueError::new(
            "its path holds blanks or other characters HTTP does not send",
            "write them as %20",
        ));
    }
    Ok(if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    })
}

/// A `@` behind the host is most likely in a password with a `/`, which would be taken for a path and shown.
fn check_no_at_sign(rest: &str) -> Result<(), ValueError> {
    match find_outside(rest, &['@']) {
        Some(_) => Err(ValueError::new(
            "a `@` stands behind the host",
            format!("write it as %40; {ESCAPES}"),
        )),
        None => Ok(()),
    }
}

/// On a command line a password may only be named.
fn check_no_literal_password(
    password: Option<&str>,
    context: &Context<'_>,
) -> Result<(), ValueError> {
    if context.from_command_line && !password.is_none_or(only_references) {
        return Err(ValueError::new(
            "it holds a password, and a command line can be read by every user",
            "write `${NAME}` for a variable or `${file:PATH}` for a file in its place",
        ));
    }
    Ok(())
}

/// What stands before and behind the first `at` outside of references.
fn split_at_first(text: &str, at: char) -> (&str, &str) {
    find_outside(text, &[at]).map_or((text, ""), |found| {
        (&text[..found], &text[found + at.len_utf8()..])
    })
}

/// `a=b&c=d`; a reference may stand in a value.
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

/// Used by [`Authority`]; here because it is a matter of syntax alone.
pub(super) fn split_userinfo(authority: &str) -> (Option<&str>, &str) {
    match rfind_outside(authority, '@') {
        Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
        None => (None, authority),
    }
}

#[cfg(test)]
mod tests;
