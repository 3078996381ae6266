//! Input that is no plist and no unit, or too much of one.

use super::super::{File, Source, check};
use super::{assert_told_apart, file, names, unit};
use proptest::prelude::*;

/// The codes that the tests of this file have examples for.
pub(super) const CODES: [&str; 4] = [
    "file-unknown",
    "file-empty",
    "file-too-large",
    "file-not-text",
];

const GOOD: &str = "[Unit]\nDescription=a\n[Service]\nExecStart=/opt/a\nRestart=no\n[Install]\nWantedBy=default.target\n";

#[test]
fn what_is_no_file_of_either_kind_is_named() {
    let good = unit("a.service", GOOD);
    assert!(good.is_empty(), "{good:?}");
    let unknown = |bytes: &[u8]| check(&Source::Unknown(file("a", bytes)));
    assert_told_apart("file-unknown", &unknown(b"hello"), &good);
    assert_told_apart("file-empty", &unknown(b" \n"), &good);
    assert_told_apart("file-empty", &unit("a.service", ""), &good);
    assert_told_apart(
        "file-empty",
        &check(&Source::Plist(file("a.plist", ""))),
        &good,
    );
    let large = || File {
        too_large: true,
        ..file("a.plist", "")
    };
    assert_told_apart("file-too-large", &check(&Source::Plist(large())), &good);
    assert_told_apart("file-too-large", &check(&Source::Unknown(large())), &good);
    let invalid = check(&Source::Plist(file("a.plist", b"<plist>\n\xff")));
    assert_told_apart("file-not-text", &invalid, &good);
    assert_eq!(invalid[0].line, 2);
    let mut bytes = GOOD.as_bytes().to_vec();
    bytes.extend(b"# \xff\n");
    let source = Source::Unit {
        file: file("a.service", bytes),
        drop_ins: Vec::new(),
        siblings: Vec::new(),
    };
    assert_eq!(names(&check(&source)), ["file-not-text"]);
}

#[test]
fn line_ends_of_windows_change_nothing() {
    let found = unit("a.service", &GOOD.replace('\n', "\r\n"));
    assert!(found.is_empty(), "{found:?}");
}

/// A mistake on each of 100,000 lines, the longest line, and the deepest nesting that fit into a file.
#[test]
fn the_largest_files_are_checked_and_their_findings_are_bounded() {
    let many = format!("[Service]\nExecStart=/opt/a\n{}", "Foo=1\n".repeat(100_000));
    assert!(unit("a.service", &many).len() <= 200);
    let long = format!(
        "[Service]\nExecStart=/opt/a {}\n",
        "'x' $(y) ".repeat(100_000)
    );
    assert!(!unit("a.service", &long).is_empty());
    let continued = format!(
        "[Service]\nExecStart=/opt/a {}\n",
        "\\\n x ".repeat(200_000)
    );
    assert!(!unit("a.service", &continued).is_empty());
    for text in [
        "<array>".repeat(100_000),
        format!(
            "<plist><dict>{}</dict></plist>",
            "<key>A</key><true/>".repeat(50_000)
        ),
        format!(
            "<plist><array>{}</array></plist>",
            "<true/>".repeat(100_000)
        ),
        "&#x41;".repeat(100_000),
        "<!--".repeat(100_000),
    ] {
        assert!(!check(&Source::Plist(file("a.plist", text))).is_empty());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for source in [
            Source::Plist(file("a.plist", bytes.clone())),
            Source::Plist(file("a.plist", [b"bplist00".as_slice(), &bytes].concat())),
            Source::Unit { file: file("a.service", bytes.clone()), drop_ins: vec![file("b", bytes.clone())], siblings: Vec::new() },
            Source::Unknown(file("a", bytes.clone())),
        ] {
            let _findings = check(&source);
        }
    }

    #[test]
    fn random_commands_never_panic(words in "[-a-z$~`'\"\\\\{}()<>|&;#@%/= \u{e9}\u{2028}]{0,60}") {
        let text = format!("[Service]\nExecStart={words}\nEnvironment={words}\nUser={words}\nType={words}\n{words}\n");
        let _findings = unit("a.service", &text);
        let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
        let text = format!(
            "<plist><dict><key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>{escaped}</string>\
             <string>{escaped}</string></array><key>Program</key><string>{escaped}</string></dict></plist>"
        );
        let _findings = check(&Source::Plist(file("a.plist", text)));
    }
}
