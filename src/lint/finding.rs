//! A finding, and the list that the checks add them to.

use super::codes::{self, Code};
use super::source::File;
use super::text::is_template_name;
use std::path::{Path, PathBuf};

/// The most findings of one file. A generated file can repeat one mistake without end.
const FINDINGS_MAX: usize = 200;

/// Something about a file that its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 1 for the whole file and for a binary plist, which has no lines.
    pub line: usize,
    /// What kind of finding it is.
    pub code: &'static Code,
    /// What is wrong, and what follows from it; without a period.
    pub message: String,
    /// What to do about it; without a period.
    pub cure: String,
}

/// The findings about one file.
#[derive(Debug)]
pub(super) struct Findings {
    path: PathBuf,
    /// Whether another program makes the real file from it, by its name.
    is_template: bool,
    list: Vec<Finding>,
}

impl Findings {
    /// No findings about this file yet.
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: path.to_owned(),
            is_template: is_template_name(&name),
            list: Vec::new(),
        }
    }

    /// Adds a finding, unless the same one is there or the list is full.
    pub(super) fn add(
        &mut self,
        line: usize,
        code: &'static Code,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let finding = Finding {
            path: self.path.clone(),
            line: line.max(1),
            code,
            message: message.into(),
            cure: cure.into(),
        };
        // In a template, `${NAME}` and `$(NAME)` may be what it fills in.
        let of_template = self.is_template
            && ["${", "$("]
                .iter()
                .any(|beginning| finding.message.contains(beginning));
        if !of_template && !self.is_full() && !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }

    /// Whether further findings are left out, so that the checks of more lines can be skipped.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= FINDINGS_MAX
    }

    /// Whether there is a finding with this code.
    pub(super) fn has(&self, code: &'static Code) -> bool {
        self.list.iter().any(|finding| finding.code == code)
    }

    /// The findings, ordered by line.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| finding.line);
        self.list
    }
}

/// The findings about a file that is neither a plist nor a unit.
pub(super) fn unknown(file: &File) -> Vec<Finding> {
    let mut findings = Findings::new(&file.path);
    if file.too_large {
        too_large(&mut findings);
    } else if file.bytes.iter().all(u8::is_ascii_whitespace) {
        empty(&mut findings);
    } else {
        findings.add(
            1,
            &codes::FILE_UNKNOWN,
            "this is neither a property list nor a systemd unit",
            "name a .plist, a unit such as X.service, or an .app",
        );
    }
    findings.into_list()
}

/// The file is larger than what is read.
pub(super) fn too_large(findings: &mut Findings) {
    findings.add(
        1,
        &codes::FILE_TOO_LARGE,
        "the file is larger than 1 MiB, so it is not checked",
        "is it the right file?",
    );
}

/// There is nothing in the file.
pub(super) fn empty(findings: &mut Findings) {
    findings.add(
        1,
        &codes::FILE_EMPTY,
        "the file is empty",
        "write the job or the unit, or remove the file",
    );
}
