//! `stayd install` and `stayd uninstall`: have launchd or systemd run stayd, and undo that.

mod described;
mod host;
mod lingering;
mod supervised;

use super::args::{CommonOptions, JobArgs, ServiceOptions};
use super::console::{Console, Style, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use super::paths::{config_file, home, instance_folders, own_program, variable};
use crate::act::dirs::removal::{self, RemovalError};
use crate::config;
use crate::config::paths::Paths;
use crate::install::{
    Host as _, Installed, Plan, RenderError, RenderInputs, Scope, StepError, StepErrorKind,
    remove_config,
};
use crate::sys::identity::{self, ROOT};
use described::Described;
use host::ThisHost;
use lingering::Lingering;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;
use supervised::Supervised;

/// Installs the job of the configuration or of the command line, or shows what that would do.
pub(super) fn install(
    console: Console,
    common: &CommonOptions,
    args: &JobArgs,
    service: &ServiceOptions,
    linger: bool,
) -> Outcome {
    let scope = scope_of(args)?;
    let described = Described::new(common, service)?;
    let config = &described.config;
    let program = own_program()?;
    let program = fs::canonicalize(&program).unwrap_or(program);
    let refused = |error: RenderError| Failure::new(Exit::Config, error.to_string());
    let inputs = RenderInputs::from_config(config, scope, &program, &home()?).map_err(refused)?;
    let inputs = match &args.label {
        Some(label) => inputs.with_label(label).map_err(refused)?,
        None => inputs,
    };
    let job = Supervised::new(&inputs, scope)?;
    job.refuse_from_inside()?;
    let lingering = (scope == Scope::User).then(Lingering::of_this_user);
    let lingering = lingering.flatten().filter(|lingering| !lingering.is_on());
    if args.dry_run {
        let mut plan = job.plan();
        if let Some((file, text)) = described.file() {
            plan.files.insert(0, (file.to_owned(), text.to_owned()));
        }
        if let Some(lingering) = lingering.filter(|_| linger) {
            let command = lingering.command().map(String::from);
            plan.commands.insert(0, command.into());
        }
        return show(console, &plan, common.json);
    }
    let mut host = host(common, &config.name, config.control_group.is_some())?;
    let patience = match lingering {
        Some(lingering) if linger => {
            lingering.turn_on(&mut host)?;
            lingering::START_MAX
        }
        Some(_) => {
            print_stderr(
                "stayd: warning: systemd ends this user's services, stayd too, at the last logout, and starts them only at a login; \
                 keep them running with `stayd install --linger`",
            );
            Duration::ZERO
        }
        None => Duration::ZERO,
    };
    // Before anything is written.
    job.check(&mut host, patience)?;
    described.write(&mut host)?;
    let installed = job.install(&mut host)?;
    report(console, common, &job, &installed, &host)
}

fn report(
    console: Console,
    common: &CommonOptions,
    job: &Supervised,
    installed: &Installed,
    host: &ThisHost,
) -> Outcome {
    if common.json {
        console.json(&json!({
            "schema": 1,
            "job": job.name(),
            "file": job.path(),
            "pid": installed.pid,
            "changed": installed.changed,
            "state_dir": host.state,
        }))?;
        return Ok(Exit::Done);
    }
    let mut text = console.text();
    text.styled(Style::Good, job.name()).plain(&format!(
        " {} and answers as pid {}; `stayd status` shows its services",
        if installed.changed {
            "is installed"
        } else {
            "was installed already"
        },
        installed.pid
    ));
    text.end_line();
    console.print(&text)?;
    Ok(Exit::Done)
}

/// Removes the job of the instance, or shows what that would do.
pub(super) fn uninstall(
    console: Console,
    common: &CommonOptions,
    args: &JobArgs,
    purge: bool,
) -> Outcome {
    let scope = scope_of(args)?;
    let name = match &common.name {
        Some(name) if config::is_name(name) => name.clone(),
        Some(name) => {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "cannot use --name {name}: it is not the name of an instance; `stayd status` lists those that run"
                ),
            ));
        }
        None => config::peek_name(&config_file(common)?),
    };
    let job = Supervised::to_remove(&name, scope, args.label.as_deref())?;
    if args.dry_run {
        return show(console, &job.removal_plan(), common.json);
    }
    job.refuse_from_inside()?;
    let mut host = host(common, &name, false)?;
    let was_installed = job.uninstall(&mut host)?;
    // A stayd that was not installed may use it.
    let is_unused = host.running().is_none();
    if let Ok(file) = Paths::here(&variable).written_config(&name)
        && is_unused
        && remove_config(&file)?
    {
        host.say(&format!("removed {}", file.display()));
    }
    let state = host.state.exists().then(|| host.state.clone());
    let kept = match state {
        Some(state) if purge => {
            purge_state(&state, &mut host)?;
            None
        }
        state => state,
    };
    if common.json {
        console.json(&json!({
            "schema": 1,
            "job": job.name(),
            "file": job.path(),
            "changed": was_installed,
            "state_dir": kept,
        }))?;
        return Ok(Exit::Done);
    }
    let outcome = if was_installed {
        "is removed, and nothing of it runs"
    } else {
        "was not installed"
    };
    let mut text = console.text();
    text.styled(Style::Good, job.name())
        .plain(&format!(" {outcome}"));
    if let Some(state) = kept {
        text.plain(&format!(
            "; {} stays: journal, captured output, runtimes (--purge removes it)",
            state.display()
        ));
    }
    text.end_line();
    console.print(&text)?;
    Ok(Exit::Done)
}

/// Removes the state folder.
fn purge_state(state: &Path, host: &mut ThisHost) -> Result<(), Failure> {
    removal::remove_state(state).map_err(|error| {
        let (exit, cause) = match error {
            RemovalError::NotAStateFolder => {
                let cause = "it is not the state folder of a stayd; check --state-dir";
                (Exit::No, cause.to_owned())
            }
            RemovalError::Held(pid) => {
                let cause = format!("another stayd, pid {pid}, uses it; stop that one first");
                (Exit::Held, cause)
            }
            RemovalError::ForeignEntry(path) => {
                let cause = format!("{} is not of stayd; move it away", path.display());
                (Exit::No, cause)
            }
            RemovalError::System(error) => {
                let cause = format!("{error}; what is left of it can be removed by hand");
                (Exit::of_system_error(error.kind()), cause)
            }
        };
        Failure::new(exit, format!("cannot remove {}: {cause}", state.display()))
    })?;
    host.say(&format!("removed {}", state.display()));
    Ok(())
}

/// Whose job it is, if this user may install it.
fn scope_of(args: &JobArgs) -> Result<Scope, Failure> {
    let is_root = identity::euid() == ROOT;
    if args.user && is_root && variable("SUDO_USER").is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "cannot install for root's own login: --user means the calling user; run it without sudo",
        ));
    }
    if args.user || !is_root && !args.system {
        return Ok(Scope::User);
    }
    if !is_root && !args.dry_run {
        return Err(Failure::new(
            Exit::Permission,
            "cannot change the services of the machine: only root may; run it with sudo, or use --user",
        ));
    }
    Ok(Scope::System)
}

/// This machine, as seen from the instance `name`.
fn host(common: &CommonOptions, name: &str, group: bool) -> Result<ThisHost, Failure> {
    let folders = instance_folders(common, name, group)?;
    Ok(ThisHost {
        state: folders.state,
        socket: folders.socket,
    })
}

/// Shows what would be done.
fn show(console: Console, plan: &Plan, json: bool) -> Outcome {
    if json {
        let files = plan.files.iter();
        let files = files.map(|(path, text)| json!({ "path": path, "text": text }));
        console.json(&json!({
            "schema": 1,
            "folders": plan.folders,
            "files": files.collect::<Vec<_>>(),
            "commands": plan.commands,
            "removed": plan.removed,
        }))?;
        return Ok(Exit::Done);
    }
    let mut text = console.text();
    for folder in &plan.folders {
        text.plain(&format!("make the folder {}", folder.display()))
            .end_line();
    }
    for (path, content) in &plan.files {
        text.plain(&format!("write {}:", path.display())).end_line();
        for line in content.lines() {
            text.plain("  ").plain(line).end_line();
        }
    }
    for command in &plan.commands {
        text.plain("run ").plain(&command.join(" ")).end_line();
    }
    for path in &plan.removed {
        text.plain(&format!("remove {}", path.display())).end_line();
    }
    console.print(&text)?;
    Ok(Exit::Done)
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let exit = match error.kind {
            StepErrorKind::Refused => Exit::System,
            StepErrorKind::Permission => Exit::Permission,
            StepErrorKind::Held => Exit::Held,
            StepErrorKind::Conflict => Exit::No,
        };
        Self::new(exit, error.message)
    }
}
