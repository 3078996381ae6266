//! Calls that only some rooms may make. (What nobody may call is in clippy.toml.)

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of};

/// A call, the places below `src` where it may stand, and what to do elsewhere.
struct Rule {
    calls: &'static [&'static str],
    allowed: &'static [&'static str],
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        calls: &["Instant::now"],
        // the loop reads the clock, and an effect may measure how long it takes itself; judging that is for others
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
        // the kill runs on a thread of its own, in rounds, under a deadline
        allowed: &["sys/", "act/tree/kill.rs"],
        instead: "wait for a fact with a deadline",
    },
    Rule {
        calls: &["process::Command", "Command::new"],
        allowed: &["cli/exec.rs"],
        instead: "there is one spawn: sys::spawn::spawn",
    },
    Rule {
        calls: &["env::var", "env::var_os", "env::vars", "env::vars_os"],
        // where a debug build is to die is no matter of any edge
        allowed: &["cli/", "config/", "run/", "act/failpoint.rs"],
        instead: "take the value as an argument; the environment is read once, at the edge",
    },
    Rule {
        calls: &["env::current_dir", "env::set_current_dir"],
        allowed: &["cli/", "config/"],
        instead: "paths are absolute inside; cli makes them so",
    },
    Rule {
        calls: &["unsafe", "target_os"],
        allowed: &["sys/"],
        instead: "ask the operating system through a function of sys",
    },
    Rule {
        calls: &["to_socket_addrs", "lookup_host"],
        allowed: &["act/probe/resolve.rs"],
        instead: "a resolver can hang: literal addresses, or the helper",
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
                        "{}:{}: {call} has no place here; {}",
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
fn calls_stay_in_their_rooms() {
    assert_clean(&findings(&below(&["src"], &[".rs"])));
}

#[test]
fn the_rule_sees_a_call_out_of_place_and_names_the_replacement() {
    let bad = Source::made_up(
        "src/act/x.rs",
        "fn f() {\n    std::thread::sleep(d);\n    unsafe { g() }\n    let t = SystemTime::now();\n}",
    );
    let found = findings(&[bad]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("src/act/x.rs:2:") && line.contains("deadline"))
    );
    let fine = Source::made_up(
        "src/sys/x.rs",
        "fn f() { unsafe { g() } }\n#[cfg(target_os = \"linux\")]\nfn h() {}",
    );
    assert_clean(&findings(&[fine]));
    let in_a_test = Source::made_up(
        "src/act/x.rs",
        "#[cfg(test)]\nmod tests { fn f() { std::process::Command::new(\"true\"); } }",
    );
    assert_clean(&findings(&[in_a_test]));
}
