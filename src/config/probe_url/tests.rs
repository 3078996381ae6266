//! Tests of the probe URL parser with URLs as users write them.

use super::*;
use std::path::Path;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "PW" => "p@/?#%41:w",
        "URL" => "postgres://app:geheim@db:1/shop",
        "PORT" => "8080",
        "EVIL" => "x HTTP/1.1\r\nX: y",
        _ => return None,
    };
    Some(value.into())
}

fn read(url: &str) -> Result<ParsedUrl, String> {
    let secrets = Secrets {
        env: &env,
        folder: Path::new("/etc/shop"),
    };
    let context = UrlContext {
        secrets,
        from_command_line: false,
        default_user: "ann".into(),
    };
    parse(url, &context).map_err(|error| error.to_string())
}

fn postgres(url: &str) -> (String, String, Option<String>, String) {
    match read(url).map(|parsed| parsed.target) {
        Ok(Target::Postgres {
            at,
            user,
            password,
            database,
        }) => (at.to_string(), user, password, database),
        _ => panic!("{url}"),
    }
}

#[test]
fn postgres_urls_are_parsed_as_libpq_parses_them() {
    let part = |at: &str, user: &str, password: Option<&str>, database: &str| {
        (
            at.to_owned(),
            user.to_owned(),
            password.map(ToOwned::to_owned),
            database.to_owned(),
        )
    };
    for (url, expected) in [
        (
            "postgres://127.0.0.1",
            part("127.0.0.1:5432", "ann", None, "ann"),
        ),
        (
            "postgresql://app@[::1]:1/d%20b",
            part("[::1]:1", "app", None, "d b"),
        ),
        (
            "postgres://a:b%40c@h/d",
            part("h:5432", "a", Some("b@c"), "d"),
        ),
        (
            "postgres://a:${PW}@h/d",
            part("h:5432", "a", Some("p@/?#%41:w"), "d"),
        ),
        (
            "postgres:///d?host=/run/pg&user=u",
            part("unix:/run/pg/.s.PGSQL.5432", "u", None, "d"),
        ),
        (
            "postgres://%2Frun%2Fpg:7/d",
            part("unix:/run/pg/.s.PGSQL.7", "ann", None, "d"),
        ),
        (
            "postgres://h/?dbname=d&port=9&sslmode=prefer",
            part("h:9", "ann", None, "d"),
        ),
        ("${URL}", part("db:1", "app", Some("geheim"), "shop")),
    ] {
        assert_eq!(postgres(url), expected, "{url}");
    }
}

#[test]
fn the_displayed_url_contains_no_password() {
    for (url, shown) in [
        (
            "postgres://a:a@h:1/a?password=a&user=a",
            "postgres://a:***@h:1/a?password=***&user=a",
        ),
        ("http://token@h/x?y=1", "http://***@h/x?y=1"),
        ("http://u:p@h", "http://***@h"),
        ("${URL}", "${URL}"),
        ("tcp://127.0.0.1:${PORT}", "tcp://127.0.0.1:${PORT}"),
    ] {
        assert_eq!(read(url).map(|parsed| parsed.shown).as_deref(), Ok(shown));
    }
}

#[test]
fn an_http_url_is_split_into_the_parts_of_the_request() {
    let http = |url: &str| match read(url).map(|parsed| parsed.target) {
        Ok(Target::Http {
            at,
            host,
            path,
            credentials,
        }) => (at.to_string(), host, path, credentials),
        _ => panic!("{url}"),
    };
    let (at, host, path, credentials) = http("http://u:p%3A@[::1]:8080?a=b");
    assert_eq!(
        (at.as_str(), host.as_str(), path.as_str()),
        ("[::1]:8080", "[::1]:8080", "/?a=b")
    );
    assert_eq!(credentials.as_deref(), Some("u:p:"));
    let (at, host, path, credentials) = http("http://localhost");
    assert_eq!(
        (at.as_str(), host.as_str(), path.as_str()),
        ("localhost:80", "localhost", "/")
    );
    assert_eq!(credentials, None);
    let error = read("http://h/${EVIL}")
        .err()
        .expect("it would end the request line");
    assert!(error.contains("its path contains blanks"), "{error}");
}

#[test]
fn relative_paths_start_at_the_folder_of_the_configuration() {
    for (url, place) in [
        ("sqlite:a.db?write=1", "/etc/shop/a.db"),
        ("sqlite:///var/a.db", "/var/a.db"),
        ("unix:run/x%20y", "unix:/etc/shop/run/x y"),
        ("exec:check 'a b'", "check a b"),
        ("notify", "notify"),
    ] {
        assert_eq!(
            read(url).map(|parsed| parsed.target.address()).as_deref(),
            Ok(place)
        );
    }
    for url in [
        "sqlite://a.db",
        "sqlite:",
        "unix:",
        "exec:",
        "exec:''",
        "notify:x",
        "tcp:h:1",
        "mysql://h",
    ] {
        assert!(read(url).is_err(), "{url}");
    }
}
