//! The table `[service.NAME.runtime]`: the folder that is copied, and the placeholder `{runtime}` for the copy.

use super::Service;
use super::finding::Findings;
use super::section::Section;
use super::value::ValueError;
use std::path::{Component, Path, PathBuf};

/// The placeholder for the root of the copy in `command`, `before`, `env` and `cwd`.
pub const RUNTIME_PLACEHOLDER: &str = "{runtime}";
/// The key that every runtime table has; `--runtime` sets it too.
pub(super) const SOURCE: &str = "service.*.runtime.source";
const PROGRAM: &str = "service.*.runtime.program";

/// The runtime table of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The folder that is copied, absolute.
    pub source: PathBuf,
    /// The program, relative to the root of the copy; none where `command` names it.
    pub program: Option<PathBuf>,
    /// The number of newest copies that are kept.
    pub keep: u32,
}

/// Replaces `{runtime}` in a text by the root of the copy, if there is one.
#[must_use]
pub fn expand_runtime(text: &str, root: Option<&Path>) -> String {
    match root {
        Some(root) => text.replace(RUNTIME_PLACEHOLDER, &root.to_string_lossy()),
        None => text.to_owned(),
    }
}

impl Service {
    /// The command of the service if the root of its runtime is `root`.
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

    /// The working directory of the service if the root of its runtime is `root`.
    #[must_use]
    pub fn cwd_in(&self, root: Option<&Path>) -> PathBuf {
        expand_runtime(&self.cwd.to_string_lossy(), root).into()
    }
}

/// Reads the table, if it is present; errors are added to the findings.
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
                format!("{} is not a path inside the runtime", program.display()),
                "write the path relative to the source folder, such as \"bin/server\"",
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

/// The working directory. With a runtime the default is the root of the copy; the placeholder remains until a copy exists.
pub(super) fn cwd(section: &Section, folder: &Path) -> PathBuf {
    match section.text("service.*.cwd") {
        Some(text) if text.starts_with(RUNTIME_PLACEHOLDER) && section.has(SOURCE) => text.into(),
        Some(text) => folder.join(text).components().collect(),
        None if section.has(SOURCE) => RUNTIME_PLACEHOLDER.into(),
        None => folder.to_owned(),
    }
}

/// Reports `{runtime}` in a service without a runtime, and a runtime that the service does not use.
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
                    "cannot use `{leaf}`: it contains `{RUNTIME_PLACEHOLDER}`, but there is no runtime; add [service.{}.runtime], or write \
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
            "the runtime is copied but not used: `command` does not contain `{RUNTIME_PLACEHOLDER}`; write \"{RUNTIME_PLACEHOLDER}/bin/PROGRAM\" there, or \
             add `program`"
        );
        findings.warning(section.location(SOURCE), message);
    }
}
