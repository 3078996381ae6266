//! Finds out what a command line really runs: behind env, sudo and the like, an interpreter, or the script of `sh -c`.

use super::known::is_shell;
use super::programs::{Behavior, behavior};
use super::script::{self, Script};
use super::text::base_name;

/// A command line, seen through.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// The words of the program that runs in the end; empty if that is unknown.
    pub(super) words: Vec<String>,
    /// The script, if a shell gets one with `-c`.
    pub(super) script: Option<Script>,
    /// What it does.
    pub(super) behavior: Behavior,
}

impl Command {
    /// The name of the program that runs in the end.
    pub(super) fn name(&self) -> &str {
        self.words
            .first()
            .map_or("it", |program| base_name(program))
    }
}

/// Programs that run the rest of their arguments, with their options that take a value.
const WRAPPERS: [(&str, &[&str]); 22] = [
    ("env", &["-u", "-C", "-S", "-P"]),
    ("exec", &["-a"]),
    ("nohup", &[]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n", "-p"]),
    ("chrt", &["-p"]),
    ("taskset", &["-c"]),
    ("sudo", &["-u", "-g", "-h", "-p", "-C"]),
    ("doas", &["-u"]),
    ("runuser", &["-u", "-g"]),
    ("setpriv", &[]),
    ("chpst", &["-u", "-n", "-e", "-o", "-m"]),
    ("setuidgid", &[]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("caffeinate", &["-t", "-w"]),
    ("arch", &[]),
    ("time", &[]),
    ("tini", &[]),
    ("dumb-init", &[]),
    ("dbus-run-session", &[]),
    ("systemd-cat", &["-t", "-p"]),
    ("unbuffer", &[]),
];

/// How often one wrapper may contain another.
const DEPTH_MAX: usize = 8;

/// Sees through a command line.
pub(super) fn analyze(words: &[String]) -> Command {
    let mut words = words.to_vec();
    let mut outer_script = None;
    for _ in 0..DEPTH_MAX {
        let Some(program) = words.first() else {
            break;
        };
        let name = base_name(program).to_lowercase();
        if is_shell(&name)
            && let Some(text) = shell_script(&words)
        {
            let script = script::parse(text);
            let inner = last_command(&script);
            if is_endless(text) {
                return Command {
                    words,
                    script: Some(script),
                    behavior: Behavior::Server,
                };
            }
            let ends = script.ends_in_background && !waits(&script);
            outer_script.get_or_insert(script);
            if ends {
                let advice = "leave out the last `&` and begin the command with `exec`";
                return Command {
                    words,
                    script: outer_script,
                    behavior: Behavior::Leaves(advice.to_owned()),
                };
            }
            let Some(inner) = inner else {
                words.clear();
                break;
            };
            words = inner;
        } else if let Some(inner) = unwrapped(&name, &words) {
            words = inner;
        } else {
            break;
        }
    }
    // What a variable or a template stands for is unknown, but its arguments are known.
    let behavior = behavior(&words);
    Command {
        words,
        script: outer_script,
        behavior,
    }
}

/// The script that a shell gets with `-c`, also in a group of options such as `-lc`.
pub(super) fn shell_script(words: &[String]) -> Option<&str> {
    let mut rest = words.iter().skip(1);
    while let Some(option) = rest.next() {
        if !option.starts_with(['-', '+']) {
            return None;
        }
        if !option.starts_with("--") && option.contains('c') {
            return rest.find(|word| !word.starts_with('-')).map(String::as_str);
        }
    }
    None
}

/// The command that the shell is busy with for the longest time: the one that `exec` names, else the last one.
fn last_command(script: &Script) -> Option<Vec<String>> {
    let exec = script
        .commands
        .iter()
        .find(|words| words.first().is_some_and(|word| word == "exec"));
    if script.is_compound || script.has_pipe {
        return exec.cloned();
    }
    exec.or_else(|| script.commands.last()).cloned()
}

/// Whether the script is a loop without an end.
fn is_endless(text: &str) -> bool {
    [
        "while true",
        "while :",
        "while [ 1 ]",
        "while [ true ]",
        "until false",
        "sleep infinity",
    ]
    .iter()
    .any(|beginning| text.contains(beginning))
}

/// Whether the script waits for what it has started.
fn waits(script: &Script) -> bool {
    let is_wait = |words: &Vec<String>| words.first().is_some_and(|word| word == "wait");
    script.commands.iter().any(is_wait)
}

/// The command inside a wrapper or an interpreter; none if `words` is the program itself.
fn unwrapped(name: &str, words: &[String]) -> Option<Vec<String>> {
    let rest = &words[1..];
    if is_assignment(&words[0]) {
        return Some(rest.to_vec());
    }
    if let Some((_, with_value)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name) {
        let start = first_argument(rest, with_value)?;
        let start = match name {
            "taskset" | "chrt" | "setuidgid" => start + 1,
            _ => start,
        };
        return rest
            .get(start..)
            .filter(|inner| !inner.is_empty())
            .map(<[_]>::to_vec);
    }
    let runs_another = ["bundle", "pipenv", "poetry", "pdm"].contains(&name);
    if runs_another && matches!(rest.first().map(String::as_str), Some("exec" | "run")) {
        return Some(rest[1..].to_vec());
    }
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let interprets = ["python", "ruby", "perl", "php", "node", "pypy"].contains(&stem);
    if !interprets && !is_shell(name) {
        return None;
    }
    if stem == "python"
        && let Some(at) = rest.iter().position(|word| word == "-m")
    {
        return rest
            .get(at + 1..)
            .filter(|inner| !inner.is_empty())
            .map(<[_]>::to_vec);
    }
    let start = rest.iter().position(|word| !word.starts_with('-'))?;
    let skipped = &rest[..start];
    let takes_code = skipped
        .iter()
        .any(|word| ["-c", "-e", "-r", "-p"].contains(&word.as_str()));
    (!takes_code).then(|| rest[start..].to_vec())
}

fn first_argument(rest: &[String], with_value: &[&str]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = rest.get(at) {
        if word == "--" {
            return Some(at + 1);
        }
        if with_value.contains(&word.as_str()) {
            at += 2;
        } else if word.starts_with('-') || is_assignment(word) {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

/// Whether the word is `NAME=value`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The operator of a shell among the arguments of a program that is no shell, if there is one.
pub(super) fn shell_operator(words: &[String]) -> Option<&str> {
    const OPERATORS: [&str; 12] = [
        "|", "||", "&", "&&", ">", ">>", "<", "<<", "|&", "&>", "2>", "2>>",
    ];
    let is_redirection = |word: &str| {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
        let target = rest.trim_start_matches('>');
        target.len() < rest.len() && target.starts_with(['/', '&']) && word.len() - rest.len() < 2
    };
    let found = words
        .iter()
        .skip(1)
        .find(|word| OPERATORS.contains(&word.as_str()) || is_redirection(word));
    let is_own = takes_operators(words);
    let substitution = || {
        words
            .iter()
            .skip(1)
            .find(|word| word.starts_with("$(") || word.starts_with('`') && word.len() > 1)
    };
    if is_own {
        return None;
    }
    found.or_else(substitution).map(String::as_str)
}

/// Whether `|`, `<` and `>` are ordinary arguments here: expressions, patterns, and commands for a shell.
fn takes_operators(words: &[String]) -> bool {
    const PROGRAMS: [&str; 12] = [
        "awk", "expr", "test", "[", "find", "grep", "sed", "jq", "ssh", "autossh", "su", "log",
    ];
    let has_script = |at: usize| is_shell(&words[at]) && shell_script(&words[at..]).is_some();
    (0..words.len()).any(has_script)
        || words
            .iter()
            .take(2)
            .any(|word| PROGRAMS.contains(&base_name(word)))
}

/// The argument that is a pattern for files, if there is one: an absolute path with `*`.
pub(super) fn pattern(words: &[String]) -> Option<&str> {
    let takes_patterns = takes_operators(words)
        || words.first().is_some_and(|program| {
            [
                "rsync",
                "logrotate",
                "inotifywait",
                "fswatch",
                "tar",
                "restic",
                "borg",
            ]
            .contains(&base_name(program))
        });
    let takes_files = words.first().is_some_and(|program| {
        [
            "rm", "cp", "mv", "ls", "cat", "chmod", "chown", "ln", "touch", "gzip", "scp",
        ]
        .contains(&base_name(program))
    });
    let is_pattern = |word: &&String| {
        word.contains('*') && (word.starts_with('/') || takes_files && !word.starts_with('-'))
    };
    let found = words.iter().skip(1).find(is_pattern);
    found.filter(|_| !takes_patterns).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::{analyze, pattern, shell_operator};
    use crate::lint::programs::Behavior;

    fn words(line: &str) -> Vec<String> {
        line.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn the_program_is_found_behind_wrappers_interpreters_and_shells() {
        for (line, program) in [
            ("/usr/bin/env|-i|A=b|/bin/x|y", "/bin/x"),
            ("sudo|-u|ada|nice|-n|5|/bin/x", "/bin/x"),
            (
                "/usr/bin/python3|-u|/x/Tautulli.py|--daemon",
                "/x/Tautulli.py",
            ),
            ("python|-m|jupyter|lab", "jupyter"),
            ("bash|start.sh", "start.sh"),
            ("/bin/zsh|-lc|exec roborev daemon run", "roborev"),
            ("sh|-c|cd /x; A=b ./run --y", "./run"),
            ("bundle|exec|jekyll|server", "jekyll"),
        ] {
            assert_eq!(analyze(&words(line)).words[0], program, "{line}");
        }
        assert!(
            analyze(&words("sh|-c|for x in y; do x; done"))
                .words
                .is_empty()
        );
        assert_eq!(
            analyze(&words("sh|-c|while true; do x; done")).behavior,
            Behavior::Server
        );
        assert!(matches!(
            analyze(&words("sh|-c|/opt/x &")).behavior,
            Behavior::Leaves(_)
        ));
        assert!(!matches!(
            analyze(&words("sh|-c|/opt/x & wait")).behavior,
            Behavior::Leaves(_)
        ));
        assert!(matches!(
            analyze(&words("/bin/zsh|-lc|\"$HOME/E/Emacs\" --daemon --x")).behavior,
            Behavior::Leaves(_)
        ));
        let many: Vec<String> = std::iter::repeat_n("env".to_owned(), 50).collect();
        assert!(!analyze(&many).words.is_empty());
    }

    #[test]
    fn operators_are_found_except_where_the_program_takes_them() {
        for line in [
            "/bin/x|>>|/y",
            "/bin/x|&&|y",
            "/bin/x|2>&1",
            "/bin/x|>/dev/null",
            "/bin/x|$(date)",
            "kill|`cat|/run/x`",
            "bash|x.sh|&",
        ] {
            assert!(shell_operator(&words(line)).is_some(), "{line}");
        }
        // The separator is the operator here.
        let piped: Vec<String> = ["/bin/x", "|", "y"].map(String::from).into();
        assert!(shell_operator(&piped).is_some());
        for line in [
            "sh|-c|x > y",
            "/bin/x|a>b|->",
            "awk|$1 > 2",
            "/usr/bin/env|bash|-c|a && b|&&",
            "/bin/x|;",
        ] {
            assert_eq!(shell_operator(&words(line)), None, "{line}");
        }
        assert!(pattern(&words("rm|/tmp/*.log")).is_some());
        assert!(pattern(&words("rm|-f|*.log")).is_some());
        assert_eq!(pattern(&words("find|/tmp/*")), None);
    }
}
