//! Parses the command line: clap's rules, and the rules that clap cannot express.

use super::{Arguments, ServiceOptions, Verb};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command as ClapCommand, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// Verbs that this version does not have yet, each with an alternative. They are known so that they do not get the error for
/// a misspelled verb.
const PLANNED: [(&str, &str); 9] = [
    (
        "replay",
        "`stayd why SERVICE` shows the facts of each decision",
    ),
    (
        "apply",
        "write the service into stayd.toml and restart stayd",
    ),
    (
        "destroy",
        "`stayd stop SERVICE`, and remove it from stayd.toml",
    ),
    ("reconcile", "`stayd stop` the services that should go"),
    (
        "init",
        "stayd.toml(5) has a sample; `stayd config check` reports what is wrong with yours",
    ),
    (
        "doctor",
        "`stayd config check` and `stayd status` show most of it",
    ),
    ("run", "use a systemd timer or a launchd job"),
    ("completions", "`stayd --help` lists the verbs"),
    ("man", "the pages are in docs/man"),
];

/// Parses the command line. `words` begins with the name of the program.
///
/// # Errors
/// clap's help or version text (exit status 0) or a usage error (2). The caller prints it and exits with its status.
pub fn parse<T>(words: impl IntoIterator<Item = T>) -> Result<Arguments, clap::Error>
where
    T: Into<OsString> + Clone,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut command = command();
    let matches = match command.try_get_matches_from_mut(&words) {
        Ok(matches) => matches,
        Err(mut error) => {
            // clap advises to put an unknown option after `--`. No verb has an argument that begins with `-`.
            error.remove(ContextKind::Suggested);
            return Err(no_such_verb(&mut command, &words, &error).unwrap_or(error));
        }
    };
    let given = matches.subcommand_name();
    if let Some((verb, alternative)) = PLANNED.iter().find(|(verb, _)| given == Some(verb)) {
        let message = format!("`stayd {verb}` is not in this version; {alternative}");
        return Err(command.error(ErrorKind::InvalidSubcommand, message));
    }
    let arguments = Arguments::from_arg_matches(&matches)?;
    check(&arguments).map_err(|message| command.error(ErrorKind::ArgumentConflict, message))?;
    if arguments.is_empty() {
        let help = self::command().arg_required_else_help(true);
        return help
            .try_get_matches_from(["stayd"])
            .map_or_else(Err, |_| Ok(arguments));
    }
    Ok(arguments)
}

/// A number of lines.
pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "write a whole number, such as 20".to_owned())
}

/// The number of an incident.
pub(super) fn incident(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write the number of an incident; `stayd incidents` lists them".to_owned())
}

/// The definition of the whole command line, for parsing, help and the generated reference.
#[must_use]
pub fn command() -> ClapCommand {
    let rest = clap::Arg::new("rest")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    PLANNED
        .iter()
        .fold(Arguments::command(), |command, (verb, _)| {
            command.subcommand(
                ClapCommand::new(verb)
                    .hide(true)
                    .disable_help_flag(true)
                    .arg(rest.clone()),
            )
        })
}

/// The error for a word in the place of a verb. clap's own errors are "unexpected argument" and a list of similar words.
fn no_such_verb(
    command: &mut ClapCommand,
    words: &[OsString],
    error: &clap::Error,
) -> Option<clap::Error> {
    let (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) = error.kind() else {
        return None;
    };
    let wrong = error
        .get(ContextKind::InvalidArg)
        .or_else(|| error.get(ContextKind::InvalidSubcommand));
    let Some(ContextValue::String(wrong)) = wrong else {
        return None;
    };
    if wrong.starts_with('-') {
        return None;
    }
    let before = words.iter().skip(1).filter_map(|word| word.to_str());
    let before = before.take_while(|word| word != wrong);
    let parent = before.fold(None, |parent, word| {
        let within: &ClapCommand = parent.unwrap_or(command);
        within.find_subcommand(word).or(parent)
    });
    let message = match parent {
        None => not_a_verb(command, wrong, &command_line_from(words, wrong)),
        Some(parent) if parent.has_subcommands() => not_a_verb_of(parent, wrong),
        Some(parent) if parent.get_name() == "exec" => {
            let rest = command_line_from(words, wrong);
            format!("the command comes after `--`: stayd exec [OPTIONS] -- {rest}")
        }
        Some(_other) => return None,
    };
    Some(command.error(ErrorKind::InvalidSubcommand, message))
}

fn not_a_verb(command: &ClapCommand, wrong: &str, rest: &str) -> String {
    match nearest(command, wrong) {
        Some(verb) => format!("'{wrong}' is not a verb; did you mean `{verb}`?"),
        None => format!(
            "'{wrong}' is not a verb; `stayd --help` lists them. To run it as a service: stayd --foreground -- {rest}"
        ),
    }
}

fn not_a_verb_of(parent: &ClapCommand, wrong: &str) -> String {
    let name = parent.get_name();
    let advice = nearest(parent, wrong).map_or_else(
        || {
            let verbs = parent.get_subcommands().map(ClapCommand::get_name);
            format!("its verbs are {}", verbs.collect::<Vec<_>>().join(", "))
        },
        |verb| format!("did you mean `{verb}`?"),
    );
    format!("'{wrong}' is not a verb of `stayd {name}`; {advice}")
}

/// The verb that is spelled most similarly, if at most a third of the letters differ.
fn nearest<'a>(command: &'a ClapCommand, wrong: &str) -> Option<&'a str> {
    let allowed = (wrong.chars().count() / 3).max(1);
    let verbs = command.get_subcommands().map(ClapCommand::get_name);
    let verbs = verbs.filter(|verb| !verb.starts_with('_'));
    verbs
        .map(|verb| (strsim::damerau_levenshtein(verb, wrong), verb))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, verb)| verb)
}

/// The words from `wrong` on, as a user would type them.
fn command_line_from(words: &[OsString], wrong: &str) -> String {
    let words = words.iter().map(|word| word.to_string_lossy());
    let rest: Vec<_> = words.skip_while(|word| word != wrong).collect();
    let is_plain = |word: &str| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c))
    };
    if rest.iter().all(|word| is_plain(word)) {
        rest.join(" ")
    } else {
        format!("{wrong} ...")
    }
}

/// The rules that clap cannot express.
fn check(arguments: &Arguments) -> Result<(), String> {
    check_services(arguments.verb.as_ref())?;
    let runs_daemon = arguments.verb.is_none();
    let describes = arguments.service != ServiceOptions::default()
        || runs_daemon && arguments.common.name.is_some();
    let runs = arguments.foreground || arguments.follow;
    if arguments.verb.is_some() && (describes || runs) {
        return Err("cannot use --foreground, --follow or the options of a service with a verb; only `exec` and `install` take them, after the verb".into());
    }
    if arguments.common.json && has_no_json(arguments.verb.as_ref()) {
        return Err("cannot use --json with this verb: it prints no table, list or answer".into());
    }
    if arguments.common.json && matches!(arguments.verb, Some(Verb::Logs { raw: true, .. })) {
        return Err("cannot use --raw with --json: JSON holds text, and is exact already".into());
    }
    let command = match &arguments.verb {
        Some(Verb::Exec(options)) => &options.launch.command,
        Some(Verb::Install { service, .. }) if **service != ServiceOptions::default() => {
            &service.launch.command
        }
        None if describes => &arguments.service.launch.command,
        Some(_) | None => return Ok(()),
    };
    if command.is_empty() {
        return Err("the options of a service need a command; write it after `--`".into());
    }
    if arguments.common.config.is_some() {
        return Err(
            "cannot use both --config FILE and COMMAND: each says what to run; give one of them"
                .into(),
        );
    }
    Ok(())
}

/// The verbs about services need one, or `--all`.
fn check_services(verb: Option<&Verb>) -> Result<(), String> {
    let (word, services) = match verb {
        Some(Verb::Start(services)) => ("start", services),
        Some(Verb::Stop(services)) => ("stop", services),
        Some(Verb::Restart(services)) => ("restart", services),
        _other => return Ok(()),
    };
    if services.all || !services.services.is_empty() {
        return Ok(());
    }
    let name_them = format!("name each SERVICE to {word}, or give --all for all of them");
    if word != "stop" {
        return Err(name_them);
    }
    Err(format!(
        "{name_them}. To end stayd itself and its services, end it where it was started: `systemctl stop UNIT`, \
         `launchctl bootout`, Ctrl-C in its terminal; or send SIGTERM to its pid, which `stayd status` shows"
    ))
}

/// Whether this verb has no JSON output: `exec` and `demo` return no result, `render` prints a file.
const fn has_no_json(verb: Option<&Verb>) -> bool {
    matches!(verb, Some(Verb::Exec(_) | Verb::Demo | Verb::Render { .. }))
}

impl Arguments {
    /// Whether the command line asks for nothing.
    fn is_empty(&self) -> bool {
        !self.foreground
            && !self.follow
            && self.verb.is_none()
            && self.common.config.is_none()
            && self.service.launch.command.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, (i32, String)> {
        let words = std::iter::once("stayd").chain(line.split_whitespace());
        parse(words).map_err(|error| (error.exit_code(), error.to_string()))
    }

    #[test]
    fn clap_accepts_the_definitions() {
        command().debug_assert();
    }

    #[test]
    fn the_daemon_runs_only_with_a_file_a_command_or_foreground() {
        assert!(read("--foreground").expect("run").verb.is_none());
        assert!(read("-c a.toml").expect("run").verb.is_none());
        let run = read("--foreground --probe tcp://127.0.0.1:1 -- a -b --probe c").expect("run");
        assert_eq!(run.service.launch.command, ["a", "-b", "--probe", "c"]);
        let (status, help) = read("").expect_err("nothing");
        assert_eq!(status, 2);
        assert!(help.contains("Usage: stayd --foreground"), "{help}");
        assert!(!help.contains("error:"), "help is not an error: {help}");
        assert_eq!(read("-v").expect_err("nothing").0, 2);
    }

    #[test]
    fn common_options_are_accepted_before_and_after_the_verb() {
        for line in ["-c f status --json db", "status db -c f --json"] {
            let arguments = read(line).expect(line);
            assert_eq!(arguments.common.config, Some("f".into()), "{line}");
            assert!(arguments.common.json, "{line}");
        }
        let arguments = read("exec --port 80 -- db").expect("exec");
        let Some(Verb::Exec(options)) = arguments.verb else {
            panic!("exec")
        };
        assert_eq!(
            (options.port.as_deref(), options.launch.command.len()),
            (Some("80"), 1)
        );
    }

    #[test]
    fn a_planned_verb_gets_an_alternative_and_a_misspelled_one_the_nearest() {
        for line in ["init", "init --yes -- ./server", "doctor --json"] {
            let (status, text) = read(line).expect_err(line);
            assert_eq!(status, 2, "{line}");
            assert!(text.contains("is not in this version; "), "{text}");
        }
        let (status, text) = read("statsu").expect_err("misspelled");
        assert_eq!(status, 2);
        assert!(
            text.contains("'statsu' is not a verb; did you mean `status`?"),
            "{text}"
        );
        let (_, text) = read("logs a b").expect_err("too many");
        assert!(text.contains("unexpected argument 'b'"), "{text}");
    }

    #[test]
    fn a_contradiction_is_a_usage_error_that_names_it() {
        for (line, what) in [
            ("--foreground status", "with a verb"),
            ("--probe x status", "with a verb"),
            ("--foreground --port 80", "after `--`"),
            ("exec", "after `--`"),
            ("install --port 80", "after `--`"),
            ("install -c f -- a", "give one of them"),
            ("-c f -- a", "give one of them"),
            (
                "stop",
                "name each SERVICE to stop, or give --all for all of them. To end stayd itself",
            ),
            ("start", "or give --all"),
            ("stop db --all", "cannot be used with"),
            ("status --all --name x", "cannot be used with"),
            ("--foreground --name x", "after `--`"),
            ("runtime", "import"),
            ("runtime import", "SERVICE"),
            ("runtime rollback", "SERVICE"),
            ("runtime gc web", "unexpected argument 'web'"),
            ("-v -q status", "cannot be used with"),
            ("hold db --for 5m", "--reason"),
            ("exec --probe tcp://127.0.0.1:1 -- a", "--probe"),
            ("render systemd --json", "cannot use --json"),
        ] {
            let (status, text) = read(line).expect_err(line);
            assert_eq!(status, 2, "{line}");
            assert!(text.contains(what), "{line}: {text}");
        }
    }

    #[test]
    fn every_verb_has_a_help_text_of_one_line() {
        let mut command = command();
        command.build();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let about = verb
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !about.is_empty() && !about.contains('\n'),
                "{}",
                verb.get_name()
            );
        }
    }
}
