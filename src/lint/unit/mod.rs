//! Checks a systemd unit with its drop-ins (systemd.unit(5)).

mod exec;
mod install;
mod keys;
mod lines;
mod model;
mod parse;
mod service;
mod values;
mod words;

use super::codes::{self, Code};
use super::finding::{self, Finding, Findings};
use super::source::{File, UNIT_ENDINGS};
use super::text::is_template_name;
use model::{Placed, Unit};

/// The findings about a unit file and its drop-ins.
#[derive(Debug)]
struct FileFindings {
    files: Vec<Findings>,
    /// The sections of the unit file, with their lines.
    sections: Vec<(String, usize)>,
}

impl FileFindings {
    /// Adds a finding about a line.
    fn add(
        &mut self,
        placed: &Placed,
        code: &'static Code,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.add_line(placed.file, placed.assignment.line, code, message, cure);
    }

    /// Adds a finding about a comment behind a value. systemd supports only comments on lines of their own (systemd.syntax(7)).
    fn add_comment(&mut self, placed: &Placed, message: impl Into<String>) {
        let cure = "put the comment on a line of its own";
        self.add(placed, &codes::UNIT_COMMENT, message, cure);
    }

    /// Adds a finding about a line of a file.
    fn add_line(
        &mut self,
        file: usize,
        line: usize,
        code: &'static Code,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        if let Some(findings) = self.files.get_mut(file) {
            findings.add(line, code, message, cure);
        }
    }

    /// Whether further findings about a file are left out.
    fn is_full(&self, file: usize) -> bool {
        self.files.get(file).is_none_or(Findings::is_full)
    }

    /// Adds a finding about what is missing in a section of the unit file.
    fn add_at_section(
        &mut self,
        section: &str,
        code: &'static Code,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let found = self.sections.iter().find(|(name, _)| name == section);
        let line = found.map_or(1, |(_, line)| *line);
        self.add_line(0, line, code, message, cure);
    }
}

/// Checks a unit; `siblings` are the units beside it that activate it.
pub(super) fn check(file: &File, drop_ins: &[File], siblings: &[String]) -> Vec<Finding> {
    let mut own = Findings::new(&file.path);
    if file.too_large {
        finding::too_large(&mut own);
        return own.into_list();
    }
    if file.bytes.iter().all(u8::is_ascii_whitespace) {
        finding::empty(&mut own);
        return own.into_list();
    }
    let name = file
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = file
        .path
        .parent()
        .and_then(|parent| parent.file_name())
        .unwrap_or_default();
    let is_drop_in = folder.to_string_lossy().ends_with(".d");
    let ending = if is_drop_in {
        ending_of(folder.to_string_lossy().trim_end_matches(".d"))
    } else {
        ending_of(&name)
    };
    let mut findings = FileFindings {
        files: vec![own],
        sections: Vec::new(),
    };
    let mut all = Vec::new();
    for (index, file) in std::iter::once(file).chain(drop_ins).enumerate() {
        let mut own = if index == 0 {
            findings.files.remove(0)
        } else {
            Findings::new(&file.path)
        };
        if file.too_large {
            finding::too_large(&mut own);
        }
        let syntax = parse::parse(&file.bytes, &mut own);
        findings.files.insert(index, own);
        lines::sections(&syntax, &ending, index, &mut findings);
        if index == 0 {
            findings.sections = syntax.sections;
        }
        all.extend(syntax.assignments.into_iter().map(|assignment| Placed {
            file: index,
            assignment,
        }));
    }
    let unit = Unit {
        all,
        is_for_user: model::is_for_user(&file.path),
        is_template: name.contains('@'),
        is_generated: is_template_name(&name),
        is_drop_in,
        has_activator: !siblings.is_empty(),
        ending,
    };
    lines::check(&unit, &mut findings);
    if unit.ending == "service" {
        exec::check(&unit, &mut findings);
        service::check(&unit, &mut findings);
    }
    install::check(&unit, &mut findings);
    findings
        .files
        .into_iter()
        .flat_map(Findings::into_list)
        .collect()
}

/// The ending of a unit's name, such as `service`, also behind that of a template (`x.service.in`).
fn ending_of(name: &str) -> String {
    let found = name.rsplit('.').find(|part| UNIT_ENDINGS.contains(part));
    found.unwrap_or_default().to_owned()
}
