//! Calls that only some layers may make. (clippy.toml lists the calls that no code may make.)

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of};

/// Calls, the paths below `src` that may contain them, and what other code should do instead.
struct Rule {
    calls: &'static [&'static str],
    allowed: &'static [&'static str],
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        calls: &["Instant::now"],
        // The loop reads the clock. An effect may measure its own duration, but decisions about it belong to `decide`.
        allowed: &["sys/", "act/", "run/"],
        instead: "take the time as an argument, or call sys::clock::sample, which reads all clocks at once",
    },
    Rule {
        calls: &["SystemTime::now"],
        allowed: &["sys/"],
        instead: "stamp with sys::clock::sample, which reads all clocks at once",
    },
    Rule {
        calls: &["thread::sleep"],
        // The tree killer repeats its passes on its own thread, under a deadline.
        allowed: &["sys/", "act/tree/kill.rs"],
        instead: "wait for an event with a deadline",
    },
    Rule {
        calls: &["process::Command", "Command::new"],
        // `install` runs systemctl or launchctl in a terminal, where nothing else reaps.
        allowed: &["cli/exec/", "cli/install/host.rs"],
        instead: "start processes with sys::spawn::spawn",
    },
    Rule {
        calls: &["env::var", "env::var_os", "env::vars", "env::vars_os"],
        // The failpoint of a debug build is not part of any configuration.
        allowed: &["cli/", "config/", "run/", "act/failpoint.rs"],
        instead: "take the value as an argument; the environment is read once, at the start",
    },
    Rule {
        calls: &["env::current_dir", "env::set_current_dir"],
        allowed: &["cli/", "config/"],
        instead: "take an absolute path; cli makes paths absolute",
    },
    Rule {
        calls: &["unsafe", "target_os"],
        allowed: &["sys/"],
        instead: "call a function of sys",
    },
    Rule {
        calls: &["io::stdout", "io::stderr"],
        // Captured output, the log, and the descriptors themselves.
        allowed: &[
            "cli/console.rs",
            "run/stderr_writer.rs",
            "act/output/",
            "act/notify/parent.rs",
            "act/helper/mod.rs",
        ],
        instead: "print with cli::console or log with tracing, which escape text from outside",
    },
    Rule {
        calls: &["write_unescaped"],
        allowed: &["cli/console.rs", "cli/render.rs", "cli/logs.rs"],
        instead: "print a Text, which escapes text from outside",
    },
    Rule {
        calls: &["to_socket_addrs", "lookup_host"],
        allowed: &["act/probe/resolve.rs"],
        instead: "a resolver can hang: use literal addresses, or the helper process",
    },
];

fn findings(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
        let code = source.code();
        for rule in RULES {
            if rule.allowed.iter().any(|place| inside.starts_with(place)) {
                continue;
            }
            for call in rule.calls {
                for offset in places_of(&code, call) {
                    findings.push(format!(
                        "{}:{}: {call} is not allowed here; {}",
                        source.path,
                        line_of(&code, offset),
                        rule.instead
                    ));
                }
            }
        }
    }
    findings
}

#[test]
fn calls_are_only_made_in_their_layers() {
    assert_clean(&findings(&below(&["src"], &[".rs"])));
}

#[test]
fn the_rule_finds_a_forbidden_call_and_names_the_replacement() {
    let bad = Source::example(
        "src/act/x.rs",
        "fn f() {\n    std::thread::sleep(d);\n    unsafe { g() }\n    let t = SystemTime::now();\n    console.write_unescaped(name);\n}",
    );
    let found = findings(&[bad]);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("src/act/x.rs:2:") && line.contains("deadline"))
    );
    let fine = Source::example(
        "src/sys/x.rs",
        "fn f() { unsafe { g() } }\n#[cfg(target_os = \"linux\")]\nfn h() {}",
    );
    assert_clean(&findings(&[fine]));
    let in_a_test = Source::example(
        "src/act/x.rs",
        "#[cfg(test)]\nmod tests { fn f() { std::process::Command::new(\"true\"); } }",
    );
    assert_clean(&findings(&[in_a_test]));
}
