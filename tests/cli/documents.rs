//! The documents match the program: sample configurations, command lines, JSON members and values.

use crate::daemon::{Daemon, output_of, stayd};
use crate::wait::TempDir;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// README and every Markdown file below docs: (path, text).
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join("README.md"), root().join("docs")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).expect("readable");
            found.push((path.display().to_string(), text));
        }
    }
    assert!(found.len() > 20, "only {} documents", found.len());
    found
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("readable")
}

/// The fenced blocks of a document: (language, text).
fn fenced(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).collect()
}

#[test]
fn config_check_accepts_every_sample_configuration() {
    let folder = TempDir::new();
    let file = folder.join("stayd.toml");
    let mut checked = 0;
    for (path, text) in documents() {
        for (_, sample) in fenced(&text).iter().filter(|(kind, _)| *kind == "toml") {
            fs::write(&file, sample).expect("written");
            let mut check = stayd(&["config", "check", "-c"]);
            check.arg(&file).env("DB_PASSWORD", "geheim");
            let (status, out, err) = output_of(check.output().expect("stayd starts"));
            assert_eq!((status, err.as_str()), (0, ""), "{path}:\n{sample}\n{out}");
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} samples were found");
}

/// The arguments of a shell command, without redirections and pipes.
fn arguments_of(line: &str) -> Vec<String> {
    let line = line.split(" >").next().unwrap_or(line);
    let line = line.split(" | ").next().unwrap_or(line);
    stayd::config::split_words(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_program_accepts_every_command_line_in_the_documents() {
    let mut checked = 0;
    for (path, text) in documents() {
        for (_, block) in fenced(&text) {
            let block = block.replace("\\\n", " ");
            for line in block.lines().filter(|line| line.starts_with("stayd ")) {
                // A synopsis is not a command line.
                if line.contains('[') || line.contains('<') || line.contains(" VERB") {
                    continue;
                }
                let parsed = stayd::cli::args::parse(arguments_of(line));
                assert!(parsed.is_ok(), "{path}: {line}\n{}", parsed.unwrap_err());
                checked += 1;
            }
        }
    }
    assert!(checked >= 40, "only {checked} command lines were found");
}

/// The text of every Rust file below `folder`.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).expect("readable"));
        }
    }
    found
}

/// The strings that a function returns for the variants of an enum (`Self::Dead => "dead"`). `one` is one of them, which no
/// other enum has.
fn values_beside(sources: &[String], one: &str) -> Vec<String> {
    let functions = sources
        .iter()
        .flat_map(|source| source.split("match self {"));
    let bodies = functions.filter_map(|rest| rest.split("\n    }\n").next());
    let mut matching = bodies.filter(|body| body.contains(&format!("=> \"{one}\"")));
    let body = matching
        .next()
        .unwrap_or_else(|| panic!("no enum has {one}"));
    assert_eq!(matching.next(), None, "several enums have {one}");
    let values = body.split("=> \"").skip(1);
    let values = values.filter_map(|rest| rest.split('"').next());
    values.map(str::to_owned).collect()
}

#[test]
fn the_json_reference_lists_every_enumerated_value() {
    let page = document("docs/reference/json.md");
    let sources = sources("src");
    for one in [
        "rolled-back",   // kinds of events
        "materializing", // states of a service
        "no-verdict",    // classes of a probe attempt
        "systemd",       // supervisors
        "no-route",      // errors of the API
    ] {
        for value in values_beside(&sources, one) {
            assert!(page.contains(&format!("`{value}`")), "`{value}`");
        }
    }
}

/// Collects the paths of the members of a JSON value. The members of `facts` differ from decision to decision, so they are
/// not collected.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{path}.{key}");
                if key != "facts" && key != "last_exit" {
                    keys(value, &path, found);
                }
                found.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    keys(&value, "", &mut found);
    found
}

#[test]
fn the_json_samples_have_the_members_of_real_answers() {
    let page = document("docs/reference/json.md");
    let samples: Vec<_> = fenced(&page)
        .into_iter()
        .filter(|(kind, _)| *kind == "json")
        .map(|(_, sample)| keys_of(sample))
        .collect();
    let daemon = Daemon::start_with(
        "[service.web]\ncommand = [\"sleep\", \"1000\"]\n[service.web.watchdog]\nprobe = \"exec:true\"\ninterval = \"100ms\"\n",
    );
    let unit = daemon.folder.join("web.service");
    fs::write(&unit, "[Service]\nType=Simple\n").expect("written");
    let unit = unit.to_str().expect("UTF-8");
    let config = daemon.folder.join("test.toml");
    let config = config.to_str().expect("UTF-8");
    let answers = [
        daemon.ask(&["status", "--json"]),
        daemon.ask(&["events", "--json"]),
        daemon.ask(&["probe", "exec:true", "--json"]),
        daemon.ask(&["verify", unit, "--json"]),
        daemon.ask(&["install", "--user", "--dry-run", "--json", "-c", config]),
    ];
    let real: Vec<_> = answers.iter().map(|(_, out, _)| keys_of(out)).collect();
    assert_eq!(samples, real);
}

/// Every variable that a service gets, and every file of the state folder.
#[test]
fn the_reference_names_every_variable_and_state_file() {
    let page = document("docs/reference/environment.md");
    let act = sources("src/act").concat();
    let names = act
        .split("insert(")
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    let is_variable = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut variables: BTreeSet<_> = names.filter(is_variable).collect();
    assert!(
        variables.contains("STAYD_LIFE"),
        "the source was not parsed: {variables:?}"
    );
    // These are not inserted as literals.
    variables.extend([
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
        "STAYD_PID",
        "STAYD_TOKEN",
    ]);
    for name in variables {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    let daemon = Daemon::start(&["sleep", "1000"]);
    let files = document("docs/reference/files.md");
    for entry in fs::read_dir(daemon.state()).expect("the state folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("UTF-8");
        let stem = name.strip_suffix("-wal").unwrap_or(name);
        let stem = Path::new(stem.strip_suffix("-shm").unwrap_or(stem));
        assert!(
            files.contains(&format!("STATE/{}", stem.display())),
            "{name}"
        );
    }
}
