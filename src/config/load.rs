//! Loads a configuration file and the files that it includes.

use super::cross_check;
use super::finding::{Finding, Findings, Location};
use super::glob;
use super::listen;
use super::prerequisite::{self, Prerequisite};
use super::section::Section;
use super::service::ServiceBuilder;
use super::source::Source;
use super::text_file::{self, OwnerCheck};
use super::toml_reader::{FileSections, TomlReader};
use super::words::{is_name, name_from};
use super::{Config, Loaded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::DeTable;

/// The most included files; more of them indicate a wrong pattern.
const INCLUDED_MAX: usize = 1000;
/// The most services of one instance.
const SERVICES_MAX: usize = 4096;

/// Reads a configuration and the files it includes. `env` is the environment from which `${NAME}` is taken.
///
/// # Errors
/// All errors, at most 20; each finding has file, line and column, the cause, and what to do.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Finding>> {
    load_as(path, env, crate::sys::identity::euid())
}

/// [`load`] for a process with this effective uid.
pub(super) fn load_as(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    euid: u32,
) -> Result<Loaded, Vec<Finding>> {
    let mut findings = Findings::default();
    let read = read(path, env, euid, &mut findings);
    let warnings = findings.into_result()?;
    let (config, prerequisites) = read.ok_or_else(Vec::new)?;
    Ok(Loaded {
        config,
        warnings,
        prerequisites,
    })
}

fn read(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    euid: u32,
    findings: &mut Findings,
) -> Option<(Config, Vec<(Location, Prerequisite)>)> {
    let owner_check = OwnerCheck::for_user(euid);
    let path = absolute(path, findings)?;
    let folder = path.parent().unwrap_or(&path).to_owned();
    let FileSections { top, mut services } = file_tables(&path, owner_check, findings)?;
    for included in included(&top, &folder, findings) {
        services.extend(included_services(&included, &path, owner_check, findings));
        if services.len() > SERVICES_MAX {
            break;
        }
    }
    if services.len() > SERVICES_MAX {
        let message =
            format!("cannot load more than {SERVICES_MAX} services; split the configuration");
        findings.error(&top.location, message);
        return None;
    }
    cross_check::check(&services, findings);
    let mut builder = ServiceBuilder {
        env,
        folder: &folder,
        from_command_line: false,
        findings,
    };
    let built = services
        .iter()
        .map(|section| builder.service(section))
        .collect::<Vec<_>>();
    let config = Config {
        name: top.text("name").unwrap_or_else(|| default_name(&path)),
        services: built.into_iter().collect::<Option<_>>()?,
        control_group: top.text("control.group"),
        file: Some(path),
    };
    if services.is_empty() {
        findings.warning(
            &top.location,
            "the configuration has no service; add [service.NAME] with a `command`",
        );
    }
    listen::check(&config, &services, findings);
    cross_check::warn(&config, &services, findings);
    let prerequisites = prerequisite::all(&config, &services, env);
    Some((config, prerequisites))
}

fn absolute(path: &Path, findings: &mut Findings) -> Option<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| {
            let cause = super::os_error_text(&error);
            let message = format!("cannot find the configuration: {cause}; give its absolute path");
            findings.error(&Location::File(Arc::new(path.to_owned())), message);
        })
        .ok()
}

/// The sections of one file; none if it cannot be read or is not valid TOML.
fn file_tables(
    path: &Path,
    owner_check: OwnerCheck,
    findings: &mut Findings,
) -> Option<FileSections> {
    let text = match text_file::read(path, owner_check) {
        Ok(text) => text,
        Err(error) => {
            let location = Location::File(Arc::new(path.to_owned()));
            findings.error(&location, format!("cannot read the configuration: {error}"));
            return None;
        }
    };
    tables(&Source::new(path, text), findings)
}

/// The sections of a text; none if it is not valid TOML.
fn tables(source: &Source, findings: &mut Findings) -> Option<FileSections> {
    let (root, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let location = source.at(error.span().map_or(0, |span| span.start));
        let cause = error.message().replace('\n', ", ");
        findings.error(
            &location,
            format!("cannot read it as TOML: {cause}; correct the syntax there"),
        );
    }
    errors
        .is_empty()
        .then(|| TomlReader { source, findings }.file(root.get_ref()))
}

fn included(top: &Section, folder: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let location = top.location("include");
    for pattern in top.texts("include").unwrap_or_default() {
        match glob::expand(folder, &pattern) {
            Ok(found) => files.extend(found),
            Err(error) => {
                let cause = super::os_error_text(&error);
                let pattern = super::value::shorten(&pattern);
                let message = format!("cannot include `{pattern}`: {cause}; check the folder");
                findings.error(location, message);
            }
        }
    }
    if files.len() > INCLUDED_MAX {
        let message = format!("cannot include more than {INCLUDED_MAX} files; narrow the pattern");
        findings.error(location, message);
        files.clear();
    }
    files
}

/// The services of an included file, which may not contain anything else.
fn included_services(
    path: &Path,
    main: &Path,
    owner_check: OwnerCheck,
    findings: &mut Findings,
) -> Vec<Section> {
    let Some(FileSections { top, services }) = file_tables(path, owner_check, findings) else {
        return Vec::new();
    };
    for key in ["name", "include", "control"] {
        if top.has(key) {
            let message = format!(
                "cannot use `{key}` in an included file, which may only contain services; move it to {}",
                main.display(),
            );
            findings.error(top.location(key), message);
        }
    }
    services
}

/// The default name of the instance: the file's stem, or the folder's name where the stem is `stayd`, except in /etc.
///
/// `path` is absolute.
#[must_use]
pub fn default_name(path: &Path) -> String {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let stem = text(path.file_stem());
    let folder = path
        .parent()
        .map(|folder| text(folder.file_name()))
        .unwrap_or_default();
    let name = if stem == "stayd" && !path.starts_with("/etc") {
        folder
    } else {
        stem
    };
    if is_name(&name) {
        name
    } else {
        name_from(&name)
    }
}

/// The name of the instance, also if the configuration has errors or does not exist: `status` must find a running stayd
/// whose file was broken later.
///
/// `path` is absolute.
#[must_use]
pub fn peek_name(path: &Path) -> String {
    let text = text_file::read(path, OwnerCheck::Skip).unwrap_or_default();
    let table: Option<toml::Table> = text.parse().ok();
    let name = table
        .as_ref()
        .and_then(|table| table.get("name"))
        .and_then(toml::Value::as_str);
    name.map_or_else(|| default_name(path), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::peek_name;
    use std::fs;

    #[test]
    fn the_name_of_a_broken_configuration_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("studio.toml");
        fs::write(&file, "name = \"atelier\"\nnonsense = 1").expect("written");
        assert_eq!(peek_name(&file), "atelier");
        fs::write(&file, "[[[").expect("written");
        assert_eq!(peek_name(&file), "studio");
        let pipe = folder.path().join("pipe.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert_eq!(
            peek_name(&pipe),
            "pipe",
            "a pipe without a writer does not block"
        );
    }
}
