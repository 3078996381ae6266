//! Programs that run for ever, that end at once, and that macOS has in its standard folders.

use super::text::base_name;

/// Commands that do one thing and end. `sleep`, `tail -f`, `caffeinate` and the like are not among them.
#[rustfmt::skip]
const SHORT: &[&str] = &[
    "alsactl", "amixer", "bless", "cat", "chflags", "chmod", "chown", "cp", "cpupower", "curl", "date", "defaults", "diskutil",
    "ditto", "echo", "ethtool", "find", "fstrim", "hdparm", "hidutil", "hostname", "ifconfig", "install", "ip6tables-restore",
    "iptables", "iptables-restore", "kextload", "killall", "kmutil", "launchctl", "ln", "loadkeys", "logger", "logrotate",
    "mbsync", "mdutil", "mkdir", "modprobe", "mount", "mount_nfs", "mount_smbfs", "mv", "networksetup", "nft", "notify-send",
    "numlockx", "nvram", "pfctl", "pkill", "pmset", "powertop", "printf", "renice", "rfkill", "rm", "rmdir", "rsnapshot",
    "say", "scutil", "sed", "setterm", "setxkbmap", "softwareupdate", "sysctl", "systemd-tmpfiles", "systemsetup", "tar",
    "tlp", "tmutil", "touch", "true", "umount", "updatedb", "wg-quick", "xattr", "xhost", "xmodmap", "xrandr", "xrdb", "xset",
];

/// Whether the command ends at once. `name` is in lower case.
pub(super) fn ends_at_once(name: &str, arguments: &[String]) -> bool {
    match name {
        "osascript" => arguments.iter().any(|word| word == "-e"),
        // `pmset noidle` and `pmset -g log…` stay.
        "pmset" => !arguments
            .iter()
            .any(|word| ["noidle", "pslog", "rawlog", "-g"].contains(&word.as_str())),
        _ => SHORT.contains(&name),
    }
}

/// Servers that the table of forking programs does not have.
#[rustfmt::skip]
const SERVERS: &[&str] = &[
    "adguardhome", "alertmanager", "blackbox_exporter", "buildkite-agent", "cloudflared", "code-server", "containerd",
    "coredns", "couchdb", "daphne", "dnscrypt-proxy", "dockerd", "filebeat", "frpc", "frps", "geth", "gitea", "gitlab-runner",
    "gogs", "homebridge", "hugo", "hypercorn", "ipfs", "jenkins", "json-server", "kapacitord", "kubelet", "loki", "minio",
    "mopidy", "mosh-server", "mysqld_exporter", "n8n", "nats-server", "ngrok", "node_exporter", "ollama", "postgres_exporter",
    "promtail", "pueued", "radicale", "standalone.sh", "streamlit", "syncthing", "tailscaled", "telegraf", "traefik",
    "uvicorn", "v2ray", "vmagent", "waitress-serve", "webpack-dev-server", "xray", "zookeeper",
];

/// First arguments that start a server.
const SERVING: [&str; 8] = [
    "agent",
    "daemon",
    "runserver",
    "serve",
    "server",
    "stream",
    "http-server",
    "http.server",
];

/// Whether the command is known to run until it is stopped. `name` is in lower case.
pub(super) fn runs_for_ever(name: &str, arguments: &[String]) -> bool {
    let words = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .take(3);
    let mut words = words.map(|word| base_name(word));
    let stem = [".js", ".py", ".rb", ".jar"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    let first = arguments.first().map(String::as_str);
    let follows = |flags: &[&str]| arguments.iter().any(|word| flags.contains(&word.as_str()));
    if follows(&["--version", "--help", "--check"]) {
        return false;
    }
    match name {
        "npm" | "yarn" | "pnpm" => follows(&["start"]),
        "flask" => first == Some("run"),
        "tail" => follows(&["-f", "-F"]),
        "journalctl" => follows(&["-f", "--follow"]),
        "sleep" => first == Some("infinity"),
        _ => {
            SERVERS.contains(&name)
                || stem == "server"
                || stem.ends_with("-server")
                || words.any(|word| SERVING.contains(&word))
        }
    }
}

/// Interpreters and shells: programs that can neither check in for a Mach service nor consume launch events.
pub(super) fn is_script_runner(program: &str) -> bool {
    let name = base_name(program);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    is_shell(name)
        || [
            "python",
            "ruby",
            "perl",
            "node",
            "php",
            "osascript",
            "log",
            "open",
            "hidutil",
            "env",
        ]
        .contains(&stem)
        || name.ends_with(".sh")
        || name.ends_with(".py")
}

/// Whether the program is a shell that takes `-c SCRIPT`.
pub(super) fn is_shell(program: &str) -> bool {
    const SHELLS: [&str; 12] = [
        "sh", "bash", "zsh", "dash", "ksh", "csh", "tcsh", "fish", "ash", "mksh", "rbash",
        "busybox",
    ];
    SHELLS.contains(&base_name(program).trim_start_matches('-'))
}

/// Programs of macOS in /usr/bin, /bin, /usr/sbin and /sbin.
#[rustfmt::skip]
const MACOS: &[&str] = &[
    "afplay", "apachectl", "arch", "arp", "asr", "at", "atsutil", "automator", "awk", "banner", "base64", "bash", "bc", "bless",
    "bundle", "c99", "caffeinate", "cal", "cancel", "cat", "cc", "chflags", "chgrp", "chmod", "chown", "chroot", "cksum", "clang",
    "cmp", "codesign", "col", "comm", "cp", "cron", "crontab", "csh", "csrutil", "cupsd", "curl", "cut", "dash", "date", "dd",
    "defaults", "df", "diff", "dig", "dirname", "diskutil", "ditto", "dns-sd", "dot_clean", "dscacheutil", "dscl", "dseditgroup",
    "dtrace", "du", "echo", "ed", "egrep", "emond", "env", "erb", "eslogger", "expect", "expr", "false", "fdesetup", "file", "find",
    "fs_usage", "fsck", "gcc", "gem", "getconf", "git", "grep", "groups", "gunzip", "gzip", "halt", "hdiutil", "head", "heap",
    "hidutil", "host", "hostinfo", "hostname", "httpd", "iconv", "id", "ifconfig", "install", "installer", "ioreg", "iostat",
    "ipconfig", "irb", "jot", "kextload", "kextstat", "kextunload", "kill", "killall", "kmutil", "ksh", "last", "launchctl", "leaks",
    "less", "ln", "locale", "log", "logger", "login", "lp", "lpr", "lpstat", "ls", "lsof", "lsregister", "m4", "mail", "mailx",
    "make", "man", "md5", "mdfind", "mdimport", "mdls", "mdutil", "mkdir", "mkfifo", "more", "mount", "mount_nfs", "mount_smbfs",
    "mv", "nano", "nc", "ndp", "netstat", "nettop", "networkQuality", "networksetup", "newfs_hfs", "newsyslog", "nice", "nohup",
    "notifyutil", "nslookup", "ntpdate", "nvram", "od", "open", "openssl", "osascript", "passwd", "paste", "pbcopy", "pbpaste",
    "periodic", "perl", "pfctl", "pgrep", "ping", "ping6", "pip3", "pkgutil", "pkill", "plutil", "pmset", "postfix", "powermetrics",
    "printenv", "printf", "profiles", "ps", "purge", "pwd", "python", "python3", "qlmanage", "rake", "reboot", "renice", "rm", "rmdir",
    "route", "rsync", "ruby", "sample", "say", "scp", "screen", "screencapture", "script", "scutil", "security", "sed", "sendmail",
    "seq", "serverinfo", "setkey", "sftp", "sh", "shasum", "shutdown", "sips", "sleep", "smbutil", "sntp", "softwareupdate", "sort",
    "spctl", "split", "sqlite3", "ssh", "ssh-add", "ssh-agent", "ssh-keygen", "sshd", "stat", "strings", "stty", "su", "sudo", "sw_vers",
    "swift", "sync", "syslog", "syslogd", "sysctl", "system_profiler", "systemsetup", "tail", "talk", "tar", "taskpolicy", "tccutil",
    "tclsh", "tcpdump", "tcsh", "tee", "test", "textutil", "time", "tmutil", "top", "touch", "tput", "tr", "traceroute", "true",
    "tty", "umount", "uname", "uniq", "unzip", "updatedb", "uptime", "users", "uuidgen", "vi", "vifs", "vim", "visudo", "vm_stat", "w",
    "wall", "wc", "which", "who", "whoami", "whois", "xargs", "xattr", "xcode-select", "xcodebuild", "xcrun", "xmllint", "xpath",
    "xsltproc", "xxd", "yes", "zcat", "zip", "zsh",
];

/// Whether macOS has a program of this name in its standard folders.
pub(super) fn is_of_macos(name: &str) -> bool {
    MACOS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::{MACOS, SERVERS, SHORT};

    #[test]
    fn the_lists_are_ordered_and_without_doubles() {
        for list in [SHORT, SERVERS] {
            assert!(list.is_sorted(), "{list:?}");
        }
        let mut seen = std::collections::BTreeSet::new();
        assert!(MACOS.iter().all(|name| seen.insert(name)));
    }
}
