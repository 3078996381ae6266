//! What is known about programs: whether they stay in the foreground with their arguments, run for ever, or end at once.
//!
//! A flag in the table is one of:
//!
//! - `-d`, `--daemon`: the argument itself, or with `=value` where the value is not a no. A short flag also matches in a group
//!   such as `-vd` where that can only excuse a program, never accuse it.
//! - `-d start`: arguments that follow each other; a `*` between them stands for any number of arguments.
//! - `~daemon off`: a text anywhere in the arguments.
//! - `-v*`: a beginning; `*` alone: anything, or nothing.

use super::daemons::{PROGRAMS, Program};
use super::known;
use super::text::base_name;

/// What a command does, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    /// It goes into the background; what keeps it in the foreground.
    Leaves(String),
    /// It has a flag that looks as if it went into the background.
    PerhapsLeaves(String),
    /// It starts something else and returns; what to do instead.
    StartsAnother(&'static str),
    /// It stays and runs until it is stopped.
    Server,
    /// It is kept in the foreground by this flag; without it, it would leave.
    KeptBy(&'static str),
    /// It ends by itself soon.
    EndsAtOnce,
    /// Nothing is known.
    Unknown,
}

/// What the command `words` does; `words[0]` is the program.
pub(super) fn behavior(words: &[String]) -> Behavior {
    let Some(program) = words.first() else {
        return Behavior::Unknown;
    };
    let name = base_name(program).to_lowercase();
    let arguments = &words[1..];
    let mut known = Behavior::Unknown;
    for entry in PROGRAMS.iter().filter(|entry| entry.has_name(&name)) {
        match entry {
            Program::Control { verbs, instead, .. } => {
                if verbs.iter().any(|verb| follows(verb, arguments)) && !is_kept(&name, arguments) {
                    return Behavior::StartsAnother(instead);
                }
            }
            Program::Leaves { unless, .. } => {
                known = match unless.iter().find(|flag| keeps(flag, arguments)) {
                    Some(flag) => Behavior::KeptBy(flag),
                    None => {
                        let advice = unless.first().map(|flag| format!("add {flag}"));
                        return Behavior::Leaves(
                            advice.unwrap_or_else(|| "run it in the foreground".to_owned()),
                        );
                    }
                };
            }
            Program::Stays { unless, .. } => {
                if let Some(flag) = unless.iter().find(|flag| sends_away(flag, arguments)) {
                    return Behavior::Leaves(leave_out(&name, flag));
                }
                known = Behavior::Server;
            }
        }
    }
    if name == "rsync" {
        return rsync(arguments);
    }
    if is_init_script(program, arguments) {
        return Behavior::StartsAnother("run the server itself in the foreground");
    }
    if known != Behavior::Unknown {
        return known;
    }
    if known::ends_at_once(&name, arguments) {
        return Behavior::EndsAtOnce;
    }
    if let Some(flag) = arguments.iter().find(|word| is_suspicious(word)) {
        return Behavior::PerhapsLeaves(flag.clone());
    }
    if known::runs_for_ever(&name, arguments) {
        return Behavior::Server;
    }
    Behavior::Unknown
}

fn leave_out(name: &str, flag: &str) -> String {
    match (name, flag) {
        (name, "--daemon" | "-daemon" | "--bg-daemon" | "-bg-daemon")
            if name.starts_with("emacs") =>
        {
            "use --fg-daemon".to_owned()
        }
        ("gpg-agent", _) => "use --supervised, or let gpg start it on demand".to_owned(),
        _ => format!("leave out {flag}"),
    }
}

/// `rsync --daemon` leaves unless `--no-detach` keeps it; every other rsync ends with its copy.
fn rsync(arguments: &[String]) -> Behavior {
    let has = |flag: &str| arguments.iter().any(|word| word == flag);
    match (has("--daemon"), has("--no-detach")) {
        (true, true) => Behavior::KeptBy("--no-detach"),
        (true, false) => Behavior::Leaves("add --no-detach".to_owned()),
        (false, _) => Behavior::EndsAtOnce,
    }
}

/// Whether the flag sends a program away: the exact argument, with a value that is not a no.
fn sends_away(flag: &str, arguments: &[String]) -> bool {
    if flag.contains([' ', '*', '~']) {
        return follows(flag, arguments) || follows(&flag.replacen(' ', "=", 1), arguments);
    }
    arguments.iter().any(|word| {
        let value = word
            .strip_prefix(flag)
            .and_then(|rest| rest.strip_prefix('='));
        word == flag || value.is_some_and(|value| !is_no(value))
    })
}

/// Whether the flag keeps a program in the foreground. Here a group of short flags counts too.
fn keeps(flag: &str, arguments: &[String]) -> bool {
    let short = flag
        .strip_prefix('-')
        .filter(|letters| letters.len() == 1)
        .and_then(|letters| letters.chars().next());
    let in_group = |word: &String| {
        let group = word.strip_prefix('-').unwrap_or_default();
        let letters = group.len() > 1 && group.len() < 6 && group.chars().all(char::is_alphabetic);
        letters && short.is_some_and(|letter| group.contains(letter))
    };
    follows(flag, arguments) || sends_away(flag, arguments) || arguments.iter().any(in_group)
}

/// Whether the words of `pattern` stand in the arguments.
fn follows(pattern: &str, arguments: &[String]) -> bool {
    if let Some(text) = pattern.strip_prefix('~') {
        return arguments.join(" ").contains(text);
    }
    if pattern == "*" {
        return true;
    }
    let words: Vec<&str> = pattern.split(' ').collect();
    (0..arguments.len()).any(|start| follows_from(&words, &arguments[start..]))
}

fn follows_from(pattern: &[&str], arguments: &[String]) -> bool {
    match (pattern.split_first(), arguments.split_first()) {
        (None, _) => true,
        (Some((&"*", rest)), _) => {
            rest.is_empty()
                || (0..arguments.len()).any(|skipped| follows_from(rest, &arguments[skipped..]))
        }
        (Some(_), None) => false,
        (Some((word, rest)), Some((argument, others))) => {
            let same = match word.strip_suffix('*') {
                Some(beginning) => argument.starts_with(beginning),
                None => argument == word,
            };
            same && follows_from(rest, others)
        }
    }
}

/// Whether an option makes a control command stay: `docker start -a`, `pm2 start --no-daemon`, `open -W`.
fn is_kept(name: &str, arguments: &[String]) -> bool {
    let keeping: &[&str] = match name {
        "open" => &[
            "-W",
            "--wait-apps",
            "-Wa",
            "-WA",
            "-Wn",
            "-gW",
            "-Wg",
            "-nW",
            "-aW",
        ],
        "docker" | "podman" | "nerdctl" => &["-a", "--attach", "-ai", "-ia"],
        "pm2" => &["--no-daemon"],
        "apachectl" | "apache2ctl" => &["-DFOREGROUND", "FOREGROUND", "-X"],
        "ipsec" | "strongswan" => &["--nofork"],
        "solr" => &["-f", "--foreground"],
        "start-stop-daemon" => &["--help"],
        _ => &[],
    };
    arguments
        .iter()
        .any(|word| keeping.contains(&word.as_str()))
}

/// `/etc/init.d/x start` and the like.
fn is_init_script(program: &str, arguments: &[String]) -> bool {
    const FOLDERS: [&str; 4] = [
        "/etc/init.d/",
        "/etc/rc.d/",
        "/usr/local/etc/rc.d/",
        "/Library/StartupItems/",
    ];
    let verb = arguments.last().map(String::as_str);
    FOLDERS.iter().any(|folder| program.starts_with(folder))
        && matches!(verb, Some("start" | "restart"))
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off"].contains(&value.to_lowercase().as_str())
}

/// Whether an option of a program that is not in the table looks as if it sent it into the background.
fn is_suspicious(word: &str) -> bool {
    const FLAGS: [&str; 9] = [
        "--daemon",
        "--daemonize",
        "--daemonise",
        "-daemon",
        "-daemonize",
        "--detach",
        "--detached",
        "-detached",
        "--fork",
    ];
    let (flag, value) = word.split_once('=').unwrap_or((word, "yes"));
    FLAGS.contains(&flag) && !is_no(value)
}

#[cfg(test)]
mod tests {
    use super::{Behavior, behavior};

    fn of(command: &str) -> Behavior {
        let words: Vec<String> = command.split('|').map(str::to_owned).collect();
        behavior(&words)
    }

    #[test]
    fn flags_mean_what_they_mean_for_their_program() {
        for command in [
            "/usr/sbin/nginx",
            "/usr/bin/emacs|--daemon",
            "/usr/bin/emacs|--daemon=x",
            "/usr/sbin/haproxy|-D|-f|/etc/haproxy.cfg",
            "/usr/bin/redis-server|--daemonize|yes",
            "/usr/bin/rsync|--daemon",
            "/usr/bin/memcached|-d",
            "/usr/bin/mongod|--fork",
            "/usr/sbin/dnsmasq|-C|/etc/dnsmasq.conf",
        ] {
            assert!(
                matches!(of(command), Behavior::Leaves(_)),
                "{command}: {:?}",
                of(command)
            );
        }
        for command in [
            "nginx|-g|daemon off;",
            "/usr/sbin/sshd|-D",
            "/usr/bin/deluged|-d|-L|info",
            "/usr/bin/mpdscribble|-D",
            "/usr/bin/twistd|-ny|x.tac",
        ] {
            assert!(
                matches!(of(command), Behavior::KeptBy(_)),
                "{command}: {:?}",
                of(command)
            );
        }
        for command in [
            "/usr/bin/emacs|--fg-daemon",
            "/usr/pgsql/bin/postmaster|-D|/data",
            "/usr/bin/redis-server|--daemonize|no",
            "/usr/bin/dbus-daemon|--nofork",
            "/usr/bin/jupyter|lab",
        ] {
            assert_eq!(of(command), Behavior::Server, "{command}");
        }
        for command in [
            "pg_ctl|start|-D|/data",
            "docker|run|--name|x|-d|redis",
            "brew|services|start|x",
            "/etc/init.d/x|start",
            "screen|-dmS|x|top",
            "tmux|-L|x|new-session|-d",
            "open|-a|Safari",
        ] {
            assert!(
                matches!(of(command), Behavior::StartsAnother(_)),
                "{command}: {:?}",
                of(command)
            );
        }
        for command in [
            "screen|-DmS|x|top",
            "docker|run|--rm|redis",
            "docker|start|-a|x",
            "open|-W|-a|Safari",
        ] {
            assert!(
                !matches!(of(command), Behavior::StartsAnother(_)),
                "{command}"
            );
        }
        assert_eq!(
            of("/opt/x|--daemon"),
            Behavior::PerhapsLeaves("--daemon".into())
        );
        assert_eq!(of("/opt/x|--daemon=false"), Behavior::Unknown);
        assert_eq!(of("/bin/mkdir|x"), Behavior::EndsAtOnce);
    }
}
