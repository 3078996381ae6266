//! `[service.NAME.runtime]`: where a service's files are copied from, and what names the copy.

use super::Service;
use super::section::{Findings, Section};
use super::value::ValueError;
use std::path::{Component, Path, PathBuf};

/// Stands for the copy's root in `command`, `before`, `env` and `cwd`.
pub const RUNTIME_PLACEHOLDER: &str = "{runtime}";
/// Whoever writes the table, or `--runtime`, gives this.
pub(super) const SOURCE: &str = "service.*.runtime.source";
const PROGRAM: &str = "service.*.runtime.program";

/// A source of runtimes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The folder that is copied, absolute.
    pub source: PathBuf,
    /// The service's program, below the copy's root; none where `command` names it.
    pub program: Option<PathBuf>,
    /// This many of the newest copies are kept.
    pub keep: u32,
}

/// What a text that may name the copy means.
#[must_use]
pub fn expand_runtime(text: &str, root: Option<&Path>) -> String {
    match root {
        Some(root) => text.replace(RUNTIME_PLACEHOLDER, &root.to_string_lossy()),
        None => text.to_owned(),
    }
}

impl Service {
    /// argv of the service's program when its runtime is at `root`.
    #[must_use]
    pub fn command_in(&self, root: Option<&Path>) -> Vec<String> {
        let mut argv: Vec<String> = self
            .command
            .iter()
            .map(|word| expand_runtime(word, root))
            .collect();
        let program = self
            .runtime
            .as_ref()
            .and_then(|runtime| runtime.program.as_ref());
        if let (Some(program), Some(root), Some(first)) = (program, root, argv.first_mut()) {
            *first = root.join(program).to_string_lossy().into_owned();
        }
        argv
    }

    /// The working directory when its runtime is at `root`.
    #[must_use]
    pub fn cwd_in(&self, root: Option<&Path>) -> PathBuf {
        expand_runtime(&self.cwd.to_string_lossy(), root).into()
    }
}

/// The table, if it is there; what is wrong goes to the findings.
pub(super) fn of(section: &Section, folder: &Path, findings: &mut Findings) -> Option<Runtime> {
    if !section.has(SOURCE) {
        return None;
    }
    let source = section.text(SOURCE)?;
    let program = section.text(PROGRAM).map(PathBuf::from);
    if let Some(program) = &program {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !program.components().all(inside) {
            let error = ValueError::new(
                format!("{} is not below the runtime", program.display()),
                "write the path from the source's root, as in \"bin/server\"",
            );
            findings.error(
                section.location(PROGRAM),
                format!("cannot use `program`: {error}"),
            );
        }
    }
    let keep = section.number("service.*.runtime.keep");
    Some(Runtime {
        source: folder.join(source).components().collect(),
        program,
        keep: keep.and_then(|keep| keep.try_into().ok()).unwrap_or(1),
    })
}

/// The working directory: the copy's root where nothing else is said, and never resolved before there is one.
pub(super) fn cwd(section: &Section, folder: &Path) -> PathBuf {
    match section.text("service.*.cwd") {
        Some(text) if text.starts_with(RUNTIME_PLACEHOLDER) && section.has(SOURCE) => text.into(),
        Some(text) => folder.join(text).components().collect(),
        None if section.has(SOURCE) => RUNTIME_PLACEHOLDER.into(),
        None => folder.to_owned(),
    }
}

/// `{runtime}` means something only where there is one, and a runtime that nothing names is a mistake.
pub(super) fn check(section: &Section, service: &Service, findings: &mut Findings) {
    let named = |words: &[String]| words.iter().any(|word| word.contains(RUNTIME_PLACEHOLDER));
    let Some(runtime) = &service.runtime else {
        for key in [
            "service.*.command",
            "service.*.before",
            "service.*.watchdog.evidence",
        ] {
            if section.texts(key).is_some_and(|words| named(&words)) {
                let leaf = key.rsplit('.').next().unwrap_or(key);
                let message = format!(
                    "cannot use `{leaf}`: there is no runtime that `{RUNTIME_PLACEHOLDER}` could mean; add [service.{}.runtime], or write \
                     the path",
                    service.name
                );
                findings.error(section.location(key), message);
            }
        }
        return;
    };
    let first = service.command.first().map_or("", String::as_str);
    let from_cwd = service.cwd.starts_with(RUNTIME_PLACEHOLDER) && first.starts_with('.');
    let in_env = service
        .env
        .values()
        .any(|value| value.contains(RUNTIME_PLACEHOLDER));
    if runtime.program.is_none() && !named(&service.command) && !from_cwd && !in_env {
        let message = format!(
            "the runtime is copied and then not used: `command` does not name it; write \"{RUNTIME_PLACEHOLDER}/bin/PROGRAM\" there, or \
             add `program`"
        );
        findings.warning(section.location(SOURCE), message);
    }
}
