//! An example for and against each code of plists.

use super::super::{File, Finding, Source, check};
use super::{assert_told_apart, file, names};

/// (code, an example that has it, one that has not). An example is a list of lines `KEY=VALUE` in a short form of XML, see
/// [`xml`]. A first line `@PATH` is the path of the file.
pub(super) const EXAMPLES: &[(&str, &str, &str)] = &[
    ("plist-duplicate-key", "Nice=1\nNice=2", "Nice=1"),
    ("plist-no-label", "-Label", ""),
    ("plist-no-program", "-ProgramArguments", ""),
    ("plist-no-program", "ProgramArguments=[]", "Program=/opt/a"),
    ("plist-wrong-type", "KeepAlive=true", "KeepAlive=yes"),
    (
        "plist-wrong-type",
        "ProgramArguments=/opt/a",
        "ProgramArguments=[/opt/a]",
    ),
    ("plist-wrong-type", "StartInterval=5m", "StartInterval=300"),
    (
        "plist-bad-value",
        "ProcessType=Server",
        "ProcessType=Interactive",
    ),
    (
        "plist-calendar-range",
        "StartCalendarInterval={Hour=24}",
        "StartCalendarInterval={Hour=23}",
    ),
    ("plist-misspelt-key", "KeepAlives=yes", "KeepAlive=yes"),
    ("plist-misspelt-key", "RunAtload=yes", "RunAtLoad=yes"),
    (
        "plist-misplaced-key",
        "NetworkState=yes",
        "KeepAlive={NetworkState=yes}",
    ),
    ("plist-unknown-key", "ServiceDescription=a", "Label=a"),
    ("plist-obsolete-key", "ServiceIPC=no", "SessionCreate=no"),
    ("plist-on-demand", "OnDemand=no", "KeepAlive=yes"),
    (
        "plist-relative-program",
        "ProgramArguments=[bin/a]",
        "ProgramArguments=[/bin/a]",
    ),
    (
        "plist-relative-path",
        "WorkingDirectory=srv",
        "WorkingDirectory=/srv",
    ),
    (
        "plist-placeholder",
        "ProgramArguments=[/Users/&lt;user&gt;/a]",
        "ProgramArguments=[/Users/user/a]",
    ),
    (
        "plist-program-not-found",
        "ProgramArguments=[redis-server]",
        "ProgramArguments=[rsync]",
    ),
    (
        "plist-bare-program",
        "ProgramArguments=[sh|-c|a]",
        "ProgramArguments=[/bin/sh|-c|a]",
    ),
    (
        "plist-one-string",
        "ProgramArguments=[/opt/a --b]",
        "ProgramArguments=[/Library/Application Support/a]",
    ),
    (
        "plist-one-string",
        "Program=/usr/bin/python3 a.py",
        "Program=/opt/a b",
    ),
    (
        "plist-argument-blank",
        "ProgramArguments=[/opt/a|--config /etc/a]",
        "ProgramArguments=[/opt/a|--config|/etc/a]",
    ),
    (
        "plist-argument-lost",
        "Program=/opt/a\nProgramArguments=[--b|c]",
        "Program=/opt/a\nProgramArguments=[a|--b]",
    ),
    (
        "plist-argument-lost",
        "Program=/bin/sh\nProgramArguments=[/opt/a.sh]",
        "Program=/bin/sh\nProgramArguments=[sh|/opt/a.sh]",
    ),
    (
        "plist-name-differs",
        "Program=/opt/server-1.2\nProgramArguments=[server|x]",
        "Program=/opt/server\nProgramArguments=[server|x]",
    ),
    (
        "plist-not-expanded",
        "StandardOutPath=~/Library/a.log",
        "StandardOutPath=/Users/ada/Library/a.log",
    ),
    (
        "plist-not-expanded",
        "ProgramArguments=[$HOME/bin/a]",
        "ProgramArguments=[/bin/sh|-c|$HOME/bin/a]",
    ),
    (
        "plist-not-expanded",
        "EnvironmentVariables={PATH=/a:$PATH}",
        "EnvironmentVariables={PATH=/a}",
    ),
    ("plist-not-expanded", "WatchPaths=[~/a]", "WatchPaths=[/a]"),
    (
        "plist-argument-not-expanded",
        "ProgramArguments=[/opt/a|~/b]",
        "ProgramArguments=[/bin/sh|-c|~/b]",
    ),
    (
        "plist-shell-syntax",
        "ProgramArguments=[/opt/a|&gt;|/tmp/a]",
        "ProgramArguments=[/bin/sh|-c|a &gt; /tmp/a]",
    ),
    (
        "plist-shell-syntax",
        "ProgramArguments=[/opt/a|&amp;&amp;|b]",
        "ProgramArguments=[/usr/bin/log|x == 1 &amp;&amp; y]",
    ),
    (
        "plist-glob",
        "ProgramArguments=[/bin/rm|/tmp/a*]",
        "EnableGlobbing=yes\nProgramArguments=[/bin/rm|/tmp/a*]",
    ),
    (
        "plist-forks",
        "KeepAlive=yes\nProgramArguments=[/opt/nginx]",
        "KeepAlive=yes\nProgramArguments=[/opt/nginx|-g|daemon off;]",
    ),
    (
        "plist-forks",
        "ProgramArguments=[/bin/zsh|-lc|\"$HOME/Emacs\" --daemon]",
        "ProgramArguments=[/bin/zsh|-lc|exec emacs --fg-daemon]",
    ),
    (
        "plist-may-fork",
        "ProgramArguments=[/opt/a|--daemonize]",
        "ProgramArguments=[/opt/a|--no-daemonize]",
    ),
    (
        "plist-control-verb",
        "ProgramArguments=[/opt/pg_ctl|start]",
        "ProgramArguments=[/opt/postgres|-D|/data]",
    ),
    (
        "plist-control-verb",
        "KeepAlive=yes\nProgramArguments=[/usr/bin/open|-a|A]",
        "ProgramArguments=[/usr/bin/open|-a|A]",
    ),
    (
        "plist-ends-at-once",
        "KeepAlive=yes\nProgramArguments=[/bin/mkdir|/a]",
        "StartInterval=9\nProgramArguments=[/bin/mkdir|/a]",
    ),
    (
        "plist-restart-inverted",
        "KeepAlive={SuccessfulExit=yes}\nProgramArguments=[/opt/redis-server]",
        "KeepAlive={SuccessfulExit=no}\nProgramArguments=[/opt/redis-server]",
    ),
    (
        "plist-successful-exit",
        "KeepAlive={SuccessfulExit=yes}",
        "KeepAlive={SuccessfulExit=no}",
    ),
    (
        "plist-crashed-alone",
        "KeepAlive={Crashed=yes}",
        "KeepAlive={Crashed=yes|SuccessfulExit=no}",
    ),
    (
        "plist-keepalive-nothing",
        "KeepAlive={NetworkState=yes}",
        "KeepAlive={PathState={/a=yes}}",
    ),
    ("plist-keepalive-nothing", "KeepAlive={}", "KeepAlive=no"),
    (
        "plist-keepalive-redundant",
        "KeepAlive={SuccessfulExit=no|Crashed=yes}",
        "KeepAlive={SuccessfulExit=no}",
    ),
    (
        "plist-no-keepalive",
        "ProgramArguments=[/opt/mongod]",
        "KeepAlive=no\nProgramArguments=[/opt/mongod]",
    ),
    (
        "plist-launch-once",
        "KeepAlive=yes\nLaunchOnlyOnce=yes",
        "LaunchOnlyOnce=yes",
    ),
    (
        "plist-events-unconsumed",
        "LaunchEvents={a={b=c}}\nProgramArguments=[/bin/sh|/a.sh]",
        "LaunchEvents={a={b=c}}",
    ),
    (
        "plist-mach-service",
        "MachServices={a=yes}\nProgramArguments=[/usr/bin/log|stream]",
        "MachServices={a=yes}",
    ),
    (
        "plist-throttle-zero",
        "ThrottleInterval=0",
        "ThrottleInterval=1",
    ),
    (
        "plist-throttle-short",
        "ThrottleInterval=5",
        "ThrottleInterval=10",
    ),
    ("plist-exit-timeout-zero", "ExitTimeOut=0", "ExitTimeOut=20"),
    (
        "plist-exit-timeout",
        "KeepAlive=yes\nProgramArguments=[/opt/mongod]",
        "ExitTimeOut=9\nKeepAlive=yes\nProgramArguments=[/opt/mongod]",
    ),
    (
        "plist-open-files",
        "KeepAlive=yes\nProgramArguments=[/opt/mongod]",
        "SoftResourceLimits={NumberOfFiles=9}\nKeepAlive=yes\nProgramArguments=[/opt/mongod]",
    ),
    (
        "plist-user-in-agent",
        "@/Users/ada/Library/LaunchAgents/a.b.plist\nUserName=ada",
        "@/Library/LaunchDaemons/a.b.plist\nUserName=ada",
    ),
    (
        "plist-nice-in-agent",
        "@/Users/ada/Library/LaunchAgents/a.b.plist\nNice=-5",
        "@/Library/LaunchDaemons/a.b.plist\nNice=-5",
    ),
    (
        "plist-log-unwritable",
        "@/Users/ada/Library/LaunchAgents/a.b.plist\nStandardOutPath=/var/log/a",
        "@/Library/LaunchDaemons/a.b.plist\nStandardOutPath=/var/log/a",
    ),
    (
        "plist-log-maybe-unwritable",
        "StandardOutPath=/var/log/a\nProgramArguments=[/Users/ada/a]",
        "StandardOutPath=/var/log/a\nUserName=ada\nProgramArguments=[/Users/ada/a]",
    ),
    (
        "plist-protected-folder",
        "StandardErrorPath=/Volumes/x/a.log",
        "StandardErrorPath=/tmp/a.log",
    ),
    (
        "plist-interpreter",
        "ProgramArguments=[/usr/bin/env|node|/a.js]",
        "ProgramArguments=[/usr/bin/env|python3|/a.py]",
    ),
    (
        "plist-interpreter",
        "ProgramArguments=[/usr/bin/env|node|/a.js]",
        "EnvironmentVariables={PATH=/opt/homebrew/bin:/usr/bin}\nProgramArguments=[/usr/bin/env|node|/a.js]",
    ),
    (
        "plist-environment",
        "EnvironmentVariables={A=5}",
        "EnvironmentVariables={A=b}",
    ),
    (
        "plist-transactions",
        "EnableTransactions=yes",
        "EnableTransactions=yes\nMachServices={a=yes}",
    ),
    (
        "plist-debugger",
        "WaitForDebugger=yes",
        "WaitForDebugger=no",
    ),
    ("plist-never-starts", "-RunAtLoad", ""),
    (
        "plist-file-name",
        "@/Library/LaunchDaemons/a.b.xml",
        "@/Library/LaunchDaemons/a.b.plist",
    ),
    ("plist-label-name", "@other.plist", "@a.b.plist"),
    (
        "plist-bundle-program",
        "@/Library/LaunchDaemons/a.b.plist\n-ProgramArguments\nBundleProgram=a/b",
        "@a.b.plist\n-ProgramArguments\nBundleProgram=a/b",
    ),
];

/// Codes with tests of their own.
pub(super) const OTHERS: [&str; 9] = [
    "app-absolute-program",
    "app-no-jobs",
    "app-output-path",
    "app-program-missing",
    "plist-invalid",
    "plist-mode",
    "plist-owner",
    "plist-root",
    "plist-strict-xml",
];

/// A value in the short form: `yes`, `no`, a number, `[a|b]`, `{A=1|B={C=yes}}`, else a string.
fn xml(value: &str) -> String {
    let inside = |open: char, close: char| value.strip_prefix(open)?.strip_suffix(close);
    if let Some(elements) = inside('[', ']') {
        let elements = elements.split('|').filter(|element| !element.is_empty());
        let strings: String = elements
            .map(|element| format!("<string>{element}</string>"))
            .collect();
        return format!("<array>{strings}</array>");
    }
    if let Some(entries) = inside('{', '}') {
        let entries = entries.split('|').filter_map(|entry| entry.split_once('='));
        let entries: String = entries
            .map(|(key, value)| format!("<key>{key}</key>{}", xml(value)))
            .collect();
        return format!("<dict>{entries}</dict>");
    }
    match value {
        "yes" => "<true/>".to_owned(),
        "no" => "<false/>".to_owned(),
        number if number.parse::<i64>().is_ok() => format!("<integer>{number}</integer>"),
        text => format!("<string>{text}</string>"),
    }
}

/// The findings about an example; a key of the good job that the example does not name is added.
fn found(lines: &str) -> Vec<Finding> {
    let (path, lines) = match lines.strip_prefix('@') {
        Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
        None => ("a.b.plist", lines),
    };
    let mut entries = String::new();
    for (key, value) in [
        ("Label", "a.b"),
        ("ProgramArguments", "[/opt/a]"),
        ("RunAtLoad", "yes"),
    ] {
        let named = lines.lines().any(|line| {
            line.split('=')
                .next()
                .is_some_and(|name| name.trim_start_matches('-') == key)
        });
        let has_program = key == "ProgramArguments" && lines.contains("Program=");
        if !(named || has_program) {
            entries += &format!("<key>{key}</key>{}", xml(value));
        }
    }
    for (key, value) in lines.lines().filter_map(|line| line.split_once('=')) {
        entries += &format!("<key>{key}</key>\n{}", xml(value));
    }
    check(&Source::Plist(file(
        path,
        format!("<plist><dict>{entries}</dict></plist>"),
    )))
}

#[test]
fn every_code_of_plists_is_found_where_it_belongs_and_nowhere_else() {
    assert!(found("").is_empty(), "{:?}", found(""));
    for (code, bad, good) in EXAMPLES {
        assert_told_apart(code, &found(bad), &found(good));
    }
}

#[test]
fn what_apple_refuses_is_an_error_and_what_a_strict_reader_refuses_a_note() {
    let of = |text: &str| check(&Source::Plist(file("a.b.plist", text)));
    let good = found("");
    assert_told_apart("plist-invalid", &of("CTYPE\n<plist><dict/></plist>"), &good);
    assert_told_apart(
        "plist-invalid",
        &check(&Source::Plist(file("a.plist", b"bplist00x"))),
        &good,
    );
    assert_told_apart("plist-root", &of("<plist><array/></plist>"), &good);
    assert_told_apart(
        "plist-strict-xml",
        &of("<!-- a -- b --><plist><dict/></plist>"),
        &good,
    );
}

#[test]
fn owner_and_mode_matter_in_the_folders_of_launchd_only() {
    let with = |path: &str, owner, mode| {
        let text = "<plist><dict><key>Label</key><string>a.b</string><key>ProgramArguments</key><array><string>/opt/a</string></array>\
                    <key>RunAtLoad</key><true/></dict></plist>";
        check(&Source::Plist(File {
            owner: Some(owner),
            folder_owner: Some(501),
            mode: Some(mode),
            ..file(path, text)
        }))
    };
    let agent = "/Users/ada/Library/LaunchAgents/a.b.plist";
    let daemon = "/Library/LaunchDaemons/a.b.plist";
    assert_told_apart(
        "plist-mode",
        &with(agent, 501, 0o664),
        &with(agent, 501, 0o644),
    );
    assert_told_apart(
        "plist-owner",
        &with(agent, 502, 0o644),
        &with(agent, 501, 0o644),
    );
    assert_told_apart(
        "plist-owner",
        &with(daemon, 501, 0o644),
        &with(daemon, 0, 0o644),
    );
    assert!(with("a.b.plist", 502, 0o666).is_empty());
}

#[test]
fn our_own_plists_have_no_error_and_no_warning() {
    for (path, text) in [
        (
            "/Users/ada/Library/LaunchAgents/a.plist",
            include_str!("../../../launchd/stayd.agent.plist"),
        ),
        (
            "/Library/LaunchDaemons/a.plist",
            include_str!("../../../launchd/stayd.daemon.plist"),
        ),
    ] {
        let found = check(&Source::Plist(file(path, text)));
        assert_eq!(names(&found), ["plist-label-name"], "{found:?}");
    }
}
