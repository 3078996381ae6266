//! Checks a launchd plist (launchd.plist(5)).

mod binary;
mod job;
mod keys;
mod node;
mod places;
mod restart;
mod run;
mod xml;

use super::codes;
use super::finding::{self, Finding, Findings};
use super::source::File;
use super::text::{open_placeholder, quoted, template_placeholder};
use job::Job;
use node::{Node, Value};
use std::path::Path;

/// The bundle that contains a plist.
#[derive(Clone, Copy)]
pub(super) struct InBundle<'a> {
    /// Its folder.
    pub(super) root: &'a Path,
    /// Whether a path is a file that can be executed; none if it does not exist.
    pub(super) is_program: fn(&Path) -> Option<bool>,
}

/// Checks a plist; `bundle` is the app that contains it.
pub(super) fn check(file: &File, bundle: Option<InBundle<'_>>) -> Vec<Finding> {
    let mut findings = Findings::new(&file.path);
    if file.too_large {
        finding::too_large(&mut findings);
    } else if file.bytes.iter().all(u8::is_ascii_whitespace) {
        finding::empty(&mut findings);
    } else if let Some(root) = parse(&file.bytes, &mut findings) {
        check_root(&root, file, bundle, &mut findings);
    }
    findings.into_list()
}

/// The outermost value; none, with a finding, if Apple's reader refuses the file.
fn parse(bytes: &[u8], findings: &mut Findings) -> Option<Node> {
    let cure = "write it anew, or restore it from a copy";
    if bytes.starts_with(b"bplist") {
        return binary::parse(bytes)
            .map_err(|why| {
                let message = format!("macOS cannot read this binary property list: {why}");
                findings.add(1, &codes::PLIST_INVALID, message, cure);
            })
            .ok();
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = "the line is not UTF-8";
            findings.add(
                line,
                &codes::FILE_NOT_TEXT,
                message,
                "save the file as UTF-8",
            );
            return None;
        }
    };
    match xml::parse(text) {
        Ok(document) => {
            for (line, oddity) in document.oddities {
                let message = format!("{oddity}, which a strict XML reader refuses");
                findings.add(
                    line,
                    &codes::PLIST_STRICT_XML,
                    message,
                    "remove it; launchd accepts it",
                );
            }
            Some(document.root)
        }
        Err(refusal) => {
            let message = format!("macOS cannot read this property list: {}", refusal.why);
            findings.add(
                refusal.line,
                &codes::PLIST_INVALID,
                message,
                "correct it; `plutil -lint` reads it in the same way",
            );
            None
        }
    }
}

fn check_root(root: &Node, file: &File, bundle: Option<InBundle<'_>>, findings: &mut Findings) {
    if !matches!(root.value, Value::Dictionary(_)) {
        let message = format!("the outermost value is {}, so this is no job", root.kind());
        findings.add(root.line, &codes::PLIST_ROOT, message, "write a dictionary");
        return;
    }
    let job = Job::new(root, file, bundle.is_some());
    placeholders(root, findings);
    keys::check(root, findings);
    if root.string("Label").is_none_or(str::is_empty) && !findings.has(&codes::PLIST_MISSPELT_KEY) {
        let message = "the job has no Label, so launchd refuses it";
        findings.add(
            root.line,
            &codes::PLIST_NO_LABEL,
            message,
            "add a Label that no other job has",
        );
    }
    run::check(&job, findings);
    restart::check(&job, findings);
    places::check(&job, file, findings);
    if let Some(bundle) = bundle {
        in_bundle(&job, bundle, findings);
    }
}

fn placeholders(root: &Node, findings: &mut Findings) {
    for entry in root.entries() {
        let own = entry.node.as_str().map(|text| (entry.node.line, text));
        let elements = entry
            .node
            .elements()
            .iter()
            .filter_map(|node| Some((node.line, node.as_str()?)));
        for (line, text) in own.into_iter().chain(elements) {
            if let Some(name) = template_placeholder(text) {
                let already = findings.has(&codes::FILE_TEMPLATE);
                if !already {
                    let message = format!(
                        "{} is a placeholder, so the value is not checked",
                        quoted(name)
                    );
                    findings.add(
                        line,
                        &codes::FILE_TEMPLATE,
                        message,
                        "verify the file that is made from it",
                    );
                }
            } else if let Some(name) =
                open_placeholder(text).filter(|_| !text.contains(['(', '|', '\n']))
            {
                let message = format!("{} was never filled in", quoted(name));
                findings.add(
                    line,
                    &codes::PLIST_PLACEHOLDER,
                    message,
                    "write the real value",
                );
            } else if text.starts_with("/path/to/") {
                let message = format!("{} looks like a path from an example", quoted(text));
                findings.add(
                    line,
                    &codes::FILE_SAMPLE_PATH,
                    message,
                    "write the real path",
                );
            }
        }
    }
}

/// What a job in an app bundle needs (SMAppService).
fn in_bundle(job: &Job<'_>, bundle: InBundle<'_>, findings: &mut Findings) {
    for key in ["StandardErrorPath", "StandardOutPath"] {
        if let Some(entry) = job.root.entry(key) {
            let message = format!(
                "{key} in a bundle: some report that macOS refuses it, others that it works"
            );
            findings.add(
                entry.line,
                &codes::APP_OUTPUT_PATH,
                message,
                "let the program write its log itself",
            );
        }
    }
    let Some(entry) = job.root.entry("BundleProgram") else {
        if job
            .literal_program()
            .is_some_and(|program| program.starts_with('/'))
        {
            let message = "the job breaks when the app is moved";
            findings.add(
                job.program_line,
                &codes::APP_ABSOLUTE_PROGRAM,
                message,
                "write BundleProgram, relative to the bundle",
            );
        }
        return;
    };
    let Some(program) = entry
        .node
        .as_str()
        .filter(|text| template_placeholder(text).is_none())
    else {
        return;
    };
    let why = match (bundle.is_program)(&bundle.root.join(program.trim_start_matches('/'))) {
        Some(true) => return,
        Some(false) => "cannot be executed",
        None => "is not in the bundle",
    };
    let message = format!("the program {} {why}", quoted(program));
    findings.add(
        entry.node.line,
        &codes::APP_PROGRAM_MISSING,
        message,
        "copy it there before the app is signed",
    );
}
