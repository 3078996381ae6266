//! The keys of a launchd job with the types of their values (launchd.plist(5)), and the checks of keys, types and vocabularies.

use super::node::{Entry, Node, Value};
use crate::lint::codes;
use crate::lint::finding::Findings;
use crate::lint::text::{nearest, quoted, template_placeholder};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Boolean,
    Integer,
    String,
    /// `Umask`, `SockServiceName`.
    IntegerOrString,
    Strings,
    StringOrStrings,
    BooleanOrDictionary,
    Dictionary,
    /// `StartCalendarInterval`, and an entry of `Sockets`.
    DictionaryOrArray,
    /// Not checked.
    Any,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean (`<true/>` or `<false/>`)",
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::IntegerOrString => "an integer or a string",
            Self::Strings => "an array of strings",
            Self::StringOrStrings => "a string or an array of strings",
            Self::BooleanOrDictionary => "a boolean or a dictionary",
            Self::Dictionary => "a dictionary",
            Self::DictionaryOrArray => "a dictionary or an array of dictionaries",
            Self::Any => "a value",
        }
    }

    fn accepts(self, node: &Node) -> bool {
        let is_strings = || {
            matches!(node.value, Value::Array(_))
                && node
                    .elements()
                    .iter()
                    .all(|element| element.as_str().is_some())
        };
        match (self, &node.value) {
            (Self::Any, _)
            | (Self::Boolean | Self::BooleanOrDictionary, Value::Boolean(_))
            | (Self::Integer | Self::IntegerOrString, Value::Integer(_))
            | (Self::String | Self::IntegerOrString | Self::StringOrStrings, Value::String(_))
            | (
                Self::Dictionary | Self::BooleanOrDictionary | Self::DictionaryOrArray,
                Value::Dictionary(_),
            ) => true,
            (Self::Strings | Self::StringOrStrings, _) => is_strings(),
            (Self::DictionaryOrArray, Value::Array(elements)) => elements
                .iter()
                .all(|element| matches!(element.value, Value::Dictionary(_))),
            _ => false,
        }
    }
}

use Type::{
    Any, Boolean, BooleanOrDictionary, Dictionary, DictionaryOrArray, Integer, IntegerOrString,
    String as Text, StringOrStrings, Strings,
};

/// The keys of the job itself.
const JOB: &[(&str, Type)] = &[
    ("AbandonProcessGroup", Boolean),
    ("AssociatedBundleIdentifiers", StringOrStrings),
    ("BundleProgram", Text),
    ("Debug", Boolean),
    ("Disabled", BooleanOrDictionary),
    ("EnableGlobbing", Boolean),
    ("EnablePressuredExit", Boolean),
    ("EnableTransactions", Boolean),
    ("EnvironmentVariables", Dictionary),
    ("ExitTimeOut", Integer),
    ("GroupName", Text),
    ("HardResourceLimits", Dictionary),
    ("HopefullyExitsFirst", Boolean),
    ("HopefullyExitsLast", Boolean),
    ("InitGroups", Boolean),
    ("inetdCompatibility", Dictionary),
    ("KeepAlive", BooleanOrDictionary),
    ("Label", Text),
    ("LaunchEvents", Dictionary),
    ("LaunchOnlyOnce", Boolean),
    ("LegacyTimers", Boolean),
    ("LimitLoadFromHardware", Dictionary),
    ("LimitLoadFromHosts", Any),
    ("LimitLoadToHardware", Dictionary),
    ("LimitLoadToHosts", Any),
    ("LimitLoadToSessionType", StringOrStrings),
    ("LowPriorityBackgroundIO", Boolean),
    ("LowPriorityIO", Boolean),
    ("MachServices", Dictionary),
    ("MaterializeDatalessFiles", Boolean),
    ("Nice", Integer),
    ("OnDemand", Boolean),
    ("ProcessType", Text),
    ("Program", Text),
    ("ProgramArguments", Strings),
    ("QueueDirectories", Strings),
    ("RootDirectory", Text),
    ("RunAtLoad", Boolean),
    ("ServiceIPC", Boolean),
    ("SessionCreate", Boolean),
    ("Sockets", Dictionary),
    ("SoftResourceLimits", Dictionary),
    ("SpawnConstraint", Any),
    ("StandardErrorPath", Text),
    ("StandardInPath", Text),
    ("StandardOutPath", Text),
    ("StartCalendarInterval", DictionaryOrArray),
    ("StartInterval", Integer),
    ("StartOnMount", Boolean),
    ("ThrottleInterval", Integer),
    ("TimeOut", Integer),
    ("Umask", IntegerOrString),
    ("UserName", Text),
    ("WaitForDebugger", Boolean),
    ("WatchPaths", Strings),
    ("WorkingDirectory", Text),
];

/// The keys of `KeepAlive`.
const KEEP_ALIVE: &[(&str, Type)] = &[
    ("AfterInitialDemand", Boolean),
    ("Crashed", Boolean),
    ("NetworkState", Boolean),
    ("OtherJobActive", Dictionary),
    ("OtherJobEnabled", Dictionary),
    ("PathState", Dictionary),
    ("SuccessfulExit", Boolean),
];

/// The keys of `SoftResourceLimits` and `HardResourceLimits`.
const LIMITS: &[(&str, Type)] = &[
    ("Core", Integer),
    ("CPU", Integer),
    ("Data", Integer),
    ("FileSize", Integer),
    ("MemoryLock", Integer),
    ("NumberOfFiles", Integer),
    ("NumberOfProcesses", Integer),
    ("ResidentSetSize", Integer),
    ("Stack", Integer),
];

/// The keys of an entry of `StartCalendarInterval`.
const CALENDAR: &[(&str, Type)] = &[
    ("Day", Integer),
    ("Hour", Integer),
    ("Minute", Integer),
    ("Month", Integer),
    ("Weekday", Integer),
];

/// The keys of an entry of `Sockets`.
const SOCKET: &[(&str, Type)] = &[
    ("Bonjour", Any),
    ("MulticastGroup", Text),
    ("ReceivePacketInfo", Any),
    ("SecureSocketWithKey", Text),
    ("SockFamily", Text),
    ("SockNodeName", Text),
    ("SockPassive", Boolean),
    ("SockPathGroup", Integer),
    ("SockPathMode", Integer),
    ("SockPathName", Text),
    ("SockPathOwner", Integer),
    ("SockProtocol", Text),
    ("SockServiceName", IntegerOrString),
    ("SockType", Text),
];

/// Keys without effect, or that should not be used, each with what to write instead.
const OBSOLETE: &[(&str, &str)] = &[
    ("HopefullyExitsFirst", "remove it"),
    ("HopefullyExitsLast", "remove it"),
    ("LimitLoadFromHosts", "remove it"),
    ("LimitLoadToHosts", "remove it"),
    ("ServiceIPC", "remove it"),
    (
        "TimeOut",
        "remove it; ThrottleInterval sets the pause between two starts, ExitTimeOut the time for a stop",
    ),
    (
        "inetdCompatibility",
        "let the program take its sockets with launch_activate_socket(3)",
    ),
];

/// The words that a key takes.
const WORDS: &[(&str, &[&str])] = &[
    (
        "ProcessType",
        &["Background", "Standard", "Adaptive", "Interactive"],
    ),
    (
        "LimitLoadToSessionType",
        &["Aqua", "Background", "LoginWindow", "StandardIO", "System"],
    ),
    ("SockType", &["stream", "dgram", "seqpacket"]),
    ("SockFamily", &["IPv4", "IPv6", "IPv4v6", "Unix"]),
    ("SockProtocol", &["TCP", "UDP"]),
];

/// Checks the keys, types and vocabularies of a job.
pub(super) fn check(root: &Node, findings: &mut Findings) {
    duplicates(root, findings, 0);
    table(root, JOB, "a job", findings);
    for (key, why) in OBSOLETE {
        if let Some(entry) = root.entry(key) {
            let message = format!("{key} has no effect any more, or should not be used");
            findings.add(entry.line, &codes::PLIST_OBSOLETE_KEY, message, *why);
        }
    }
    if let Some(keep_alive) = root.get("KeepAlive") {
        table(keep_alive, KEEP_ALIVE, "KeepAlive", findings);
        for name in ["PathState", "OtherJobEnabled"] {
            for entry in keep_alive.get(name).map_or(&[][..], Node::entries) {
                expect(entry, Boolean, findings);
            }
        }
    }
    for name in ["SoftResourceLimits", "HardResourceLimits"] {
        if let Some(limits) = root.get(name) {
            table(limits, LIMITS, name, findings);
        }
    }
    for time in root.get("StartCalendarInterval").map_or(Vec::new(), each) {
        table(time, CALENDAR, "StartCalendarInterval", findings);
        calendar(time, findings);
    }
    for sockets in root.get("Sockets").map_or(&[][..], Node::entries) {
        if !DictionaryOrArray.accepts(&sockets.node) {
            expect(sockets, DictionaryOrArray, findings);
        }
        for socket in each(&sockets.node) {
            table(socket, SOCKET, "a socket", findings);
        }
    }
    environment(root, findings);
}

/// The dictionary, or those of the array.
fn each(node: &Node) -> Vec<&Node> {
    match node.value {
        Value::Array(_) => node.elements().iter().collect(),
        _ => vec![node],
    }
}

fn duplicates(node: &Node, findings: &mut Findings, depth: usize) {
    let entries = node.entries();
    for (index, entry) in entries.iter().enumerate().take(500) {
        if let Some(first) = entries[..index].iter().find(|other| other.key == entry.key) {
            let message = format!(
                "{} stands in line {} already, and only one of the two counts",
                quoted(&entry.key),
                first.line
            );
            findings.add(
                entry.line,
                &codes::PLIST_DUPLICATE_KEY,
                message,
                "remove one",
            );
        }
        if depth < 4 {
            duplicates(&entry.node, findings, depth + 1);
        }
    }
}

/// Checks the keys of one dictionary against a table.
fn table(node: &Node, known: &[(&'static str, Type)], place: &str, findings: &mut Findings) {
    for entry in node.entries() {
        if findings.is_full() {
            return;
        }
        match known.iter().find(|(key, _)| *key == entry.key) {
            Some((_, kind)) => {
                expect(entry, *kind, findings);
                words(entry, findings);
            }
            None if template_placeholder(&entry.key).is_none() => {
                unknown(entry, known, place, findings);
            }
            None => {}
        }
    }
}

fn expect(entry: &Entry, kind: Type, findings: &mut Findings) {
    let is_template = entry
        .node
        .as_str()
        .is_some_and(|text| template_placeholder(text).is_some());
    if kind.accepts(&entry.node) || is_template {
        return;
    }
    let (key, is) = (quoted(&entry.key), entry.node.kind());
    let message = match kind {
        Strings | StringOrStrings | DictionaryOrArray
            if matches!(entry.node.value, Value::Array(_)) =>
        {
            format!("{key} has an element of the wrong type, so launchd ignores it")
        }
        _ => format!("{key} is {is}, so launchd ignores it"),
    };
    let cure = format!("write {}", kind.name());
    findings.add(entry.node.line, &codes::PLIST_WRONG_TYPE, message, cure);
}

fn words(entry: &Entry, findings: &mut Findings) {
    let Some((_, known)) = WORDS.iter().find(|(key, _)| *key == entry.key) else {
        return;
    };
    for node in each(&entry.node) {
        let Some(text) = node
            .as_str()
            .filter(|text| template_placeholder(text).is_none())
        else {
            continue;
        };
        if !known.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            let message = format!("{} is no value of {}", quoted(text), entry.key);
            let cure = format!("write one of {}", known.join(", "));
            findings.add(node.line, &codes::PLIST_BAD_VALUE, message, cure);
        }
    }
}

/// Where a key belongs that stands at the wrong place.
fn home_of(key: &str) -> Option<&'static str> {
    let homes = [
        (KEEP_ALIVE, "KeepAlive"),
        (LIMITS, "SoftResourceLimits or HardResourceLimits"),
        (CALENDAR, "StartCalendarInterval"),
        (SOCKET, "an entry of Sockets"),
        (JOB, "the job itself"),
    ];
    let is_in = |keys: &[(&str, Type)]| keys.iter().any(|(name, _)| *name == key);
    homes
        .iter()
        .find(|(keys, _)| is_in(keys))
        .map(|(_, home)| *home)
}

fn unknown(entry: &Entry, known: &[(&'static str, Type)], place: &str, findings: &mut Findings) {
    let key = quoted(&entry.key);
    if let Some(home) = home_of(&entry.key) {
        let message = format!("{key} has no effect in {place}");
        let cure = format!("move it into {home}");
        findings.add(entry.line, &codes::PLIST_MISPLACED_KEY, message, cure);
    } else if let Some(near) = nearest(known.iter().map(|(key, _)| *key), &entry.key) {
        let message = format!("launchd does not know {key}, and ignores it");
        let cure = format!("write {near}");
        findings.add(entry.line, &codes::PLIST_MISSPELT_KEY, message, cure);
    } else {
        let message = format!("launchd does not know {key} in {place}, and ignores it");
        findings.add(entry.line, &codes::PLIST_UNKNOWN_KEY, message, "remove it");
    }
}

fn calendar(time: &Node, findings: &mut Findings) {
    for (key, range) in [
        ("Minute", 0..=59),
        ("Hour", 0..=23),
        ("Day", 1..=31),
        ("Weekday", 0..=7),
        ("Month", 1..=12),
    ] {
        let (Some(entry), Some(number)) = (time.entry(key), time.integer(key)) else {
            continue;
        };
        if !range.contains(&number) {
            let message = format!("{key} {number} never comes");
            let cure = format!("write a number from {} to {}", range.start(), range.end());
            findings.add(entry.node.line, &codes::PLIST_CALENDAR_RANGE, message, cure);
        }
    }
}

fn environment(root: &Node, findings: &mut Findings) {
    for entry in root
        .get("EnvironmentVariables")
        .map_or(&[][..], Node::entries)
    {
        if entry.node.as_str().is_some() {
            continue;
        }
        if home_of(&entry.key) == Some("the job itself") {
            unknown(entry, &[], "EnvironmentVariables", findings);
        } else {
            let message = format!(
                "the variable {} is {}, so launchd ignores it",
                quoted(&entry.key),
                entry.node.kind()
            );
            findings.add(
                entry.node.line,
                &codes::PLIST_ENVIRONMENT,
                message,
                "write a string",
            );
        }
    }
}
