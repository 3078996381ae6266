//! An example for and against each code of units.

use super::{assert_told_apart, unit};

/// (code, the lines that differ from a good unit, the lines of a unit without the finding)
///
/// A line `KEY=…` goes into [Service]; a line `Unit.KEY=…` or `Install.KEY=…` into another section; a line with `[` begins a
/// whole unit. `@user` stands for a unit of a user.
pub(super) const EXAMPLES: &[(&str, &str, &str)] = &[
    ("file-template", "User={{ user }}", "User=ada"),
    (
        "file-sample-path",
        "ExecStart=/path/to/server",
        "ExecStart=/srv/path/to/server",
    ),
    (
        "unit-no-section",
        "[]A=1\n[Service]\nExecStart=/opt/a",
        "[Service]\nExecStart=/opt/a",
    ),
    (
        "unit-section",
        "[Service]\nExecStart=/opt/a\n[install]\nWantedBy=a.target",
        "[Service]\nExecStart=/opt/a\n[X-install]\na=b",
    ),
    (
        "unit-unknown-section",
        "[Service]\nExecStart=/opt/a\n[Other]\nA=b",
        "[Service]\nExecStart=/opt/a\n[X-Other]\nA=b",
    ),
    ("unit-not-assignment", "lost words", "# lost words"),
    ("unit-key", "ExecQuit=/bin/x", "X-ExecQuit=/bin/x"),
    ("unit-key", "Environmet=A=b", "Environment=A=b"),
    (
        "unit-key",
        "Install.Wantedby=a.target",
        "Install.WantedBy=a.target",
    ),
    (
        "unit-key-section",
        "WantedBy=a.target",
        "Unit.Wants=a.target",
    ),
    (
        "unit-start-limit-section",
        "StartLimitInterval=90",
        "Unit.StartLimitIntervalSec=90",
    ),
    ("unit-legacy-key", "MemoryLimit=1G", "MemoryMax=1G"),
    (
        "unit-legacy-value",
        "Unit.After=syslog.target",
        "Unit.After=network.target",
    ),
    (
        "unit-legacy-value",
        "StandardOutput=syslog",
        "StandardOutput=journal",
    ),
    ("unit-bad-value", "Type=simping", "Type=simple"),
    ("unit-bad-value", "Restart=Always", "Restart=always"),
    (
        "unit-bad-value",
        "StandardOutput=/var/log/a.log",
        "StandardOutput=append:/var/log/a.log",
    ),
    (
        "unit-bad-value",
        "WorkingDirectory=srv",
        "WorkingDirectory=~",
    ),
    (
        "unit-comment",
        "Restart=always # for ever",
        "# for ever\nRestart=always",
    ),
    (
        "unit-comment",
        "ExecStart=/opt/a # b",
        "ExecStart=/opt/a '#' b",
    ),
    ("unit-comment", "User=ada # not root", "User=ada"),
    (
        "unit-comment",
        "Environment=A=b # c",
        "Environment=\"A=b # c\"",
    ),
    ("unit-quote", "ExecStart=/opt/a 'b", "ExecStart=/opt/a it's"),
    ("unit-placeholder", "User=<your user>", "User=ada"),
    (
        "unit-placeholder",
        "ExecStart=/home/<user>/a",
        "ExecStart=/bin/sh -c 'a < b > c'",
    ),
    ("unit-sample-value", "User=YOUR_USERNAME", "User=ada"),
    (
        "unit-environment",
        "Environment=/usr/lib/jvm",
        "Environment=JAVA_HOME=/usr/lib/jvm",
    ),
    (
        "unit-environment-variable",
        "Environment=PATH=/a:$PATH",
        "Environment=PATH=/a:/b",
    ),
    (
        "unit-no-exec",
        "[Service]\nType=simple",
        "[Service]\nExecStop=/bin/a",
    ),
    (
        "unit-several-exec",
        "ExecStart=/opt/a\nExecStart=/opt/b",
        "Type=oneshot\nExecStart=/opt/a\nExecStart=/opt/b",
    ),
    ("unit-relative-program", "ExecStart=./a", "ExecStart=a"),
    ("unit-bare-program", "ExecStart=a", "ExecStart=-@/opt/a a"),
    (
        "unit-program-not-expanded",
        "ExecStart=~/bin/a",
        "ExecStart=%h/bin/a",
    ),
    (
        "unit-program-not-expanded",
        "ExecStart=${HOME}/bin/a",
        "ExecStart=/opt/a ${HOME}",
    ),
    (
        "unit-tilde",
        "ExecStart=/opt/a ~/b",
        "ExecStart=/bin/sh -c 'a ~/b'",
    ),
    (
        "unit-path-not-expanded",
        "EnvironmentFile=-$HOME/a",
        "EnvironmentFile=-%h/a",
    ),
    ("unit-path-not-expanded", "User=$USER", "User=%i"),
    (
        "unit-shell-syntax",
        "ExecStart=/opt/a >> /var/log/a",
        "ExecStart=/bin/sh -c 'a >> /var/log/a'",
    ),
    (
        "unit-shell-syntax",
        "ExecStart=/opt/a && /opt/b",
        "ExecStart=/opt/a '&&' /opt/b",
    ),
    (
        "unit-shell-syntax",
        "ExecStart=/opt/a &",
        "ExecStart=/opt/a http://x/?a&b",
    ),
    (
        "unit-shell-syntax",
        "ExecStartPre=/bin/kill $(cat /run/a)",
        "ExecStartPre=/bin/kill $MAINPID",
    ),
    (
        "unit-glob",
        "ExecStartPre=/bin/rm /tmp/a/*",
        "ExecStartPre=/bin/sh -c 'rm /tmp/a/*'",
    ),
    (
        "unit-forks",
        "ExecStart=/usr/sbin/nginx",
        "ExecStart=/usr/sbin/nginx -g 'daemon off;'",
    ),
    (
        "unit-forks",
        "ExecStart=/usr/bin/xflux -l 1",
        "Type=forking\nExecStart=/usr/bin/xflux -l 1",
    ),
    (
        "unit-forks",
        "ExecStart=/opt/python3 /opt/Tautulli.py --daemon",
        "ExecStart=/opt/python3 /opt/Tautulli.py",
    ),
    (
        "unit-forks",
        "ExecStart=/usr/bin/emacs --daemon\nRemainAfterExit=yes",
        "ExecStart=/usr/bin/emacs --fg-daemon",
    ),
    (
        "unit-forks",
        "ExecStart=/bin/sh -c '/opt/a &'",
        "ExecStart=/bin/sh -c '/opt/a & wait'",
    ),
    (
        "unit-may-fork",
        "ExecStart=/opt/a --daemon",
        "ExecStart=/opt/a --daemon=no",
    ),
    (
        "unit-control-verb",
        "ExecStart=/opt/tomcat/bin/catalina.sh start",
        "ExecStart=/opt/tomcat/bin/catalina.sh run",
    ),
    (
        "unit-control-verb",
        "ExecStart=/usr/bin/docker run -d redis",
        "ExecStart=/usr/bin/docker run --rm redis",
    ),
    (
        "unit-forking-foreground",
        "Type=forking\nExecStart=/usr/sbin/sshd -D",
        "Type=forking\nExecStart=/usr/sbin/sshd",
    ),
    (
        "unit-oneshot-restart",
        "Type=oneshot\nRestart=always",
        "Type=oneshot\nRestart=on-failure",
    ),
    (
        "unit-oneshot-server",
        "Type=oneshot\nExecStart=/usr/bin/redis-server",
        "Type=oneshot\nExecStart=/bin/mkdir /a",
    ),
    (
        "unit-ends-at-once",
        "ExecStart=/bin/mkdir /a",
        "Type=oneshot\nExecStart=/bin/mkdir /a",
    ),
    (
        "unit-restart-ends-at-once",
        "Restart=always\nExecStart=/bin/mkdir /a",
        "Restart=always\nExecStart=/opt/a",
    ),
    (
        "unit-remain-simple",
        "RemainAfterExit=yes",
        "Type=oneshot\nRemainAfterExit=yes",
    ),
    (
        "unit-no-restart",
        "[Service]\nExecStart=/opt/a",
        "[Unit]\nRequires=a.socket\n[Service]\nExecStart=/opt/a",
    ),
    (
        "unit-start-limit-unreachable",
        "RestartSec=30\nUnit.StartLimitBurst=3\nUnit.StartLimitIntervalSec=60",
        "RestartSec=1\nUnit.StartLimitBurst=3\nUnit.StartLimitIntervalSec=60",
    ),
    (
        "unit-pidfile",
        "PIDFile=/run/a.pid",
        "Type=forking\nPIDFile=/run/a.pid",
    ),
    (
        "unit-forking-pidfile",
        "Type=forking",
        "Type=forking\nPIDFile=/run/a.pid",
    ),
    ("unit-kill-none", "KillMode=none", "KillMode=mixed"),
    (
        "unit-kill-none-stop",
        "KillMode=none\nExecStop=/bin/a",
        "KillMode=none",
    ),
    (
        "unit-kill-process",
        "KillMode=process",
        "KillMode=process\nType=notify",
    ),
    (
        "unit-watchdog-none",
        "WatchdogSec=5\nNotifyAccess=none",
        "WatchdogSec=5\nNotifyAccess=main",
    ),
    (
        "unit-watchdog-type",
        "WatchdogSec=5",
        "WatchdogSec=5\nType=notify",
    ),
    (
        "unit-notify-pipeline",
        "Type=notify\nExecStart=/bin/sh -c 'a | b'",
        "Type=notify\nExecStart=/bin/sh -c 'a | grep b; exec c'",
    ),
    ("unit-needs-newer", "Type=notify-reload", "Type=notify"),
    ("unit-user-root", "User=root", "User=ada"),
    ("unit-user-in-user-unit", "@user\nUser=ada", "User=ada"),
    (
        "unit-user-target",
        "@user\nInstall.WantedBy=multi-user.target",
        "Install.WantedBy=multi-user.target",
    ),
    (
        "unit-user-dependency",
        "@user\nUnit.After=network.target",
        "Unit.After=network.target",
    ),
    (
        "unit-no-install",
        "[Service]\nExecStart=/opt/a",
        "[Service]\nType=oneshot\nExecStart=/opt/a",
    ),
];

/// The path and the text of an example.
fn example(lines: &str) -> (&'static str, String) {
    if let Some(whole) = lines.strip_prefix("[]") {
        return ("a.service", whole.to_owned());
    }
    if lines.starts_with('[') {
        return ("a.service", lines.to_owned());
    }
    let mut path = "/etc/systemd/system/a.service";
    let (mut of_unit, mut of_service, mut of_install) =
        (String::new(), String::new(), String::new());
    for line in lines.lines() {
        if line == "@user" {
            path = "/etc/systemd/user/a.service";
        } else if let Some(line) = line.strip_prefix("Unit.") {
            of_unit += &format!("{line}\n");
        } else if let Some(line) = line.strip_prefix("Install.") {
            of_install += &format!("{line}\n");
        } else {
            of_service += &format!("{line}\n");
        }
    }
    if !lines.contains("ExecStart=") {
        of_service += "ExecStart=/opt/a\n";
    }
    if !lines.contains("Restart=") && !lines.contains("oneshot") {
        of_service += "Restart=no\n";
    }
    if of_install.is_empty() {
        of_install += "WantedBy=a.target\n";
    }
    (
        path,
        format!("[Unit]\n{of_unit}[Service]\n{of_service}[Install]\n{of_install}"),
    )
}

#[test]
fn every_code_of_units_is_found_where_it_belongs_and_nowhere_else() {
    for (code, bad, good) in EXAMPLES {
        let found = |lines| {
            let (path, text) = example(lines);
            unit(path, &text)
        };
        assert_told_apart(code, &found(bad), &found(good));
    }
}

#[test]
fn findings_have_the_line_of_their_cause() {
    let found = unit(
        "a.service",
        "[Unit]\n\n[Service]\nExecStart=/opt/a \\\n  b\nType=x\n",
    );
    let lines: Vec<_> = found
        .iter()
        .map(|finding| (finding.line, finding.code.name))
        .collect();
    assert_eq!(
        lines,
        [
            (1, "unit-no-install"),
            (3, "unit-no-restart"),
            (6, "unit-bad-value")
        ]
    );
}

#[test]
fn our_own_units_have_no_finding() {
    for (path, text) in [
        (
            "/etc/systemd/system/stayd.service",
            include_str!("../../../systemd/stayd.service"),
        ),
        (
            "/etc/systemd/user/stayd-user.service",
            include_str!("../../../systemd/stayd-user.service"),
        ),
    ] {
        let found = unit(path, text);
        assert!(found.is_empty(), "{found:?}");
    }
}
