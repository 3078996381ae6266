//! Configurations: the exact messages about bad ones, the generated reference, and property tests against panics.

#[path = "support/reference/mod.rs"]
mod reference;

use proptest::prelude::*;
use reference::assert_up_to_date;
use reference::config_file::{self, SAMPLE};
use stayd::config::{self, Finding, ListeningAddresses, Loaded};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The cargo command that updates the expected and generated files.
const UPDATE: &str = "test --test config";

/// The folder of bad configurations and the messages expected for each.
const BAD: &str = "tests/config/bad";

fn env(name: &str) -> Option<String> {
    (name == "PW" || name == "DB_PASSWORD").then(|| "geheim".to_owned())
}

/// Loads `text` from a file in a fresh folder, so that no other file's permissions matter.
fn load(text: &[u8]) -> Result<Loaded, Vec<Finding>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stayd.toml");
    fs::write(&path, text).expect("a file");
    config::load(&path, &env)
}

#[test]
fn bad_configurations_have_exactly_the_expected_messages() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join(BAD);
    let mut checked = 0;
    for entry in fs::read_dir(&bad).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join(path.file_name().expect("a name"));
        fs::write(&copy, fs::read(&path).expect("readable")).expect("copied");
        let findings = config::load(&copy, &env).expect_err("it is bad");
        let place = format!("{}/", folder.path().display());
        let messages: String = findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect();
        let messages = messages.replace(&place, "");
        assert!(
            !messages.contains("geheim"),
            "a secret is shown: {messages}"
        );
        assert!(
            !messages.contains("geh@eim"),
            "a secret is shown: {messages}"
        );
        let expected = path.with_extension("txt");
        let expected = expected.file_name().and_then(|name| name.to_str());
        let expected = format!("{BAD}/{}", expected.expect("UTF-8"));
        assert_up_to_date(&expected, &messages, UPDATE);
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} were found");
}

#[test]
fn the_reference_and_the_manual_page_are_up_to_date() {
    assert_up_to_date("docs/reference/config.md", &config_file::markdown(), UPDATE);
    assert_up_to_date("docs/man/stayd.toml.5", &config_file::man_page(), UPDATE);
    let schema = serde_json::to_string_pretty(&config::schema()).expect("JSON") + "\n";
    assert_up_to_date("docs/reference/stayd.schema.json", &schema, UPDATE);
}

#[test]
fn the_sample_of_the_reference_loads_without_warning_and_displays_no_secret() {
    let loaded = load(SAMPLE.as_bytes()).expect("the sample is good");
    assert_eq!(loaded.warnings, []);
    assert!(!format!("{loaded:?}").contains("geheim"), "{loaded:?}");
    let db = &loaded.config.services[0];
    assert_eq!(
        (db.name.as_str(), loaded.config.name.as_str()),
        ("db", "shop")
    );
    let probe = db.probe.as_ref().expect("a probe");
    assert_eq!(probe.shown, "postgres://app:***@127.0.0.1:5433/shop");
}

#[test]
fn the_schema_contains_every_key_of_the_sample() {
    fn known(schema: &serde_json::Value, table: &toml::Table, path: &str) {
        for (key, value) in table {
            let own = schema.get("properties").and_then(|keys| keys.get(key));
            let named = schema
                .get("patternProperties")
                .and_then(|all| all.as_object()?.values().next());
            let open = schema
                .get("additionalProperties")
                .filter(|rest| rest.is_object());
            let Some(next) = own.or(named).or(open) else {
                panic!("{path}{key} is not in the schema")
            };
            if let toml::Value::Table(table) = value {
                known(next, table, &format!("{path}{key}."));
            }
        }
    }
    let sample: toml::Table = SAMPLE.parse().expect("TOML");
    known(&config::schema(), &sample, "");
}

#[test]
fn included_files_add_services_and_may_contain_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    fs::create_dir(folder.path().join("d")).expect("a folder");
    write(
        "main.toml",
        "include = ['d/*.toml']\n[service.a]\ncommand = ['x']\n",
    );
    write("d/2.toml", "[service.c]\ncommand = ['x']\ncwd = 'sub'\n");
    write("d/1.toml", "[service.b]\ncommand = ['x']\n");
    let main = folder.path().join("main.toml");
    let loaded = config::load(&main, &env).expect("good");
    let names: Vec<_> = loaded
        .config
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(loaded.config.services[2].cwd, folder.path().join("sub"));
    assert_eq!(loaded.config.name, "main");

    write("d/3.toml", "name = 'y'\n[service.a]\ncommand = ['x']\n");
    let messages: Vec<_> = config::load(&main, &env)
        .expect_err("twice")
        .iter()
        .map(ToString::to_string)
        .collect();
    let place = folder.path().display().to_string();
    let messages = messages.join("\n").replace(&place, "");
    assert_eq!(
        messages,
        "/d/3.toml:1:1: cannot use `name` in an included file, which may only contain services; move it to /main.toml\n\
         /d/3.toml:2:10: cannot define the service `a` twice: the first definition is at /main.toml:2:10; rename or remove one",
    );
}

#[test]
fn a_missing_special_binary_or_large_file_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let messages = |path: &Path| config::load(path, &env).expect_err("no file")[0].to_string();
    let missing = folder.path().join("x.toml");
    let place = missing.display();
    assert_eq!(
        messages(&missing),
        format!(
            "{place}: cannot read the configuration: no such file or directory; check the path"
        )
    );
    assert!(
        messages(folder.path()).contains("it is not a regular file"),
        "a folder"
    );
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    assert!(
        messages(&fifo).contains("it is not a regular file"),
        "opening a pipe must not block"
    );
    let wrong = load(b"name = \"\xff\"").expect_err("no UTF-8")[0].to_string();
    assert!(wrong.contains("line 1 is not UTF-8 (byte 9"), "{wrong}");
    let large = load(&vec![b'#'; 2 << 20]).expect_err("too large")[0].to_string();
    assert!(large.contains("larger than 1 MiB"), "{large}");
}

#[test]
#[ignore = "needs root"]
fn root_refuses_a_file_that_other_users_can_write() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stayd.toml");
    let link = folder.path().join("link.toml");
    fs::write(&path, "[service.a]\ncommand = ['x']\n").expect("written");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    config::load(&link, &env).expect("a symlink is fine");

    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode(&path, 0o664);
    let messages = config::load(&link, &env).expect_err("the group can write")[0].to_string();
    assert!(
        messages.ends_with("other users can write the file (mode 664); chmod go-w"),
        "{messages}"
    );
    mode(&path, 0o644);
    mode(folder.path(), 0o777);
    let messages =
        config::load(&path, &env).expect_err("other users can replace it")[0].to_string();
    assert!(
        messages.contains("other users can write its folder (mode 777)"),
        "{messages}"
    );
    mode(folder.path(), 0o1777);
    config::load(&path, &env).expect("only its owner can replace it in a sticky folder");
    mode(folder.path(), 0o755);
    std::os::unix::fs::chown(&path, Some(1234), None).expect("chown");
    let messages = config::load(&path, &env).expect_err("a file of another user")[0].to_string();
    assert!(
        messages.contains("the file belongs to uid 1234"),
        "{messages}"
    );
}

#[test]
fn doubtful_settings_cause_warnings() {
    let warnings = |text: &str| -> String {
        let loaded = load(text.as_bytes()).expect(text);
        loaded
            .warnings
            .iter()
            .map(|warning| format!("{}\n", warning.message))
            .collect()
    };
    let service = "[service.a]\ncommand = ['x']\n";
    for (text, part) in [
        ("", "the configuration has no service"),
        (service, "has no probe: stayd notices when it ends"),
        (
            &format!("{service}ready = {{ probe = 'tcp://127.0.0.1:1' }}"),
            "only a readiness probe",
        ),
        (
            &format!("{service}watchdog = {{ probe = 'sqlite:x.db' }}"),
            "does not test the process that serves the file",
        ),
        (
            &format!("{service}watchdog = {{ probe = 'notify', timeout = '9s' }}"),
            "only every 9s",
        ),
        (
            &format!("{service}watchdog = {{ probe = 'tcp://db:1' }}"),
            "must be resolved",
        ),
        (
            &format!("{service}port = 2\nwatchdog = {{ probe = 'tcp://127.0.0.1:1' }}"),
            "connects to port 1, but",
        ),
        (
            &format!("{service}stop = {{ grace = '5m' }}"),
            "longer than systemd",
        ),
        (
            &format!("{service}[service.b]\ncommand = ['x']\nafter = ['a']"),
            "starts all services at once",
        ),
        (
            &format!("{service}watchdog = {{ probe = 'exec:curl -sf http://h/ || exit 1' }}"),
            "so curl gets `||` as an argument",
        ),
        (
            "[service.a]\ncommand = ['x', '>', 'log']",
            "so x gets `>` as an argument",
        ),
    ] {
        let messages = warnings(text);
        assert!(messages.contains(part), "{part} in {messages}");
    }
    let shell = "exec:sh -c \"curl -sf http://h/ || exit 1\"";
    let text = format!("{service}watchdog = {{ probe = '{shell}' }}");
    assert!(!warnings(&text).contains("argument"), "{}", warnings(&text));
    for nothing in ["", ", interval = '500ms'"] {
        let text = format!("{service}watchdog = {{ probe = 'notify'{nothing} }}");
        assert_eq!(warnings(&text), "", "{text}");
    }
}

#[test]
fn a_service_listens_at_its_sockets_and_where_its_probes_ask_and_unresolved_names_do_not_count() {
    let text = br#"
        [service.s]
        command = ["sleep"]
        port = 80
        sockets = ["/run/s", "[::]:81"]
        [service.s.watchdog]
        probe = "postgres://u@localhost:82/d"
        [service.s.ready]
        probe = "unix:/run/t"
        [service.t]
        command = ["sleep"]
        [service.t.watchdog]
        probe = "http://example.org:83/"
        [service.u]
        command = ["sleep"]
        [service.u.watchdog]
        probe = "postgres:///d?host=/run/pg"
    "#;
    let services = load(text).expect("loaded").config.services;
    let found = ListeningAddresses::of(&services[0]);
    assert_eq!(Vec::from_iter(found.ports.clone()), [80, 81]);
    let shown = |of: &ListeningAddresses| -> Vec<String> {
        of.addresses.iter().map(ToString::to_string).collect()
    };
    let all = ["127.0.0.1:82", "[::1]:82", "/run/s", "/run/t"];
    assert_eq!(shown(&found), all);
    let unresolved = ListeningAddresses::of(&services[1]);
    assert_eq!(unresolved, ListeningAddresses::default());
    let of_folder = ListeningAddresses::of(&services[2]);
    assert_eq!(shown(&of_folder), ["/run/pg/.s.PGSQL.5432"]);
}

#[test]
fn the_proof_key_depends_on_probe_query_and_command_but_not_on_passwords() {
    let key = |probe: &str, query: &str, command: &str| {
        let text = format!(
            "[service.a]\ncommand = {command}\nwatchdog = {{ probe = '{probe}', query = '{query}' }}\n"
        );
        load(text.as_bytes()).expect("good").config.services[0].proof_key()
    };
    let url = "postgres://a:x@127.0.0.1/d";
    let first = key(url, "SELECT 1", "['x', 'y']");
    assert_eq!(
        first,
        key("postgres://a:z@127.0.0.1/d", "SELECT 1", "['x', 'y']"),
        "a password"
    );
    assert_ne!(
        first,
        key("postgres://a:x@127.0.0.1:1/d", "SELECT 1", "['x', 'y']"),
        "a port"
    );
    assert_ne!(first, key(url, "SELECT 2", "['x', 'y']"), "a query");
    assert_ne!(first, key(url, "SELECT 1", "['xy']"), "a command");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = load(&bytes);
    }

    #[test]
    fn changes_to_a_good_file_do_not_panic(
        cuts in proptest::collection::vec((0usize..SAMPLE.len(), 0usize..40, "[\\PC\n\"'\\[\\]{}=.$:/@%?#]{0,6}"), 1..4)
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (start, length, put) in cuts {
            let start = start.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        for finding in load(text.as_bytes()).err().into_iter().flatten() {
            prop_assert!(!finding.message.contains('\n'), "{finding}");
            prop_assert!(!finding.to_string().contains("geheim"), "{finding}");
        }
    }

    #[test]
    fn a_probe_url_is_never_quoted_and_does_not_panic(
        scheme in "(postgres|http|tcp|unix|sqlite|exec|notify|file|x)?(:|://)?",
        rest in "[a-z0-9:/?#@%$\\{\\}\\[\\].&= '\"\\\\]{0,30}",
    ) {
        let secret = "QqQ";
        let url = format!("{scheme}u:{secret}{rest}");
        let here = Path::new("/nowhere");
        let result = config::probe_from_command_line(&url, None, "1s", here, &|_| None);
        for finding in result.err().into_iter().flatten() {
            prop_assert!(!finding.to_string().contains(secret) || scheme.starts_with("file"), "{url}: {finding}");
        }
    }
}
